"""How much dye lies where: chromatin, nucleoli, nuclear membrane, cytoplasm, granules, vacuoles, debris.

Class tells only *where* dye lies: within nuclei, and within cytoplasm, the amounts are given the same
distribution in every picture by their ranks, so that no colour statistic can carry the label.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cytobench.datasets.synthetic.geometry import Field, soft_edge
from cytobench.datasets.synthetic.recipes import Cell, Chromatin
from cytobench.datasets.synthetic.scene import Scene
from cytobench.datasets.synthetic.stains import SlideLook

_TILE = 256
_GRAINS = (0.8, 1.5, 2.6, 5.0, 16.0)
_KNOTS = np.linspace(0.0, 1.0, 33)


@lru_cache(maxsize=4)
def _bank(seed: int) -> NDArray[np.float32]:
    """Unit-variance noise at each of `_GRAINS` (px), [grain, 2 * _TILE, 2 * _TILE], periodic in _TILE."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    tiles = []
    for grain in _GRAINS:
        tile = ndimage.gaussian_filter(rng.standard_normal((_TILE, _TILE)), grain, mode="wrap")
        tiles.append(np.tile(((tile - tile.mean()) / tile.std()).astype(np.float32), (2, 2)))
    return np.stack(tiles)


class Grain:
    """Noise fields of one picture: the same grain looks different in every picture."""

    def __init__(self, side: int, rng: np.random.Generator, seed: int = 0) -> None:
        self._bank = _bank(seed)
        self._side = side
        self._rng = rng

    def __call__(self, index: int) -> Field:
        """Return [side, side] noise of grain `index`, cut at a random place of the bank."""
        x, y = self._rng.integers(0, _TILE, 2)
        return self._bank[index, y : y + self._side, x : x + self._side]


def _chromatin(style: Chromatin, grain: Grain) -> Field:
    if style == "smooth":
        return 0.35 * grain(3)
    if style == "fine":
        return 0.7 * grain(0) + 0.3 * grain(2)
    if style == "clumped":
        return np.asarray(np.tanh(2.0 * grain(2)) + 0.25 * grain(0))
    if style == "lacy":
        return 0.6 - 1.3 * np.abs(grain(1)) + 0.4 * grain(0)
    return np.asarray(1.1 * np.tanh(2.0 * grain(1)) + 0.7 * grain(3))


def _spots(
    field: Field, places: NDArray[np.float64], sizes: NDArray[np.float64], heights: NDArray[np.float64]
) -> None:
    """Add round Gaussian spots (centre x, y; sd in px) to `field` in place."""
    side = field.shape[0]
    for (x, y), size, height in zip(places, sizes, heights, strict=True):
        reach = int(np.ceil(3.0 * size))
        x0, x1 = max(0, int(x) - reach), min(side, int(x) + reach + 1)
        y0, y1 = max(0, int(y) - reach), min(side, int(y) + reach + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        across = np.exp(-0.5 * ((np.arange(x0, x1) - x) / size) ** 2)
        down = np.exp(-0.5 * ((np.arange(y0, y1) - y) / size) ** 2)
        field[y0:y1, x0:x1] += (height * down[:, None] * across[None, :]).astype(np.float32)


def _inside(level: Field, most: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return up to `count` random pixel places (x, y) where `level` is below `most`."""
    flat = np.flatnonzero(level.ravel() < most)
    if not len(flat) or not count:
        return np.empty((0, 2))
    chosen = rng.choice(flat, size=count)
    return np.stack([chosen % level.shape[1], chosen // level.shape[1]], axis=1).astype(np.float64)


def _nuclear_texture(scene: Scene, grain: Grain, rng: np.random.Generator) -> Field:
    cell = scene.cell
    own = _chromatin(cell.chromatin, grain) + _membrane(scene.nucleus, cell.membrane)
    for blob in cell.nuclei if cell.nucleoli else ():
        near = np.maximum(scene.nucleus, _disc(scene.side, blob.x, blob.y, 0.55 * blob.b))
        places = _inside(near, 1.0, cell.nucleoli, rng)
        size = rng.uniform(1.5, 2.2, len(places))
        _spots(own, places, size * 1.9, np.full(len(places), -1.6))
        _spots(own, places, size, rng.uniform(4.0, 5.0, len(places)))
    if not len(scene.other_nuclei):
        return own
    nearest = scene.other_nuclei.min(axis=0)
    weights = rng.normal(0.0, 0.35, len(scene.other_nuclei)).astype(np.float32)
    other = 0.6 * grain(2) + 0.45 * grain(0) + weights[scene.other_nuclei.argmin(axis=0)]
    return np.where(scene.nucleus <= nearest, own, other + _membrane(nearest, 0.5))


def _membrane(level: Field, strength: float) -> Field:
    return np.asarray(np.float32(strength) * np.exp(-(((level - np.float32(0.92)) / np.float32(0.09)) ** 2)))


def _disc(side: int, x: float, y: float, radius: float) -> Field:
    axis = np.arange(side, dtype=np.float32)
    away = np.hypot(axis[None, :] - np.float32(x), axis[:, None] - np.float32(y))
    return np.asarray(away / np.float32(radius))


def _thickness(level: Field, flatness: float) -> Field:
    dome = np.sqrt(np.clip(1.0 - level * level, 0.0, 1.0))
    return np.asarray(np.float32(flatness) * (level < 1.0) + np.float32(1.0 - flatness) * dome)


def _cytoplasmic_texture(scene: Scene, grain: Grain, rng: np.random.Generator) -> Field:
    field = 0.16 * grain(1) + 0.2 * grain(3)
    weights = rng.uniform(0.6, 1.2, len(scene.other_bodies))
    for level, weight in zip(scene.other_bodies, weights, strict=True):
        field += np.float32(weight) * _thickness(level, 0.6)
    cell = scene.cell
    if cell.body is not None:
        field += np.float32(rng.uniform(0.7, 1.1)) * _thickness(scene.body, cell.flatness)
        _organelles(field, scene, cell, grain, rng)
    return field


def _organelles(field: Field, scene: Scene, cell: Cell, grain: Grain, rng: np.random.Generator) -> None:
    own = scene.body < 0.97
    if cell.granules:
        dots = np.clip(grain(0) - 0.7, 0.0, 1.5) * np.float32(1.6 * cell.granules)
        field += np.where(own, dots, np.float32(0.0))
    if cell.vacuoles:
        clear = np.where(scene.nucleus > 1.1, scene.body, np.float32(2.0))
        places = _inside(clear, 0.88, cell.vacuoles, rng)
        size = rng.uniform(1.4, 2.4, len(places))
        _spots(field, places, size * 1.6, np.full(len(places), 0.35))
        _spots(field, places, size, np.full(len(places), -1.5))


def _by_rank(texture: Field, inside: NDArray[np.bool_], cover: Field, amounts: NDArray[np.float64]) -> Field:
    """Map `texture` monotonically so that its values `inside` are distributed as the quantiles `amounts`.

    Returned is the amount times `cover`, zero where nothing is covered.
    """
    values = np.sort(texture[inside])
    if values.size < len(_KNOTS):
        return cover * np.float32(amounts.mean())
    knots = values[((values.size - 1) * _KNOTS).astype(int)]
    knots = np.maximum.accumulate(knots + np.arange(len(knots)) * 1e-6)
    out = np.zeros_like(texture)
    covered = cover > 0.0
    out[covered] = np.interp(texture[covered], knots, amounts) * cover[covered]
    return out


def dye(scene: Scene, look: SlideLook, rng: np.random.Generator) -> tuple[tuple[Field, Field], Field]:
    """Return ((nuclear dye, cytoplasmic dye), tone), all [side, side], for `photograph`."""
    grain = Grain(scene.side, rng)
    nuclear_level, nuclear_cover = _cover(
        scene.nucleus, min(b.b for b in scene.cell.nuclei), scene.other_nuclei, scene.nuclear_radii, 1.4
    )
    own_radius = 1.0 if scene.cell.body is None else scene.cell.body.b
    body_level, body_cover = _cover(scene.body, own_radius, scene.other_bodies, scene.body_radii, 2.2)
    in_nucleus = nuclear_level < 1.0
    in_cytoplasm = (body_level < 1.0) & ~in_nucleus
    dark, pale = look.strength
    dark *= float(np.exp(rng.normal(0.0, 0.05)))
    pale *= float(np.exp(rng.normal(0.0, 0.08)))
    nuclear = _by_rank(
        _nuclear_texture(scene, grain, rng), in_nucleus, nuclear_cover, dark * _quantiles(0.48, 1.02)
    )
    cytoplasm = _by_rank(
        _cytoplasmic_texture(scene, grain, rng),
        in_cytoplasm,
        body_cover * (1.0 - nuclear_cover),
        pale * _quantiles(0.2, 0.85),
    )
    body_dye = cytoplasm + np.float32(0.25 * pale) * nuclear_cover
    film = np.float32(look.film) * (1.0 + 0.3 * grain(4))
    lean = 1.0 / (1.0 + np.exp(-6.0 * (look.mix - 0.5) - 1.6 * rng.normal()))
    tone = np.clip(lean + 0.12 * grain(4), 0.0, 1.0)
    nuclear_dye = nuclear + _debris(scene.side, rng)
    return (nuclear_dye.astype(np.float32), (body_dye + film).astype(np.float32)), tone.astype(np.float32)


def _quantiles(low: float, high: float) -> NDArray[np.float64]:
    """Quantiles at `_KNOTS` of amounts spread smoothly around the middle of low..high."""
    return low + (high - low) * (0.5 + 0.5 * np.sign(_KNOTS - 0.5) * np.abs(2.0 * _KNOTS - 1.0) ** 1.4)


def _cover(
    own: Field, own_radius: float, others: Field, radii: NDArray[np.float32], width: float
) -> tuple[Field, Field]:
    """Return the level of the union of `own` and `others`, and how much of each pixel they cover."""
    cover = soft_edge(own, own_radius, width)
    lowest = own
    if len(others):
        nearest = others.min(axis=0)
        cover = np.maximum(cover, soft_edge(nearest, float(radii.mean()), width))
        lowest = np.minimum(own, nearest)
    return lowest, cover


def _debris(side: int, rng: np.random.Generator) -> Field:
    field = np.zeros((side, side), dtype=np.float32)
    count = int(rng.poisson(1.5))
    places = rng.uniform(0.0, side, (count, 2))
    _spots(field, places, rng.uniform(0.6, 1.5, count), rng.uniform(0.15, 0.6, count))
    return field
