"""Images to look up: files, folders, pixels with or without a box, cut as the collection's cells are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cytobench import images
from cytobench.cards import View
from cytobench.errors import DataError, UsageError
from cytobench.features.items import Box
from cytobench.images import RGB
from cytobench.retrieval.collection import Collection

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
SMALLEST, LARGEST = 8, 4096
"""Sides in px between which a picture can be one cell."""


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder and those below it, sorted; raises UsageError for none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UsageError(f"The folder {folder} holds no image ({', '.join(SUFFIXES)}).")
    return found


def read(file: Path) -> RGB:
    """Read an image to look up: uint8 [h, w, 3]; raises DataError for what is none, or far too large."""
    width, height = images.size(file)
    if min(width, height) < SMALLEST:
        raise DataError(_too_small(width, height, str(file)))
    return images.decode(file)


def view_of(collection: Collection, box: Box | None) -> View:
    """Return how a query is cut: as the collection's cells where it is given as they are, else whole.

    With a box, or where the collection's cells are whole images themselves, its own view; an image without a
    box beside cells that lie in fields is a cell already cut out, and is padded to a square.
    """
    view = collection.card.view
    if view.kind == "tile" or (box is None and not collection.whole_images):
        return View(kind="box", pad=view.pad)
    return view


def cut(
    pixels: RGB,
    box: Sequence[int] | None,
    collection: Collection,
    *,
    mpp: float | None = None,
    name: str = "",
) -> RGB:
    """Cut what is looked up: uint8 [s, s, 3].

    pixels: uint8 [h, w, 3]; box: x, y, w, h in px, with w = h = 0 for a point; mpp: micrometres per pixel,
    where the collection's cells are cut in micrometres. Raises UsageError for a box outside the image,
    DataError for a picture that cannot be one cell.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise DataError(_too_small(width, height, name))
    placed = None if box is None else _placed(box, width, height, name)
    view = view_of(collection, placed)
    side = max(pixels.shape[:2] if placed is None else placed[2:])
    if view.kind != "window" and side > LARGEST:
        what = "image" if placed is None else "box"
        raise DataError(
            f"The {what} {_called(name)}is {side:,} px wide or high: that is a field and no cell; draw a "
            f"box of at most {LARGEST:,} px around one cell (--box x,y,w,h)."
        )
    return images.cut(pixels, placed, view, mpp)


def remark(pixels: RGB, box: Box | None, collection: Collection, name: str) -> str:
    """Return what a person should know of how a query without a box is seen, or "" where nothing is odd."""
    height, width = pixels.shape[:2]
    view = collection.card.view
    if box is not None or view.size is None or view.unit != "px" or max(height, width) <= 2 * view.size:
        return ""
    seen = "only its centre is looked up" if collection.whole_images else "it is looked up as one cell"
    return (
        f"{_called(name)}is {width} x {height} px and {seen}, while cells of {collection.name} are cut at "
        f"{view.size:.0f} px: name a cell in it with --box x,y,w,h."
    )


def parse_box(text: str) -> Box:
    """Read "x,y,w,h" (whole px); raises UsageError."""
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box {text}: give four whole numbers, x,y,w,h, in pixels.") from None
    return x, y, w, h


def _placed(box: Sequence[int], width: int, height: int, name: str) -> Box:
    x, y, w, h = (int(value) for value in box)
    if w < 0 or h < 0 or x < 0 or y < 0 or x + w > width or y + h > height or x >= width or y >= height:
        raise UsageError(
            f"The box {x},{y},{w},{h} does not lie in the image {_called(name)}of {width} x {height} px."
        )
    return x, y, w, h


def _too_small(width: int, height: int, name: str) -> str:
    return (
        f"The image {_called(name)}is {width} x {height} px: no cell can be told in fewer than {SMALLEST} px "
        "a side."
    )


def _called(name: str) -> str:
    return f"{name} " if name else ""
