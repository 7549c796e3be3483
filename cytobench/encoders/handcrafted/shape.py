"""Shape of a mask: size, ellipse, hull, outline and moments, all relative to the crop's side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cytobench.encoders.handcrafted.segmentation import Mask

_HARMONICS = 6
_DIRECTIONS = 48

SHAPE_NAMES = (
    "area",
    "diameter",
    "major_axis",
    "minor_axis",
    "eccentricity",
    "elongation",
    "solidity",
    "extent",
    "form_factor",
    "inscribed_radius",
    "thickness_ratio",
    "hollow_centre",
    *(f"hu_{order}" for order in range(1, 8)),
    *(f"outline_harmonic_{order}" for order in range(1, _HARMONICS + 1)),
    "outline_roughness",
)
"""Names of the numbers `describe_shape` returns."""


def describe_shape(mask: Mask) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the shape of `mask` [h, w] as float64 [len(SHAPE_NAMES)] and its centroid (y, x) in px.

    Lengths are shares of the crop's longer side, areas of its square; an empty mask gives zeros. Form factor
    is 4 pi area / perimeter^2, thickness ratio the largest inscribed circle's radius over that of a circle of
    equal area (small for lobed and bent nuclei), Hu's moments (1962) are given as signed logarithms.
    """
    side = float(max(mask.shape))
    middle = ((mask.shape[0] - 1) / 2.0, (mask.shape[1] - 1) / 2.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(len(SHAPE_NAMES)), middle
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    area = float(np.count_nonzero(part))
    major, minor, hu, centre = _moments(part)
    radius = np.sqrt(area / np.pi)
    inscribed = _inscribed(part)
    hollow = 1.0 - float(part[round(centre[0]), round(centre[1])])
    values = [
        area / side**2,
        2.0 * radius / side,
        major / side,
        minor / side,
        np.sqrt(max(0.0, 1.0 - (minor / major) ** 2)),
        1.0 - minor / major,
        *_hull_and_perimeter(part, area),
        inscribed / side,
        inscribed / radius,
        hollow,
        *hu,
        *_outline(part, centre, radius),
    ]
    return np.array(values), (top - 1 + centre[0], left - 1 + centre[1])


def _moments(part: Mask) -> tuple[float, float, NDArray[np.float64], tuple[float, float]]:
    """Return full axes of the ellipse of equal moments (px), Hu's moments, and the centroid."""
    from skimage import measure

    image = part.astype(np.float64)
    down, across = np.arange(part.shape[0]), np.arange(part.shape[1])
    area = image.sum()
    centre = (float(image.sum(axis=1) @ down / area), float(image.sum(axis=0) @ across / area))
    order = np.arange(4)[:, None]
    central = (down - centre[0]) ** order @ image @ ((across - centre[1]) ** order).T
    spread = np.array([[central[2, 0], central[1, 1]], [central[1, 1], central[0, 2]]]) / area
    least, most = np.linalg.eigvalsh(spread + np.eye(2) / 12.0)
    hu = measure.moments_hu(measure.moments_normalized(central, order=3))  # type: ignore[no-untyped-call]
    signed = np.sign(hu) * np.maximum(0.0, 12.0 + np.log10(np.abs(hu) + 1e-12)) / 12.0
    return float(4.0 * np.sqrt(most)), float(4.0 * np.sqrt(least)), signed, centre


def _hull_and_perimeter(part: Mask, area: float) -> tuple[float, float, float]:
    """Return solidity, extent and form factor of a padded mask."""
    from scipy.spatial import ConvexHull
    from skimage.measure import perimeter

    rows = np.flatnonzero(part.any(axis=1))
    first = part[rows].argmax(axis=1) - 0.5
    last = part.shape[1] - 0.5 - part[rows, ::-1].argmax(axis=1)
    across = np.concatenate([first, first, last, last])
    down = np.concatenate([rows - 0.5, rows + 0.5, rows - 0.5, rows + 0.5])
    hull = float(ConvexHull(np.stack([down, across], axis=1)).volume)
    extent = area / ((part.shape[0] - 2) * (part.shape[1] - 2))
    length = max(float(perimeter(part)), 4.0)  # type: ignore[no-untyped-call]
    return min(area / hull, 1.0), extent, min(4.0 * np.pi * area / length**2, 1.5)


def _inscribed(part: Mask) -> float:
    from scipy.ndimage import distance_transform_edt

    return float(distance_transform_edt(part).max())


def _outline(part: Mask, centre: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """Return amplitudes of the outermost outline's harmonics and what is left over, in units of `radius`."""
    edge = part.copy()
    edge[1:-1, 1:-1] &= ~(part[:-2, 1:-1] & part[2:, 1:-1] & part[1:-1, :-2] & part[1:-1, 2:])
    y, x = np.nonzero(edge)
    dy, dx = y - centre[0], x - centre[1]
    sector = ((np.arctan2(dy, dx) / (2.0 * np.pi) + 0.5) * _DIRECTIONS).astype(int) % _DIRECTIONS
    reach = np.zeros(_DIRECTIONS)
    np.maximum.at(reach, sector, np.hypot(dy, dx))
    known = np.flatnonzero(reach)
    reach = np.interp(np.arange(_DIRECTIONS), known, reach[known], period=_DIRECTIONS) / radius
    power = np.abs(np.fft.rfft(reach)) / _DIRECTIONS
    rest = np.sqrt(np.sum(power[_HARMONICS + 1 :] ** 2))
    return np.append(power[1 : _HARMONICS + 1], rest)
