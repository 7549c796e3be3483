"""Contact sheets: what the cells of a manifest look like, class by class."""

from __future__ import annotations

from pathlib import Path

import polars as pl

_GAP = 3
_CAPTION = 14


def contact_sheet(
    table: pl.DataFrame, path: Path, *, column: str = "label", columns: int = 12, side: int = 96
) -> Path:
    """Write a PNG with one captioned row of `columns` pictures per value of `column`, and return its path.

    `table` is a manifest whose rows are whole pictures (`box` null); each is shown `side` px wide. The
    pictures of a row are spread evenly over the table, so that they come from many slides.
    """
    from PIL import Image, ImageDraw

    classes = table[column].drop_nulls().unique().sort().to_list()
    height = side + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * (side + _GAP) + _GAP, len(classes) * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(classes):
        top = _GAP + row * height
        pen.text((_GAP, top), str(name), fill="black")
        for place, image in enumerate(_spread(table.filter(pl.col(column) == name), columns)):
            with Image.open(image) as opened:
                picture = opened.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (_GAP + place * (side + _GAP), top + _CAPTION))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _spread(rows: pl.DataFrame, count: int) -> list[str]:
    count = min(count, len(rows))
    return [str(rows["image"][(2 * i + 1) * len(rows) // (2 * count)]) for i in range(count)]
