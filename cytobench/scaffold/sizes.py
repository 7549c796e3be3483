"""How cells are to be cut: from the sizes of the images and boxes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cytobench.errors import DataError, counted, name_some

_LOOKED_AT = 200
_FIELD = 768  # px; images this large without boxes hold many cells, or are tiles
_AROUND_A_BOX = 1.25
_OF_A_POINT = 96
_STEP = 8


@dataclass(frozen=True)
class Cut:
    """A card's `view`, and why it fits."""

    view: dict[str, str | int]
    said: str


def cut_of(table: pl.DataFrame) -> Cut:
    """Return the view for a manifest's rows, from up to 200 images; raises DataError for unreadable ones."""
    boxes = [box for box in table["box"].to_list() if box is not None]
    if boxes:
        return _of_boxes(np.asarray(boxes, dtype=np.int64))
    images = table["image"].unique(maintain_order=True).to_list()
    step = max(1, len(images) // _LOOKED_AT)
    return _of_images(_sizes(images[::step][:_LOOKED_AT]))


def _of_boxes(boxes: np.ndarray) -> Cut:
    sides = boxes[:, 2:].max(axis=1)
    if not sides.any():
        return Cut(
            {"kind": "window", "size": _OF_A_POINT, "pad": "reflect"},
            f"points without a size: a window of {_OF_A_POINT} px is a guess, let it hold a whole cell",
        )
    large = float(np.percentile(sides, 95))
    size = _rounded(large * _AROUND_A_BOX)
    return Cut(
        {"kind": "window", "size": size, "pad": "reflect"},
        f"window of {size} px: 95 of 100 boxes are at most {large:.0f} px, and a rim shows the surroundings",
    )


def _of_images(sizes: np.ndarray) -> Cut:
    sides = sizes.max(axis=1)
    low, high = int(sides.min()), int(sides.max())
    if high > _FIELD:
        return Cut(
            {"kind": "box"},
            f"images of up to {high} px are seen whole; if each shows many cells, give a table of boxes",
        )
    size = high if low == high else _rounded(float(np.percentile(sides, 95)))
    seen = f"all images have {high} px" if low == high else f"images have {low} to {high} px"
    return Cut(
        {"kind": "window", "size": size, "pad": "edge"},
        f"window of {size} px: {seen}, and a fixed window keeps the size of cells",
    )


def _rounded(size: float) -> int:
    return max(_STEP, int(-(-size // _STEP)) * _STEP)


def _sizes(images: Sequence[str]) -> np.ndarray:
    """Return width and height of each image, int64 [n, 2]."""
    sizes, bad = [], []
    for path in images:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except (OSError, ValueError, Image.DecompressionBombError):
            bad.append(Path(path).name)
    if bad:
        raise DataError(
            f"{counted(len(bad), 'image')} cannot be read: {name_some(bad)}; mend or remove them."
        )
    return np.asarray(sizes, dtype=np.int64)
