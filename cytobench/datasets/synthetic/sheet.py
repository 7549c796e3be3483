"""A contact sheet of a manifest: what its cells look like, class by class."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench.images import decode
from cytobench.pictures.sheet import Strip, Tile, contact_sheet, save


def classes_sheet(
    table: pl.DataFrame, path: Path, *, column: str = "label", columns: int = 12, side: int = 96
) -> Path:
    """Write a PNG with one captioned row of `columns` pictures per value of `column`, and return its path.

    `table` is a manifest whose rows are whole pictures (`box` null); each is shown `side` px wide. The
    pictures of a row are spread evenly over the table, so that they come from many slides.
    """
    strips = []
    for name in table[column].drop_nulls().unique().sort().to_list():
        images = _spread(table.filter(pl.col(column) == name), columns)
        strips.append(Strip(str(name), [Tile(decode(image)) for image in images]))
    return save(contact_sheet(strips, columns=columns, side=side), path)


def _spread(rows: pl.DataFrame, count: int) -> list[str]:
    count = min(count, len(rows))
    return [str(rows["image"][(2 * i + 1) * len(rows) // (2 * count)]) for i in range(count)]
