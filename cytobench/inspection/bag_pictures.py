"""Bags as strips of pictures: attention laid over their fields, and their heaviest and lightest instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from cytobench import images
from cytobench.evaluation.plan import TaskPlan
from cytobench.images import RGB
from cytobench.inspection.attention_pictures import SIDE, WIDE, bars
from cytobench.inspection.bag_attention import Weighed
from cytobench.inspection.overlay import painted
from cytobench.pictures.sheet import QUERY, Strip, Tile
from cytobench.progress import Reporter

MOST = 8
"""Instances shown of either end."""
_FIELDS, _FIELD_SIDE = 2, 640
_FEWEST = 4
"""A picture with fewer instances of a bag is no field of it."""


def strips_of_bags(task: TaskPlan, bags: Sequence[Weighed], reporter: Reporter) -> list[Strip]:
    """Return each bag's fields under its attention, where it has any, and both ends of its instances."""
    made: list[Strip] = []
    any_field = False
    with reporter.task("cutting pictures", len(bags)) as step:
        for one in bags:
            fields = _fields(task, one)
            any_field |= bool(fields)
            made.append(Strip(_heading(one), fields, span=WIDE, height=_height(fields)))
            made += _ends(task, one)
            step.advance(1)
    if any_field:
        made.append(bars([("an instance in its field", "as its field says and more")]))
    return made


def _heading(one: Weighed) -> str:
    verdict = "right" if one.right else "wrong"
    truth = f", AUROC against truth {one.auroc:.2f}" if np.isfinite(one.auroc) else ""
    return (
        f"{one.bag}: is {one.label}, called {one.predicted} {100 * one.confidence:.0f} % ({verdict}), fold "
        f"{one.fold}, {len(one.rows)} instances{truth}"
    )


def _ends(task: TaskPlan, one: Weighed) -> list[Strip]:
    """Return the strips of the heaviest and of the lightest instances; of a small bag only all of them."""
    n = len(one.rows)
    top = np.arange(min(MOST, n))
    rest = np.arange(max(len(top), n - MOST), n)[::-1]
    crops = task.items.crops(one.rows[np.concatenate([top, rest])].tolist())
    tiles = [_tile(task, one, int(k), crop) for k, crop in zip([*top, *rest], crops, strict=True)]
    strips = [Strip("most attention" if len(rest) else "by attention, most first", tiles[: len(top)])]
    return strips + ([Strip("least attention, from the least", tiles[len(top) :])] if len(rest) else [])


def _tile(task: TaskPlan, one: Weighed, k: int, crop: RGB) -> Tile:
    lines = [f"{one.relative[k]:.2f} x even share"]
    if one.telling is not None:
        lines.append(str(task.data.table["instance_label"][int(one.rows[k])]))
    marked = one.telling is not None and bool(one.telling[k])
    return Tile(crop, tuple(lines), QUERY if marked else "")


def _fields(task: TaskPlan, one: Weighed) -> list[Tile]:
    """Return pictures that hold several instances of the bag, the most attended to first, and them bare."""
    by_image: dict[str, list[int]] = {}
    for k, row in enumerate(one.rows.tolist()):
        if task.items.box(row) is not None:
            by_image.setdefault(task.items.images[row], []).append(k)
    fields = {image: places for image, places in by_image.items() if len(places) >= _FEWEST}
    heaviest = sorted(fields, key=lambda image: -one.weights[fields[image]].sum())[:_FIELDS]
    top = max(2.0, float(one.relative[0]))  # even attention is to have the middle colour
    tiles = []
    for image in heaviest:
        share = 100 * one.weights[fields[image]].sum()
        field, heat = _heat(task, image, one.rows[fields[image]], one.relative[fields[image]])
        which = f"field {heaviest.index(image) + 1} of {len(fields)}, {share:.0f} % of the attention"
        scale = f"dark 0, bright {top:.1f} x an even share"
        tiles += [Tile(field, (which,)), Tile(painted(field, heat, top=top), (scale,))]
    return tiles


def _height(fields: Sequence[Tile]) -> int:
    """Return the height in px of the highest field as wide as its strip; 0 for none."""
    width = WIDE * SIDE
    return max((round(width * tile.pixels.shape[0] / tile.pixels.shape[1]) for tile in fields), default=0)


def _heat(
    task: TaskPlan, image: str, rows: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[RGB, npt.NDArray[np.float32]]:
    """Return a field, small enough to show, and its instances' values, float32 [h, w] (NaN between them)."""
    picture = Image.fromarray(images.decode(image))
    width, height = picture.size
    scale = min(1.0, _FIELD_SIDE / max(width, height))
    picture = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    heat = np.full((picture.height, picture.width), np.nan, dtype=np.float32)
    for row, value in sorted(zip(rows.tolist(), values.tolist(), strict=True), key=lambda pair: pair[1]):
        box = task.items.box(row)
        if box is None or box[2] < 1 or box[3] < 1:
            left, top, side = images.frame(width, height, box, task.items.view, task.items.scale(row))
            box = (left, top, side, side)
        x, y = max(0, round(box[0] * scale)), max(0, round(box[1] * scale))
        heat[
            y : max(y + 1, round((box[1] + box[3]) * scale)), x : max(x + 1, round((box[0] + box[2]) * scale))
        ] = value
    return np.asarray(picture), heat
