"""What a user names as images to learn from, as a list of pieces to cut: folders, manifests, data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench import images
from cytobench.datasets import listen
from cytobench.datasets.listing import IMAGE_SUFFIXES, images_in
from cytobench.errors import CytoBenchError, DataError, UsageError
from cytobench.pretraining.recipe import Data

if TYPE_CHECKING:
    import polars as pl

_MANIFESTS = (".csv", ".tsv", ".txt", ".parquet", ".pq")


@dataclass(frozen=True)
class Piece:
    """A square to be cut from an image: (left, top, side) in px, or None for the image's central square."""

    image: Path
    square: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Listed:
    """The pieces of one source; `dataset` is the name of a known data set, or empty."""

    name: str
    dataset: str
    pieces: tuple[Piece, ...]


def is_manifest(path: Path) -> bool:
    """Tell whether a path names a table of images rather than a folder."""
    return path.suffix.lower() in _MANIFESTS


def list_folder(folder: Path, data: Data) -> Listed:
    """Return all images below a folder, in an order no file system can change; raises DataError for none.

    Hidden files and macOS leftovers are passed over. With `data.tile` every image becomes its tiles.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder of images at {folder}; check the path given with --images.")
    found = images_in(folder, deep=True)
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}): check the path.")
    return Listed(folder.name, "", _pieces([(path.absolute(), None) for path in found], data, window=0))


def list_manifest(path: Path, data: Data) -> tuple[Listed, pl.DataFrame]:
    """Return the images of a CSV, TSV or Parquet table, windows cut round its boxes, and the table itself.

    Raises DataError listing all that is wrong with the table, UsageError where polars is not installed.
    """
    table = read_manifest(path)
    rows = [(Path(image), _box(box)) for image, box in zip(table["image"], table["box"], strict=True)]
    return Listed(path.stem, "", _pieces(rows, data, window=data.window)), table


def list_rows(name: str, table: pl.DataFrame, data: Data, *, window: int) -> Listed:
    """Return the rows of a data set's manifest, cut as `data.window` or else the task's `window` says."""
    rows = [(Path(image), _box(box)) for image, box in zip(table["image"], table["box"], strict=True)]
    return Listed(name, name, _pieces(rows, data, window=data.window or window))


def read_manifest(path: Path) -> pl.DataFrame:
    """Return a table of images as a manifest; raises DataError, and UsageError without polars."""
    if not path.is_file():
        raise UsageError(f"There is no table of images at {path}; check the path.")
    with requiring(f"Reading the table {path}"):
        from cytobench.datasets.table import read
    return listen(lambda: read(path, outside=True))[0]  # images that no row names are left out by choice


@contextmanager
def requiring(purpose: str) -> Iterator[None]:
    """Turn a library that is missing on a training machine into a UsageError that says what needs it."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{purpose} needs {error.name}, which is not installed here: install it, or pack the pool "
            "elsewhere with --pack-only and name that with --images."
        ) from error


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with a number behind it where it is taken already."""
    held, free, n = set(taken), name, 2
    while free in held:
        free, n = f"{name}-{n}", n + 1
    return free


def _box(box: Sequence[int] | None) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    x, y, w, h = (int(v) for v in box)
    return x, y, w, h


def _pieces(
    rows: Sequence[tuple[Path, tuple[int, int, int, int] | None]], data: Data, *, window: int
) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for image, box in rows:
        if box is not None:
            x, y, w, h = box
            side = window or max(w, h)
            if side:
                pieces.append(Piece(image, (x + (w - side) // 2, y + (h - side) // 2, side)))
        elif data.tile:
            pieces += [Piece(image, square) for square in _tiles(image, data.tile)]
        else:
            pieces.append(Piece(image))
    return tuple(pieces)


def _tiles(image: Path, side: int) -> list[tuple[int, int, int] | None]:
    """Lay squares over an image; one that cannot be read is left to the decoder to report."""
    try:
        width, height = images.size(image)
    except CytoBenchError:
        return [None]
    return [(left, top, side) for left, top, _, _ in images.grid(width, height, side, side)]
