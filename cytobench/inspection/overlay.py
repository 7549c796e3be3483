"""Maps of attention as colours: on their own, and laid over the picture they belong to."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from cytobench.images import RGB

COLOURS = "viridis"
"""Perceptually uniform, read alike by colour-blind people and in grey (Smith & van der Walt 2015)."""
_STRONGEST, _BEND, _GREYED = 0.8, 1.3, 0.35
"""How much colour lies on the most attended to, how fast it fades below, and how grey the picture becomes."""


def coloured(
    values: npt.NDArray[np.floating], size: int = 224, *, top: float | None = None, smooth: bool = False
) -> RGB:
    """Return a map, float [h, w], as a picture, uint8 [size, size, 3]: dark is 0, bright is `top`.

    `top`: the value of the brightest colour, so that several maps share a scale; by default that of
    `top_of`. `smooth` interpolates between patches; else every patch is one square of its own colour.
    """
    return _colours()[np.rint(255 * _scaled(values, size, top, smooth)).astype(np.uint8)]


def overlaid(
    crop: RGB, values: npt.NDArray[np.floating], *, top: float | None = None, smooth: bool = True
) -> RGB:
    """Return a crop, uint8 [s, s, 3], under a map, float [h, w]; the more attention, the more of its colour.

    `top` and `smooth` as for `coloured`. Whatever gets little attention stays visible, a little greyed.
    """
    return _blended(crop, _scaled(values, crop.shape[0], top, smooth, wide=crop.shape[1]))


def painted(field: RGB, values: npt.NDArray[np.floating], *, top: float) -> RGB:
    """Return a field, uint8 [h, w, 3], under values of its pixels, float [h, w]; NaN leaves a pixel bare."""
    known = np.isfinite(values)
    shares = np.clip(np.where(known, values, 0) / top, 0, 1).astype(np.float32)
    return np.where(known[..., None], _blended(field, shares), field)


def _blended(crop: RGB, shares: npt.NDArray[np.float32]) -> RGB:
    """Return a picture with as much colour on it as `shares`, 0..1, float32 [h, w], say."""
    colours = _colours()[np.rint(255 * shares).astype(np.uint8)].astype(np.float32)
    strength = (_STRONGEST * shares**_BEND)[..., None]
    grey = crop.astype(np.float32).mean(axis=2, keepdims=True)
    below = (1 - _GREYED) * crop + _GREYED * grey
    mixed: RGB = np.rint((1 - strength) * below + strength * colours).clip(0, 255).astype(np.uint8)
    return mixed


def _scaled(
    values: npt.NDArray[np.floating], size: int, top: float | None, smooth: bool, wide: int | None = None
) -> npt.NDArray[np.float32]:
    """Return a map as shares of `top`, 0..1, float32 [size, wide]."""
    highest = top_of(values) if top is None else top
    shares = np.clip(values / highest, 0, 1) if highest > 0 else np.zeros_like(values)
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    drawn = Image.fromarray(np.ascontiguousarray(shares, np.float32)).resize((wide or size, size), resample)
    return np.asarray(drawn).clip(0, 1)


def top_of(*maps: npt.NDArray[np.floating]) -> float:
    """Return the top of a scale that maps share: what one value in a hundred exceeds.

    But at least twice their mean, so that even attention has the middle colour everywhere, and not its noise
    the whole range.
    """
    values = np.concatenate([one.ravel() for one in maps])
    return max(float(np.quantile(values, 0.99)), 2 * float(values.mean()))


def ramp(width: int, height: int) -> RGB:
    """Return the colours from 0 to the top as a bar, uint8 [height, width, 3]."""
    bar = _colours()[np.linspace(0, 255, width).round().astype(np.uint8)]
    return np.repeat(bar[None], height, axis=0)


@lru_cache
def _colours() -> npt.NDArray[np.uint8]:
    """Return the 256 colours, uint8 [256, 3], dark to bright."""
    from matplotlib import colormaps

    table = colormaps[COLOURS](np.arange(256), bytes=True)
    return np.asarray(table, dtype=np.uint8)[:, :3]
