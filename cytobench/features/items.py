"""The identity of what was seen: the bytes of an image file, a box in it, and the view that cuts it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError
from cytobench.features.space import canonical_json
from cytobench.images import RGB, decode
from cytobench.perturb import Perturbation, cut

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import View
    from cytobench.digests import FileDigests
    from cytobench.progress import Reporter

ID_BYTES = 16
Ids = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Items:
    """Instances to be encoded, in the order of the table they come from.

    ids: uint8 [n, 16]; images: n paths; boxes: int32 [n, 4] as x, y, w, h in pixels (all -1: the whole
    image); view: how they are cut; mpp: float64 [n], micrometres per pixel (NaN: unknown); change: what is
    done to every crop (None: nothing).
    """

    ids: Ids
    images: tuple[str, ...]
    boxes: npt.NDArray[np.int32]
    view: View
    mpp: npt.NDArray[np.float64]
    change: Perturbation | None = None

    def __len__(self) -> int:
        return len(self.images)

    def box(self, row: int) -> Box | None:
        """Return the box of one item, or None for the whole image."""
        x, y, w, h = (int(v) for v in self.boxes[row])
        return None if w < 0 else (x, y, w, h)

    def scale(self, row: int) -> float | None:
        """Return the micrometres per pixel of one item, or None where they are unknown."""
        value = float(self.mpp[row])
        return None if np.isnan(value) else value

    def cut(self, image: RGB, row: int) -> RGB:
        """Return what is seen of one item in its decoded image: uint8 [s, s, 3]; raises DataError."""
        place = self.box(row), self.view, self.scale(row)
        return cut(image, *place, self.change, self.ids[row].tobytes())

    def crops(self, rows: Sequence[int]) -> list[RGB]:
        """Return what is seen of some items, uint8 [s, s, 3] each; every file is decoded once."""
        made: dict[int, RGB] = {}
        by_image: dict[str, list[int]] = {}
        for row in dict.fromkeys(int(row) for row in rows):
            by_image.setdefault(self.images[row], []).append(row)
        for image, its_rows in by_image.items():
            pixels = decode(image)
            made |= {row: self.cut(pixels, row) for row in its_rows}
        return [made[int(row)] for row in rows]

    def name(self, row: int) -> str:
        """Return what a person calls this item: its file, and its box if it has one."""
        return self.images[row] + place_of(self.box(row))


def place_of(box: Box | None) -> str:
    """Return where in its image an item lies, to stand behind the file's name; no area means a point."""
    if box is None:
        return ""
    x, y, width, height = box
    return f" (box {x}, {y}, {width}, {height})" if width or height else f" (at {x}, {y})"


def items_of(
    table: pl.DataFrame,
    view: View,
    digests: FileDigests,
    reporter: Reporter | None = None,
    change: Perturbation | None = None,
) -> Items:
    """Identify the instances of a manifest (columns `image` and, if present, `box` and `mpp`).

    Every distinct image file is digested once; places of slides, whose features are precomputed, go by name;
    `change` is done to every crop. Raises DataError for a file that cannot be read.
    """
    images = tuple(str(image) for image in table["image"].to_list())
    if view.kind == "precomputed":
        if change is not None:
            raise DataError("Features of another tool cannot be changed as images are.")
        return _places(table, images, view)
    unique = list(dict.fromkeys(images))
    sha256 = dict(zip(unique, digests.sha256_many(unique, reporter), strict=True))
    boxes = _boxes(table)
    mpp = _mpp(table)
    ids = np.empty((len(images), ID_BYTES), np.uint8)
    texts = _resolved_views(view, mpp)
    for row, (image, box, text) in enumerate(zip(images, boxes.tolist(), texts, strict=True)):
        ids[row] = _digest(sha256[image], box, text, change)
    return Items(ids, images, boxes, view, mpp, change)


def _places(table: pl.DataFrame, images: tuple[str, ...], view: View) -> Items:
    """Identify places of slides by what every encoder's files agree on: the slide's name and the place.

    The images are not here to be digested; what stands in the files is in the identity of the space.
    """
    texts = [canonical_json({"place": name}).encode("ascii") for name in table["sample"].to_list()]
    raw = b"".join(hashlib.sha256(text).digest()[:ID_BYTES] for text in texts)
    ids = np.frombuffer(raw, np.uint8).reshape(len(texts), ID_BYTES)
    return Items(ids, images, np.full((len(ids), 4), -1, np.int32), view, np.full(len(ids), np.nan))


def item_id(
    image_sha256: str,
    box: Sequence[int] | None,
    view: View,
    mpp: float | None = None,
    change: Perturbation | None = None,
) -> bytes:
    """Return the 16 bytes that name what `view` shows of `box` in the file with this SHA-256."""
    scale = np.array([np.nan if mpp is None else mpp])
    return bytes(_digest(image_sha256, list(box or (-1,) * 4), next(_resolved_views(view, scale)), change))


def _digest(
    image_sha256: str, box: list[int], view_text: str, change: Perturbation | None
) -> npt.NDArray[np.uint8]:
    seen = "null" if box[2] < 0 else f"[{box[0]},{box[1]},{box[2]},{box[3]}]"
    changed = "" if change is None else f'"change":{canonical_json(change.identity())},'
    text = f'{{"box":{seen},{changed}"image":"{image_sha256}","view":{view_text}}}'
    return np.frombuffer(hashlib.sha256(text.encode("ascii")).digest()[:ID_BYTES], np.uint8)


def _resolved_views(view: View, mpp: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield per item the canonical JSON of that part of the view which decides what is cut.

    The side of a tile is its box's, so neither size, stride nor foreground threshold tell tiles apart; the
    scale matters only to windows given in micrometres.
    """
    if view.kind != "window":
        text = canonical_json({"kind": view.kind, "pad": view.pad})
        return (text for _ in mpp)
    shared = {"kind": view.kind, "pad": view.pad, "size": view.size, "unit": view.unit}
    if view.unit == "px":
        text = canonical_json(shared)
        return (text for _ in mpp)
    return (canonical_json({**shared, "mpp": None if np.isnan(scale) else float(scale)}) for scale in mpp)


def _boxes(table: pl.DataFrame) -> npt.NDArray[np.int32]:
    boxes = np.full((len(table), 4), -1, np.int32)
    if "box" not in table.columns:
        return boxes
    for row, box in enumerate(table["box"].to_list()):
        if box is None:
            continue
        if None in box or box[2] < 0 or box[3] < 0:
            raise DataError(
                f"The box {list(box)} of {table['image'][row]} is not x, y, width, height with sides of at "
                f"least 0: correct it in the manifest."
            )
        boxes[row] = box
    return boxes


def _mpp(table: pl.DataFrame) -> npt.NDArray[np.float64]:
    if "mpp" not in table.columns:
        return np.full(len(table), np.nan)
    return np.array([np.nan if v is None else float(v) for v in table["mpp"].to_list()], np.float64)
