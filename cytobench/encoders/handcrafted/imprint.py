"""The imprint of a picture: enough to find its copies again and to see what is wrong with it.

No backbone card shows it: examinations of data compute it through the feature store, which gives them cache,
resume and parallel decoding. Whole numbers from 0 to 255 are exact in half precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytobench.fingerprint import difference_hash, pixel_digest, thumbnail

VERSION = 1
"""Part of the feature space's identity: changes whenever a number returned by `describe` changes."""

DIGEST = slice(0, 16)
HASH = slice(16, 48)
THUMBNAIL = slice(48, 816)
LIGHT = slice(816, 820)
COLOUR = slice(820, 835)

_QUANTILES = (0.1, 0.5, 0.9)
_CHANNELS = ("red", "green", "blue")
_KINDS = ("mean", "sd", "q10", "q50", "q90")

LIGHT_NAMES = ("luma_mean", "luma_sd", "detail", "structure")
COLOUR_NAMES = tuple(f"{channel}_{kind}" for channel in _CHANNELS for kind in _KINDS)
FEATURE_NAMES = (
    *(f"digest_{byte:02d}" for byte in range(16)),
    *(f"hash_{byte:02d}" for byte in range(32)),
    *(f"thumbnail_{value:03d}" for value in range(768)),
    *LIGHT_NAMES,
    *COLOUR_NAMES,
)
"""Names of the numbers `describe` returns, in order."""


def describe(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the imprint of `crop` (uint8 [h, w, 3] RGB) as float32 [len(FEATURE_NAMES)].

    A digest of the pixels (16 bytes), the difference hash (32 bytes), the thumbnail (16 x 16 x 3), mean and
    standard deviation of the luma, the standard deviation of its Laplacian at full and at half resolution
    (`detail`, `structure`), and of each channel mean, standard deviation and three quantiles; all levels in
    0..1 but for the bytes.
    """
    grey = Image.fromarray(crop).convert("L")
    half = grey.reduce(2) if min(grey.size) >= 8 else grey
    luma = np.asarray(grey)
    levels = _histogram_facts(luma)
    light = np.array([levels[0], levels[1], _laplacian_sd(luma), _laplacian_sd(np.asarray(half))])
    parts: list[NDArray[Any]] = [
        np.frombuffer(pixel_digest(crop), np.uint8),
        difference_hash(crop),
        thumbnail(crop).ravel(),
        light,
        *(_histogram_facts(crop[..., channel]) for channel in range(3)),
    ]
    return np.concatenate(parts, dtype=np.float32)


def _histogram_facts(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return mean, standard deviation and quantiles of levels, in 0..1, from their histogram."""
    counts = np.asarray(Image.fromarray(np.ascontiguousarray(values)).histogram(), np.float64)
    grey = np.arange(256) / 255.0
    total = counts.sum()
    mean = float(counts @ grey) / total
    variance = float(counts @ (grey - mean) ** 2) / total
    quantiles = np.searchsorted(np.cumsum(counts), np.asarray(_QUANTILES) * total) / 255.0
    return np.array([mean, np.sqrt(variance), *quantiles])


def _laplacian_sd(luma: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the four-neighbour Laplacian, in 0..1 levels (0 below 3 px)."""
    if min(luma.shape) < 3:
        return 0.0
    wide = luma.astype(np.int16)
    middle = wide[1:-1, 1:-1]
    edges = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * middle
    return float(edges.std(dtype=np.float32)) / 255.0
