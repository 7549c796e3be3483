"""Colour statistics: what a picture's colours alone tell, with no regard to where they are.

The rung "colour only" of the null ladder: whatever a backbone scores on a task, this is how far the stain
takes one. Shuffling a crop's pixels changes nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Part of the feature space's identity: changes whenever a number returned by `describe` changes."""

_QUANTILES = (0.1, 0.5, 0.9)
_LIGHTNESS = (40.0, 60.0, 80.0)
_GREEN_RED = (-6.0, 6.0, 20.0)
_BLUE_YELLOW = (-12.0, 6.0)
_CELLS = (len(_LIGHTNESS) + 1) * (len(_GREEN_RED) + 1) * (len(_BLUE_YELLOW) + 1)
_MOST_PIXELS = 192 * 192


def _names() -> tuple[str, ...]:
    kinds = ("mean", "sd", *(f"q{round(100 * q)}" for q in _QUANTILES))
    statistics = [f"{channel}_{kind}" for channel in ("red", "green", "blue") for kind in kinds]
    return (*statistics, *(f"lab_bin_{index:02d}" for index in range(_CELLS)))


FEATURE_NAMES = _names()
"""Names of the numbers `describe` returns, in order."""


def describe(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colour statistics of `crop` (uint8 [h, w, 3] RGB) as float32 [len(FEATURE_NAMES)].

    Mean, standard deviation and 10, 50 and 90 % quantiles of R, G and B in 0..1, then the square roots of the
    shares of pixels in the cells of a coarse CIELAB grid. Large crops are read on a regular grid of pixels.
    """
    step = max(1, int(np.ceil(np.sqrt(crop.shape[0] * crop.shape[1] / _MOST_PIXELS))))
    pixels = np.ascontiguousarray(crop[::step, ::step]).reshape(-1, 3)
    statistics = [_channel(pixels[:, channel]) for channel in range(3)]
    coarse = (pixels >> 3).astype(np.int32)
    cells = _lab_cells()[(coarse[:, 0] << 10) | (coarse[:, 1] << 5) | coarse[:, 2]]
    shares = np.bincount(cells, minlength=_CELLS) / len(pixels)
    return np.concatenate([*statistics, np.sqrt(shares)]).astype(np.float32)


def _channel(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return mean, sd and quantiles of uint8 values, in 0..1, from their histogram."""
    counts = np.bincount(values, minlength=256)
    grey = np.arange(256) / 255.0
    total = counts.sum()
    mean = float(counts @ grey) / total
    variance = float(counts @ (grey - mean) ** 2) / total
    cumulated = np.cumsum(counts)
    quantiles = [np.searchsorted(cumulated, q * total) / 255.0 for q in _QUANTILES]
    return np.array([mean, np.sqrt(variance), *quantiles])


@lru_cache(maxsize=1)
def _lab_cells() -> NDArray[np.uint8]:
    """Return the CIELAB grid cell of every 15-bit colour (5 bits a channel)."""
    from skimage.color import rgb2lab

    levels = (np.arange(32) * 8 + 4) / 255.0
    red, green, blue = np.meshgrid(levels, levels, levels, indexing="ij")
    lab = rgb2lab(np.stack([red, green, blue], axis=-1).reshape(-1, 1, 3)).reshape(-1, 3)
    light = np.digitize(lab[:, 0], _LIGHTNESS)
    green_red = np.digitize(lab[:, 1], _GREEN_RED)
    blue_yellow = np.digitize(lab[:, 2], _BLUE_YELLOW)
    cells = (light * (len(_GREEN_RED) + 1) + green_red) * (len(_BLUE_YELLOW) + 1) + blue_yellow
    return np.asarray(cells, dtype=np.uint8)
