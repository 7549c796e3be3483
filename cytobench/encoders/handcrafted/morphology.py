"""Morphology: nucleus and texture descriptors of the cell in the middle of a crop, without colour.

What a cytologist would measure: size of nucleus and cell, N:C ratio, shape of the nucleus, number of lobes or
nuclei, chromatin texture, granules. The rung "handcrafted morphology" of the null ladder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cytobench.encoders.handcrafted.segmentation import Mask, Segmentation, segment
from cytobench.encoders.handcrafted.shape import SHAPE_NAMES, describe_shape
from cytobench.encoders.handcrafted.texture import TEXTURE_NAMES, describe_texture, grains

VERSION = 1
"""Part of the feature space's identity: changes whenever a number returned by `describe` changes."""

_WORKING_SIDE = 128
_LEAST_SIDE = 16
_RINGS = (0.03, 0.06, 0.10, 0.15, 0.21, 0.28)

_ARRANGEMENT = (
    "nucleus_found",
    "cytoplasm_found",
    "nuclear_parts",
    "neighbouring_nuclei",
    "main_part_share",
    "nuclear_cytoplasmic_ratio",
    "nucleus_offset",
    "nucleus_eccentric_in_cell",
    "foreground_share",
    "all_nuclei_share",
    "nucleus_contrast",
    "rim_contrast",
    *(f"ring_{index}_{kind}" for index in range(len(_RINGS)) for kind in ("stained", "nuclear", "density")),
)

FEATURE_NAMES = (
    *_ARRANGEMENT,
    *(f"nucleus_{name}" for name in SHAPE_NAMES),
    *(f"main_part_{name}" for name in SHAPE_NAMES),
    *(f"cell_{name}" for name in SHAPE_NAMES),
    *(f"nucleus_texture_{name}" for name in TEXTURE_NAMES),
    *(f"cytoplasm_texture_{name}" for name in TEXTURE_NAMES),
)
"""Names of the numbers `describe` returns, in order."""


def describe(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the morphology of the cell in the middle of `crop` as float32 [len(FEATURE_NAMES)], all finite.

    `crop` is uint8 [h, w, 3] RGB of any size; larger ones are averaged down to 128 px first. Lengths are
    shares of the crop's longer side, so size counts where crops are cut by a window of fixed size. What
    cannot be measured is 0, and `nucleus_found`, `cytoplasm_found` say so.
    """
    seen = segment(_to_working_size(crop))
    bands = grains(seen.density, seen.smooth)
    cytoplasm = seen.cell & ~seen.nucleus
    nucleus_shape, nucleus_centre = describe_shape(seen.nucleus)
    main_shape = nucleus_shape if seen.parts == 1 else describe_shape(seen.main)[0]
    cell_shape, cell_centre = describe_shape(seen.cell)
    values = np.concatenate(
        [
            _arrangement(seen, cytoplasm, nucleus_centre, cell_centre),
            nucleus_shape,
            main_shape,
            cell_shape,
            describe_texture(seen.density, bands, seen.nucleus),
            describe_texture(seen.total, bands, cytoplasm),
        ]
    )
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _to_working_size(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = crop.shape[:2]
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
    if size == (width, height):
        return crop
    return np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BOX))


def _arrangement(
    seen: Segmentation,
    cytoplasm: Mask,
    nucleus_centre: tuple[float, float],
    cell_centre: tuple[float, float],
) -> NDArray[np.float64]:
    """Return how nucleus, cell and neighbours lie: counts, ratios, contrasts and rings around the nucleus."""
    height, width = seen.nucleus.shape
    side = float(max(height, width))
    nuclear, cell = int(np.count_nonzero(seen.nucleus)), int(np.count_nonzero(seen.cell))
    radius = max(np.sqrt(cell / np.pi), 1.0)
    offset = np.hypot(nucleus_centre[0] - (height - 1) / 2, nucleus_centre[1] - (width - 1) / 2)
    apart = np.hypot(nucleus_centre[0] - cell_centre[0], nucleus_centre[1] - cell_centre[1])
    nucleus_density = _mean(seen.density, seen.nucleus)
    head = [
        float(nuclear > 0),
        float(cytoplasm.any()),
        np.log1p(seen.parts),
        np.log1p(seen.neighbours),
        np.count_nonzero(seen.main) / max(nuclear, 1),
        nuclear / max(cell, 1),
        offset / side,
        apart / radius if nuclear else 0.0,
        seen.foreground.mean(),
        (seen.nucleus | seen.others).mean(),
        nucleus_density - _mean(seen.density, cytoplasm),
        *_rings(seen, nucleus_density, side),
    ]
    return np.array(head, dtype=np.float64)


def _mean(values: NDArray[np.float32], mask: Mask) -> float:
    return float(values[mask].mean()) if mask.any() else 0.0


def _rings(seen: Segmentation, nucleus_density: float, side: float) -> list[float]:
    """Return the nuclear rim's contrast, then what rings of growing distance from the nucleus hold."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    if not seen.nucleus.any():
        return [0.0] * (1 + 3 * len(_RINGS))
    core = binary_erosion(seen.nucleus, iterations=2)
    rim = _mean(seen.density, seen.nucleus & ~core) - nucleus_density
    distance = distance_transform_edt(~seen.nucleus[::2, ::2]) * (2.0 / side)
    ring = np.searchsorted(_RINGS, distance.ravel())
    ring[distance.ravel() == 0.0] = len(_RINGS)
    shares = [rim]
    count = np.maximum(np.bincount(ring, minlength=len(_RINGS) + 1), 1)
    held = [
        np.bincount(ring, weights=image[::2, ::2].ravel(), minlength=len(_RINGS) + 1) / count
        for image in (seen.foreground, seen.others, seen.total)
    ]
    for index in range(len(_RINGS)):
        shares += [float(part[index]) for part in held]
    return shares
