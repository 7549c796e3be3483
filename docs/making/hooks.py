"""What MkDocs asks of this site: pages made from cards, commands and errors, and pictures of the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import card_keys
import catalogue
import command_line
import drawings
import failures
import figures
import records
import scores
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {
    "pictures/heat-map-score.png": "leaderboards/cytology/site/files/heat-map-score.png",
    "pictures/similar-cells.png": "leaderboards/cytology/similar-cells.png",
    "pictures/attention.png": "leaderboards/cytology/attention.png",
    "pictures/standings.png": "leaderboards/cytology/site/files/standings.png",
    "pictures/pretraining-curves.png": "backbones/cytofm/curves.png",
}
"""Pictures of the repository that pages show: copied at build time, kept once."""

PAGES = {
    "reference/command-line.md": command_line.page,
    "reference/card-keys.md": card_keys.page,
    "reference/backbones.md": catalogue.backbones_page,
    "reference/tasks.md": catalogue.tasks_page,
    "reference/data-sets.md": catalogue.datasets_page,
    "reference/leaderboards.md": catalogue.leaderboards_page,
    "reference/errors.md": failures.page,
}
"""Pages that no one writes: made from what the program itself knows."""

PIECES = {
    "rooms": drawings.rooms,
    "road": drawings.road,
    "folds": drawings.folds,
    "ranks-figure": figures.ranks,
    "probes": catalogue.probes_table,
    "metrics": catalogue.metrics_list,
    "result-keys": records.result_keys,
    "null-scores": scores.null_table,
    "count": catalogue.counts,
}
"""What stands for `<!-- made: NAME -->` in a page."""

_PIECE = re.compile(r"<!-- made: ([\w-]+) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the pictures of the repository."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    for name, source in PICTURES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the pieces into the pages that ask for them."""
    del config, files

    def piece(match: re.Match[str]) -> str:
        if match[1] not in PIECES:
            raise PluginError(f"{page.file.src_uri} asks for '{match[1]}', which docs/making/hooks.py lacks.")
        return PIECES[match[1]]()

    return _PIECE.sub(piece, markdown)
