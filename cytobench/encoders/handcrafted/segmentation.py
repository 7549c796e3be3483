"""Nucleus and cytoplasm of the cell in the middle of a crop, by optical density and Otsu's thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Density = NDArray[np.float32]

_BINS = 64
_BLACK = 12
_LEAST_BLACK = 0.02
_LEAST_CONTRAST = 0.03
_SMALLEST = 0.0012
_OWN_REACH = 0.2
_CENTRAL_SPREAD = 0.14
_NUCLEAR_WEIGHTS = (0.65, 0.35)


@dataclass(frozen=True)
class Segmentation:
    """Masks [h, w] of one crop.

    `nucleus` is the central nucleus with all its lobes (or the nuclei of a multinucleate cell), `main` its
    most central connected part, `others` the nuclei of neighbours, `cell` nucleus and cytoplasm, `foreground`
    all that is stained. `parts` counts the connected parts of `nucleus`, `neighbours` those of `others`.
    `density` is the nuclear stain's optical density (`smooth`: blurred by 1 px), `total` that of the
    strongest channel.
    """

    density: Density
    smooth: Density
    total: Density
    foreground: Mask
    nucleus: Mask
    main: Mask
    others: Mask
    cell: Mask
    parts: int
    neighbours: int


def segment(crop: NDArray[np.uint8]) -> Segmentation:
    """Segment `crop` (uint8 [h, w, 3] RGB); all masks are empty where nothing stands out."""
    from scipy import ndimage

    black = black_surround(crop)
    density, total = optical_density(crop, black)
    smooth = ndimage.gaussian_filter(density, 1.0, truncate=2.5)
    smooth_total = ndimage.gaussian_filter(total, 1.0, truncate=2.5)
    foreground = smooth_total > _foreground_threshold(smooth_total) if black is None else ~black
    nuclei = smooth > _nuclear_threshold(smooth)
    main, nucleus, others, parts, neighbours = _own_nuclei(fill_holes(nuclei & foreground))
    cell = _own_cell(foreground | nucleus, nucleus, others)
    return Segmentation(density, smooth, total, foreground, nucleus, main, others, cell, parts, neighbours)


def black_surround(crop: NDArray[np.uint8]) -> Mask | None:
    """Return where a cut-out cell's black surround lies, or None for an ordinary picture."""
    black = np.maximum(np.maximum(crop[..., 0], crop[..., 1]), crop[..., 2]) < _BLACK
    return black if black.mean() > _LEAST_BLACK else None


def optical_density(crop: NDArray[np.uint8], black: Mask | None) -> tuple[Density, Density]:
    """Return the density of the nuclear stain and of the strongest channel, each float32 [h, w] in 0..2.

    Nuclear dyes (haematoxylin, azure, thionin) absorb red most, eosin and haemoglobin hardly; so red weighs
    more than green and blue is left out. White is the 95 % quantile of each channel, leaving out the surround
    `black`, which counts as empty together with the two pixels it fades into.
    """
    from scipy import ndimage

    surround = None if black is None else ndimage.binary_dilation(black, iterations=2)
    if surround is not None and surround.all():
        empty = np.zeros(crop.shape[:2], dtype=np.float32)
        return empty, empty
    lit = crop.reshape(-1, 3) if surround is None else crop[~surround]
    density = np.empty((3, *crop.shape[:2]), dtype=np.float32)
    for channel in range(3):
        cumulated = np.cumsum(np.bincount(lit[:, channel], minlength=256))
        white = max(float(np.searchsorted(cumulated, 0.95 * cumulated[-1])), 1.0)
        table = np.clip(-np.log10(np.maximum(np.arange(256), 1.0) / white), 0.0, 2.0).astype(np.float32)
        density[channel] = table[crop[..., channel]]
    if surround is not None:
        density[:, surround] = 0.0
    nuclear = _NUCLEAR_WEIGHTS[0] * density[0] + _NUCLEAR_WEIGHTS[1] * density[1]
    return nuclear.astype(np.float32), np.maximum(np.maximum(density[0], density[1]), density[2])


def otsu(values: NDArray[np.float32], classes: int) -> tuple[float, ...]:
    """Return the one (`classes` = 2) or two (3) thresholds that separate `values` best (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if high - low < _LEAST_CONTRAST:
        return (high + 1.0,) * (classes - 1)
    index = ((values.ravel() - low) * ((_BINS - 1e-3) / (high - low))).astype(np.int32)
    counts = np.bincount(index, minlength=_BINS).astype(np.float64)
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * np.arange(_BINS))])
    edge = low + (high - low) * np.arange(_BINS + 1) / _BINS

    def between(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        mass = weight[stop] - weight[start]
        return np.asarray((moment[stop] - moment[start]) ** 2 / np.maximum(mass, 1e-9))

    cuts = np.arange(1, _BINS)
    zero, last = np.zeros(1, dtype=int), np.full(1, _BINS)
    if classes == 2:
        best = int(np.argmax(between(zero, cuts) + between(cuts, last)))
        return (float(edge[cuts[best]]),)
    first, second = cuts[:, None], cuts[None, :]
    score = between(zero, first) + between(first, second) + between(second, last)
    score[first >= second] = -1.0
    row, column = np.unravel_index(int(np.argmax(score)), score.shape)
    return float(edge[cuts[row]]), float(edge[cuts[column]])


def _foreground_threshold(total: Density) -> float:
    """Return less than Otsu's lower threshold, but above the noise: pale cytoplasm is nearly empty."""
    return max(0.6 * otsu(total, 3)[0], _LEAST_CONTRAST)


def _nuclear_threshold(density: Density) -> float:
    return otsu(density, 3)[1]


def fill_holes(mask: Mask) -> Mask:
    """Return `mask` with background regions that do not touch the border filled."""
    from scipy import ndimage

    regions, _ = ndimage.label(~mask)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    open_regions = np.zeros(int(regions.max()) + 1, dtype=bool)
    open_regions[border] = True
    open_regions[0] = False
    return np.asarray(mask | ~open_regions[regions])


def _own_nuclei(nuclei: Mask) -> tuple[Mask, Mask, Mask, int, int]:
    """Split `nuclei` into the most central part, all of the central cell's, and the neighbours'."""
    from scipy import ndimage

    height, width = nuclei.shape
    side = float(max(height, width))
    labels, count = ndimage.label(nuclei)
    empty = np.zeros_like(nuclei)
    if not count:
        return empty, empty, empty, 0, 0
    rows, columns = np.nonzero(labels)
    part = labels[rows, columns]
    y = (rows - (height - 1) / 2) / side
    x = (columns - (width - 1) / 2) / side

    def total(weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return np.bincount(part, weights=weights, minlength=count + 1).astype(np.float64)

    area = total(None)
    mass = total(np.exp(-(x * x + y * y) / (2.0 * _CENTRAL_SPREAD**2)))
    offset = np.hypot(total(x), total(y)) / np.maximum(area, 1.0)
    real = area >= _SMALLEST * height * width
    real[0] = False
    if not real.any():
        return empty, empty, empty, 0, 0
    best = int(np.argmax(np.where(real, mass, -1.0)))
    own = real & (offset < _OWN_REACH)
    own[best] = True
    others = real & ~own
    return labels == best, own[labels], others[labels], int(own.sum()), int(others.sum())


def _own_cell(foreground: Mask, nucleus: Mask, others: Mask) -> Mask:
    """Return the stained region around `nucleus`, up to half-way to other nuclei.

    Without a nucleus it is the most central stained region.
    """
    from scipy import ndimage

    if not nucleus.any():
        return _own_nuclei(foreground)[0]
    mine = foreground
    if others.any():
        near = ndimage.distance_transform_edt(~nucleus[::2, ::2])
        far = ndimage.distance_transform_edt(~others[::2, ::2])
        closer = np.repeat(np.repeat(near <= far, 2, axis=0), 2, axis=1)
        mine = foreground & closer[: foreground.shape[0], : foreground.shape[1]]
    labels, count = ndimage.label(mine | nucleus)
    touched = np.zeros(count + 1, dtype=bool)
    touched[labels[nucleus]] = True
    touched[0] = False
    return fill_holes(touched[labels])
