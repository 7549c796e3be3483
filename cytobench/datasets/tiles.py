"""Fields become tiles: one row a field turns into one row a tile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from cytobench import images, manifest
from cytobench.cards import View
from cytobench.progress import Reporter, SilentReporter

_WORKERS = 4


@dataclass(frozen=True)
class _Field:
    """One field to be tiled: its row, image, the area in it (or None), and micrometres per pixel."""

    row: int
    image: str
    area: images.Box | None
    mpp: float | None


def expand_tiles(
    table: pl.DataFrame, view: View, *, reporter: Reporter | None = None
) -> tuple[pl.DataFrame, int]:
    """Return a row a tile of each field, and how many tiles fell to `view.min_tissue`.

    Samples become `<field>@x,y,side`; all other columns of the field are repeated; a field's box bounds its
    tiles. With `min_tissue` the images are decoded, and a field without any tile of enough tissue keeps its
    best one. Raises DataError for unreadable images.
    """
    fields = list(_fields(table))
    reporter = reporter or SilentReporter()
    with reporter.task("laying tiles", len(fields)) as step, ThreadPoolExecutor(_WORKERS) as pool:
        laid: list[tuple[list[images.Box], int]] = []
        for result in pool.map(lambda field: _tiles(field, view), fields):
            laid.append(result)
            step.advance()
    rows = [field.row for field, (boxes, _) in zip(fields, laid, strict=True) for _ in boxes]
    boxes = [box for kept, _ in laid for box in kept]
    samples = [
        f"{table['sample'][row]}@{box[0]},{box[1]},{box[2]}" for row, box in zip(rows, boxes, strict=True)
    ]
    tiles = table[rows].with_columns(
        pl.Series("sample", samples, dtype=pl.String),
        pl.Series("box", [list(box) for box in boxes], dtype=manifest.BOX),
    )
    return tiles.sort("sample"), sum(dropped for _, dropped in laid)


def _fields(table: pl.DataFrame) -> Iterator[_Field]:
    mpp = table["mpp"].to_list() if "mpp" in table.columns else [None] * len(table)
    for row, (image, box) in enumerate(zip(table["image"].to_list(), table["box"].to_list(), strict=True)):
        area = None if box is None else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
        yield _Field(row, image, area, mpp[row])


def _tiles(field: _Field, view: View) -> tuple[list[images.Box], int]:
    pixels = images.decode(field.image) if view.min_tissue else None
    width, height = images.size(field.image) if pixels is None else (pixels.shape[1], pixels.shape[0])
    left, top, wide, high = field.area or (0, 0, width, height)
    boxes = [(x + left, y + top, w, h) for x, y, w, h in images.tile_boxes(wide, high, view, field.mpp)]
    if pixels is None:
        return boxes, 0
    tissue = [images.tissue_fraction(images.cut(pixels, box, view, field.mpp)) for box in boxes]
    kept = [box for box, share in zip(boxes, tissue, strict=True) if share >= view.min_tissue]
    kept = kept or [boxes[tissue.index(max(tissue))]]
    return kept, len(boxes) - len(kept)
