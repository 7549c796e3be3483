"""The pictures that a backbone is asked about: files of one's own, or cells drawn from a task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cytobench import images
from cytobench.cards import View
from cytobench.errors import DataError, UsageError
from cytobench.evaluation.folds import generator
from cytobench.evaluation.plan import TaskPlan
from cytobench.features.items import Box
from cytobench.images import RGB

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
SMALLEST, LARGEST = 8, 80_000_000
"""The shortest side, in px, and the most pixels that a picture may have."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Subject:
    """One picture: its name, crop uint8 [h, w, 3], class ("" where unknown), and where the cell is in it.

    `cell`: bool [h, w], the pixels of the cell's box, or None where no box says so.
    """

    name: str
    crop: RGB
    label: str = ""
    cell: Mask | None = None


def image_files(named: Sequence[Path]) -> list[Path]:
    """Return the image files among `named` and inside named folders, sorted there; raises UsageError."""
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"The folder {path} holds no image ({', '.join(SUFFIXES)}); name another.")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(
                f"There is no task, image or folder named '{path}'; see `cytobench list tasks`, or check the "
                "path."
            )
    return found


def subject_of_file(
    path: Path, view: View | None = None, box: Box | None = None, mpp: float | None = None
) -> Subject:
    """Return what a backbone is shown of an image file.

    The whole image, as it is, unless a `view` (a task's) or a `box` (x, y, w, h in px) says what to cut.
    Raises DataError for an image that cannot be read, has no room for attention, or does not hold the box.
    """
    with warnings.catch_warnings():  # what Pillow warns of is refused below, in our own words
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        width, height = images.size(path)
    if min(width, height) < SMALLEST:
        raise DataError(
            f"{path} has {width} x {height} px, too few to attend to anything; give a picture of at least "
            f"{SMALLEST} px a side."
        )
    if width * height > LARGEST:
        raise DataError(
            f"{path} has {width:,} x {height:,} px, too large to look at; cut the field or the cell out of "
            "it first."
        )
    if box is not None:
        _refuse_outside(path, box, width, height)
    pixels = images.decode(path)
    if view is None and box is None:
        return Subject(path.name, pixels)
    cut = view or View(kind="box")
    if view is not None and view.kind == "tile" and box is None:
        raise UsageError(f"The task cuts tiles out of {path}: name one with --box x,y,w,h.")
    crop = images.cut(pixels, box, cut, mpp)
    named = path.name if box is None else f"{path.name} ({', '.join(map(str, box))})"
    return Subject(named, crop, cell=_cell(box, (width, height), cut, mpp))


def subjects_of_task(task: TaskPlan, each: int, seed: int) -> list[Subject]:
    """Return up to `each` cells of every class, drawn by `seed` (a larger draw begins with a smaller one)."""
    chosen: list[int] = []
    labels = task.examples.labels
    for code in range(len(task.examples.classes)):
        rows = task.examples.order[np.flatnonzero(labels == code)]
        drawn = generator("attend", task.card.name, seed, code).permutation(len(rows))[:each]
        chosen += rows[drawn].tolist()
    samples, names = task.data.table["sample"].to_list(), task.data.table["label"].to_list()
    crops = task.items.crops(chosen)
    return [
        Subject(samples[row], crop, names[row], _cell_of_item(task, row))
        for row, crop in zip(chosen, crops, strict=True)
    ]


def _refuse_outside(path: Path, box: Box, width: int, height: int) -> None:
    x, y, w, h = box
    if min(x, y, w, h) < 0 or x + w > width or y + h > height:
        raise UsageError(
            f"The box {x},{y},{w},{h} is not inside {path}, which has {width} x {height} px; give --box as "
            "x,y,w,h in px, from the upper left corner."
        )


def _cell_of_item(task: TaskPlan, row: int) -> Mask | None:
    items = task.items
    box = items.box(row)
    if box is None or items.view.kind == "tile":
        return None
    return _cell(box, images.size(items.images[row]), items.view, items.scale(row))


def _cell(box: Box | None, size: tuple[int, int], view: View, mpp: float | None) -> Mask | None:
    """Return which pixels of a crop belong to the cell's box: bool [s, s]; None where that says nothing."""
    if box is None or box[2] < 1 or box[3] < 1:
        return None
    left, top, side = images.frame(*size, box, view, mpp)
    mask = np.zeros((side, side), dtype=bool)
    x, y = max(box[0] - left, 0), max(box[1] - top, 0)
    mask[y : max(box[1] - top + box[3], 0), x : max(box[0] - left + box[2], 0)] = True
    return None if mask.all() else mask
