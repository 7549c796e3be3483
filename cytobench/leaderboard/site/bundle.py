"""The files of a site while it is made: pages, and tables and figures to download, with where they belong."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cytobench.leaderboard.site.drawing import Drawing
from cytobench.pictures.page import render

FILES = "files"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class File:
    """One file to download: its name, what its link says, and its size as people say it."""

    name: str
    label: str
    size: str


@dataclass
class Bundle:
    """The content of a site by path; `shared` is what every page is told.

    `downloads`: files by section and by what they are about.
    """

    shared: Mapping[str, Any]
    content: dict[str, bytes] = field(default_factory=dict)
    downloads: dict[str, dict[str, list[File]]] = field(default_factory=dict)

    def page(self, name: str, template: str, context: Mapping[str, Any]) -> None:
        """Fill a template in and keep it as the page `name`."""
        html = render(template, {"here": "", **self.shared, **context}, folder=_TEMPLATES)
        self.content[name] = html.encode("utf-8", "replace")

    def drawing(self, drawing: Drawing, section: str, what: str) -> Drawing:
        """Keep a figure's SVG, PNG and numbers, and return it."""
        self._keep(section, what, f"{drawing.name}.svg", "SVG", drawing.svg.encode("utf-8", "replace"))
        self._keep(section, what, f"{drawing.name}.png", "PNG", drawing.png)
        self._keep(section, what, f"{drawing.name}.csv", "CSV", _csv(drawing.data))
        return drawing

    def table(self, table: pl.DataFrame, stem: str, section: str, what: str) -> list[File]:
        """Keep a table as CSV, JSON and Parquet, and return these files."""
        parquet = io.BytesIO()
        table.write_parquet(parquet)
        return [
            self._keep(section, what, f"{stem}.csv", "CSV", _csv(table)),
            self._keep(section, what, f"{stem}.json", "JSON", _json(table)),
            self._keep(section, what, f"{stem}.parquet", "Parquet", parquet.getvalue()),
        ]

    def csv(self, table: pl.DataFrame, stem: str, section: str, what: str) -> File:
        """Keep a table as CSV alone, and return the file."""
        return self._keep(section, what, f"{stem}.csv", "CSV", _csv(table))

    def text(self, text: str, name: str, label: str, section: str, what: str) -> File:
        """Keep a text file and return it."""
        return self._keep(section, what, name, label, text.encode("utf-8", "replace"))

    def take(self, other: Bundle) -> None:
        """Add all that another bundle holds."""
        self.content.update(other.content)
        for section, lines in other.downloads.items():
            for what, files in lines.items():
                self.downloads.setdefault(section, {}).setdefault(what, []).extend(files)

    def _keep(self, section: str, what: str, name: str, label: str, content: bytes) -> File:
        self.content[f"{FILES}/{name}"] = content
        made = File(name, label, _size(len(content)))
        self.downloads.setdefault(section, {}).setdefault(what, []).append(made)
        return made


def _csv(table: pl.DataFrame) -> bytes:
    return table.write_csv(float_precision=6).encode("utf-8", "replace")


def _json(table: pl.DataFrame) -> bytes:
    rounded = table.with_columns(pl.selectors.float().round(6))
    known = [{key: one for key, one in row.items() if one is not None} for row in rounded.to_dicts()]
    lines = [json.dumps(row, ensure_ascii=False) for row in known]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode("utf-8", "replace")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"
