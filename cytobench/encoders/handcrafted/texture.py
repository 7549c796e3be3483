"""Texture inside a mask: intensity, granularity, Haralick's co-occurrence features, local binary patterns."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cytobench.encoders.handcrafted.segmentation import Density, Mask

_LEVELS = 8
_DISTANCES = (1, 2, 4)
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_HARALICK = ("contrast", "homogeneity", "uniformity", "entropy", "correlation")
_PATTERNS = 10
_GRAINS = ("fine", "medium", "coarse")
_LEAST_PIXELS = 12

TEXTURE_NAMES = (
    "mean",
    "sd",
    "skewness",
    "q10",
    "q90",
    *(f"{grain}_{kind}" for grain in _GRAINS for kind in ("energy", "skewness", "dark_spots", "pale_spots")),
    *(f"haralick_{name}_{distance}" for distance in _DISTANCES for name in _HARALICK),
    *(f"lbp_{pattern}" for pattern in range(_PATTERNS)),
)
"""Names of the numbers `describe_texture` returns."""


def grains(density: Density, smooth: Density) -> tuple[Density, ...]:
    """Return differences of Gaussians of `density`: structure of about 1, 2 and 4 px (sd).

    `smooth` is `density` blurred by 1 px.
    """
    from scipy.ndimage import gaussian_filter

    blurred = [density, smooth, *(gaussian_filter(density, sd, truncate=2.5) for sd in (2.0, 4.0))]
    return tuple(fine - coarse for fine, coarse in pairwise(blurred))


def describe_texture(density: Density, bands: tuple[Density, ...], mask: Mask) -> NDArray[np.float64]:
    """Return the texture of `density` [h, w] inside `mask` as float64 [len(TEXTURE_NAMES)].

    `bands` come from `grains`. Haralick's features (1973) are means over four directions of a co-occurrence
    matrix of eight grey levels between the mask's 1 and 99 % quantiles, at 1, 2 and 4 px; local binary
    patterns (Ojala et al. 2002) are the rotation-invariant uniform ones of eight neighbours. A mask of fewer
    than a dozen pixels gives zeros.
    """
    values = density[mask]
    if len(values) < _LEAST_PIXELS:
        return np.zeros(len(TEXTURE_NAMES))
    low, q10, q90, high = np.quantile(values, (0.01, 0.1, 0.9, 0.99))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = np.stack([values, *(band[mask] for band in bands)])
    centred = inside - inside.mean(axis=1, keepdims=True)
    squared = centred * centred
    sd = np.sqrt(squared.mean(axis=1))
    skewness = np.clip((squared * centred).mean(axis=1) / np.maximum(sd, 1e-3) ** 3, -5.0, 5.0)
    limit = 2.0 * np.maximum(sd, 1e-4)[:, None]
    dark, pale = (centred > limit).mean(axis=1), (centred < -limit).mean(axis=1)
    granularity = np.stack([sd / max(float(sd[0]), 1e-3), skewness, dark, pale], axis=1)[1:]
    return np.concatenate(
        [
            [values.mean(), sd[0], skewness[0], q10, q90],
            granularity.ravel(),
            _haralick(density[window], mask[window], float(low), float(high)),
            _binary_patterns(density[window], mask[window]),
        ]
    )


def _haralick(density: Density, mask: Mask, low: float, high: float) -> NDArray[np.float64]:
    from skimage.feature import graycomatrix

    scale = _LEVELS / max(high - low, 1e-3)
    grey = np.clip((density - low) * scale, 0.0, _LEVELS - 1).astype(np.uint8) + np.uint8(1)
    grey[~mask] = 0
    counts = graycomatrix(grey, _DISTANCES, _ANGLES, levels=_LEVELS + 1, symmetric=True)  # type: ignore[no-untyped-call]
    matrix = counts[1:, 1:].sum(axis=3).astype(np.float64)
    matrix /= np.maximum(matrix.sum(axis=(0, 1)), 1.0)
    level = np.arange(_LEVELS, dtype=np.float64)
    gap = (level[:, None] - level[None, :])[..., None]
    marginal = matrix.sum(axis=1)
    mean = level @ marginal
    variance = (level**2) @ marginal - mean**2
    product = (level[:, None, None] * level[None, :, None] * matrix).sum(axis=(0, 1))
    found = [
        (gap**2 * matrix).sum(axis=(0, 1)) / _LEVELS,
        (matrix / (1.0 + gap**2)).sum(axis=(0, 1)),
        (matrix**2).sum(axis=(0, 1)),
        -(matrix * np.log2(matrix + 1e-12)).sum(axis=(0, 1)),
        np.where(variance > 1e-6, (product - mean**2) / np.maximum(variance, 1e-6), 0.0),
    ]
    return np.stack(found, axis=1).ravel()


@lru_cache(maxsize=1)
def _uniform_patterns() -> NDArray[np.intp]:
    """Return the rotation-invariant uniform class (0..9) of each of the 256 neighbour patterns."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = np.sum(bits != np.roll(bits, 1, axis=1), axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), _PATTERNS - 1)


def _binary_patterns(density: Density, mask: Mask) -> NDArray[np.float64]:
    """Return shares of the ten patterns among the mask's pixels; neighbours outside the window mirror it."""
    grey = np.pad(np.clip(density * 127.0, 0.0, 255.0).astype(np.uint8), 1, mode="edge")
    height, width = mask.shape
    code = np.zeros(mask.shape, dtype=np.uint8)
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    centre = grey[1:-1, 1:-1]
    for bit, (dy, dx) in enumerate(ring):
        code |= (grey[dy : dy + height, dx : dx + width] >= centre).astype(np.uint8) << np.uint8(bit)
    counts = np.bincount(_uniform_patterns()[code[mask]], minlength=_PATTERNS)
    return np.asarray(counts / counts.sum())
