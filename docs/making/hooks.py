"""What MkDocs asks of this site: pieces made from cards, commands and errors, and pictures of the project."""

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

DOCS = Path(__file__).resolve().parents[1]
PIECES = {
    "commands": command_line.sections,
    "card-keys": card_keys.sections,
    "backbones": catalogue.backbones,
    "tasks": catalogue.tasks,
    "data-sets": catalogue.datasets,
    "leaderboards": catalogue.leaderboards,
    "errors": failures.errors_table,
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

_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_SHELF = "pictures"
_PIECE = re.compile(r"<!-- made: ([\w-]+) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures that pages show from elsewhere in the repository: kept once, copied at build time."""
    sources: dict[str, Path] = {}
    for page in files.documentation_pages():
        folder = (DOCS / page.src_uri).parent
        for written in _PICTURE.findall(page.content_string):
            source = (folder / written).resolve()
            if not source.is_relative_to(DOCS) and sources.setdefault(source.name, source) != source:
                raise PluginError(
                    f"{source} and {sources[source.name]} have one name; show only one of them."
                )
    for name, source in sources.items():
        files.append(File.generated(config, f"{_SHELF}/{name}", abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the pieces into the pages that ask for them, and lead to the copies of the pictures."""
    del config, files
    up = "../" * page.file.src_uri.count("/")

    def picture(match: re.Match[str]) -> str:
        source = ((DOCS / page.file.src_uri).parent / match[1]).resolve()
        here = source.is_relative_to(DOCS)
        return match[0] if here else match[0].replace(match[1], f"{up}{_SHELF}/{source.name}")

    def piece(match: re.Match[str]) -> str:
        if match[1] not in PIECES:
            raise PluginError(f"{page.file.src_uri} asks for '{match[1]}', which docs/making/hooks.py lacks.")
        return PIECES[match[1]]()

    return _PIECE.sub(piece, _PICTURE.sub(picture, markdown))
