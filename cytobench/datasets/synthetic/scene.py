"""Where cells lie in a frame: nuclei and cytoplasm cover like areas whatever cell is in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytobench.datasets.synthetic.geometry import OUTSIDE, Blob, Field, level, ripple, union
from cytobench.datasets.synthetic.recipes import Cell

NUCLEAR_FRACTION = (0.14, 0.20)
"""Range of the share of a frame that is nucleus, drawn without looking at the class."""

CYTOPLASM_FRACTION = (0.34, 0.44)
"""Range of the share of a frame that is cytoplasm outside nuclei."""

_GROWTH = (0.55, 1.7)
_CLEARANCE = 3.0
_TRIES = 40


@dataclass(frozen=True)
class Scene:
    """Level functions of everything in one frame; all [side, side].

    `nucleus` and `body` belong to the central cell; `other_nuclei` and `other_bodies` [k, side, side] to its
    neighbours, already grown or shrunk to the areas wanted; `other_radii` [k] are short semi-axes in px.
    """

    side: int
    cell: Cell
    nucleus: Field
    body: Field
    other_nuclei: Field
    other_bodies: Field
    nuclear_radii: NDArray[np.float32]
    body_radii: NDArray[np.float32]


def compose(cell: Cell, side: int, rng: np.random.Generator) -> Scene:
    """Surround `cell` by neighbours until nuclei and cytoplasm cover shares that ignore what `cell` is."""
    nucleus = union(cell.nuclei, side)
    body = np.full_like(nucleus, OUTSIDE) if cell.body is None else level(cell.body, side)
    pixels = side * side
    wanted_nucleus = rng.uniform(*NUCLEAR_FRACTION) * pixels
    wanted_cytoplasm = rng.uniform(*CYTOPLASM_FRACTION) * pixels
    missing = wanted_nucleus - np.count_nonzero(nucleus < 1.0)
    own_cytoplasm = np.count_nonzero((body < 1.0) & (nucleus >= 1.0))
    nuclei = _scatter_nuclei(nucleus, missing, side, rng)
    bodies = _bodies(nuclei, body, wanted_cytoplasm - own_cytoplasm, side, rng)
    nuclear_levels = _stack(nuclei, side)
    body_levels = _stack(bodies, side)
    body_levels = _grown(body_levels, body < 1.0, wanted_cytoplasm + wanted_nucleus)
    nuclear_levels = _grown(nuclear_levels, nucleus < 1.0, wanted_nucleus)
    return Scene(
        side,
        cell,
        nucleus,
        body,
        nuclear_levels,
        body_levels,
        np.array([blob.b for blob in nuclei], dtype=np.float32),
        np.array([blob.b for blob in bodies], dtype=np.float32),
    )


def _stack(blobs: list[Blob], side: int) -> Field:
    if not blobs:
        return np.empty((0, side, side), dtype=np.float32)
    return np.stack([level(blob, side) for blob in blobs])


def _grown(levels: Field, taken: NDArray[np.bool_], wanted: float) -> Field:
    """Scale `levels` so that, together with the pixels `taken`, they cover `wanted` px."""
    if not len(levels):
        return levels
    free = levels.min(axis=0)[~taken]
    count = round(wanted) - int(np.count_nonzero(taken))
    if count <= 0:
        return levels / np.float32(_GROWTH[0])
    count = min(count, free.size - 1)
    threshold = np.clip(np.partition(free, count)[count], *_GROWTH)
    return np.asarray(levels / np.float32(threshold), dtype=np.float32)


def _scatter_nuclei(central: Field, missing: float, side: int, rng: np.random.Generator) -> list[Blob]:
    """Place neighbours' nuclei of `missing` px^2 in total clear of the central nucleus and of each other."""
    from scipy import ndimage

    typical = rng.uniform(0.018, 0.034) * side * side
    count = int(np.clip(round(missing / typical), 1, 9))
    radius = np.sqrt(max(missing, 60.0) / (np.pi * count))
    free = ndimage.distance_transform_edt(central[::2, ::2] >= 1.0) * 2.0
    placed: list[Blob] = []
    for _ in range(count):
        size = float(radius * rng.uniform(0.85, 1.15))
        x, y = _clear_spot(free, placed, size, side, rng)
        ratio = float(np.sqrt(rng.uniform(1.0, 1.5)))
        angle = float(rng.uniform(0.0, np.pi))
        placed.append(Blob(x, y, size * ratio, size / ratio, angle, 0.0, ripple(rng, 0.035)))
    return placed


def _clear_spot(
    free: NDArray[np.float64], placed: list[Blob], radius: float, side: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the first of some random spots with room for `radius`, or the roomiest of them."""
    spots = rng.uniform(-0.02 * side, 1.02 * side, (_TRIES, 2))
    index = np.clip(spots / 2.0, 0, free.shape[0] - 1).astype(int)
    room = free[index[:, 1], index[:, 0]] - radius * 1.15 - _CLEARANCE
    for blob in placed:
        gap = np.hypot(spots[:, 0] - blob.x, spots[:, 1] - blob.y) - (radius + blob.a) * 1.1 - 1.0
        room = np.minimum(room, gap)
    enough = np.flatnonzero(room >= 0.0)
    best = int(enough[0]) if len(enough) else int(np.argmax(room))
    return float(spots[best, 0]), float(spots[best, 1])


def _bodies(
    nuclei: list[Blob], own: Field, missing: float, side: int, rng: np.random.Generator
) -> list[Blob]:
    """Give neighbours cytoplasm, and add cells without a nucleus, for about `missing` px^2 in total."""
    inside = sum(blob.area for blob in nuclei)
    share = float(np.clip((inside + max(missing, 0.0) * 0.6) / max(inside, 1.0), 1.15, 3.2))
    bodies = []
    for blob in nuclei:
        rim = float(np.sqrt(share) * rng.uniform(0.9, 1.1))
        shift = rng.normal(0.0, 0.12 * blob.b * rim, 2)
        bodies.append(
            Blob(
                float(blob.x + shift[0]),
                float(blob.y + shift[1]),
                blob.a * rim * 0.97,
                blob.b * rim * 1.03,
                blob.angle,
                0.0,
                ripple(rng, 0.06),
            )
        )
    left = missing - inside * (share - 1.0) * 0.8
    return bodies + _discs(bodies, own, left, side, rng)


def _discs(bodies: list[Blob], own: Field, missing: float, side: int, rng: np.random.Generator) -> list[Blob]:
    """Cells without a nucleus (red cells, squames) that fill what cytoplasm is still missing."""
    from scipy import ndimage

    radius = side * float(rng.uniform(0.085, 0.12))
    count = int(np.clip(round(missing / (np.pi * radius**2)), 0, 8))
    if not count:
        return []
    free = ndimage.distance_transform_edt(own[::2, ::2] >= 1.0) * 2.0 + radius * 0.3
    placed = list(bodies)
    for _ in range(count):
        x, y = _clear_spot(free, placed, radius * 0.75, side, rng)
        size = radius * float(rng.uniform(0.9, 1.1))
        placed.append(Blob(x, y, size * 1.03, size / 1.03, 0.0, 0.0, ripple(rng, 0.02)))
    return placed[len(bodies) :]
