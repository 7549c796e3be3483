"""What chance decides for a batch of crops: where they lie, how they are turned, coloured and blurred.

Drawn on the host with numpy from a seed and the step's number alone, for all processes' images at once: the
same pictures come out on any device, in any number of processes, and after any interruption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TRIES = 10  # rectangles tried before the whole image is taken, as torchvision does


@dataclass(frozen=True)
class MultiCrop:
    """How many crops of which size and share of the image's area: global ones, and local ones."""

    global_count: int = 2
    global_size: int = 224
    global_scale: tuple[float, float] = (0.25, 1.0)
    local_count: int = 10
    local_size: int = 96
    local_scale: tuple[float, float] = (0.05, 0.25)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Augmentation:
    """How a crop is changed. Probabilities in threes hold for the first global, other global, local crops.

    turns: "horizontal" mirrors left and right, "d4" draws one of the eight flips and quarter turns.
    brightness, contrast, saturation, hue: largest change, in a random order, with `colour_p`. grey_p: share
    made grey. stain: which densities are scaled by 1 +- `stain_sigma` and shifted by +- `stain_sigma` (see
    `colour.jitter_stain`), with `stain_p`. blur_sigma: range in px of a crop of `blur_reference` px; other
    sizes in proportion (0: as it is). mean, std: the network's normalisation.
    """

    turns: Literal["horizontal", "d4"] = "d4"
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.2
    hue: float = 0.05
    colour_p: float = 0.8
    grey_p: float = 0.1
    stain: Literal["none", "od", "hed"] = "od"
    stain_sigma: float = 0.05
    stain_p: float = 1.0
    blur_p: tuple[float, float, float] = (0.5, 0.1, 0.5)
    blur_sigma: tuple[float, float] = (0.1, 1.5)
    blur_reference: int = 224
    solarise_p: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Draws:
    """One size's crops, crop-major: [n] or [n, …] with n = crops * images.

    top, left, height, width: px in the source; mirror_rows, mirror_columns, transpose: applied after the
    crop, the transposition last; order: [n, 4], the four colour operations' order; factors: [n, 4],
    brightness, contrast, saturation and hue.
    """

    top: Ints
    left: Ints
    height: Ints
    width: Ints
    mirror_rows: Bools
    mirror_columns: Bools
    transpose: Bools
    coloured: Bools
    order: Ints
    factors: Floats
    greyed: Bools
    stained: Bools
    stain_scale: Floats
    stain_shift: Floats
    blurred: Bools
    sigma: Floats
    solarised: Bools

    def images(self, chosen: slice, crops: int) -> Draws:
        """Return the draws of some of the images, of all their crops."""
        parts = {}
        for part in fields(self):
            value = getattr(self, part.name)
            whole = value.reshape(crops, -1, *value.shape[1:])[:, chosen]
            parts[part.name] = whole.reshape(-1, *value.shape[1:])
        return Draws(**parts)


@dataclass(frozen=True)
class CropKind:
    """Crops of one size: their number, side in px, range of area, and probabilities crop by crop."""

    count: int
    size: int
    scale: tuple[float, float]
    aspect: tuple[float, float]
    blur_p: tuple[float, ...]
    solarise_p: tuple[float, ...]


def kinds_of(crops: MultiCrop, change: Augmentation) -> tuple[CropKind, ...]:
    """Return the global crops and, where there are any, the local ones."""

    def per_crop(p: tuple[float, float, float]) -> tuple[float, ...]:
        return (p[0], *[p[1]] * (crops.global_count - 1))

    size, local_size = crops.global_size, crops.local_size
    kinds = [
        CropKind(
            crops.global_count,
            size,
            crops.global_scale,
            crops.aspect,
            per_crop(change.blur_p),
            per_crop(change.solarise_p),
        )
    ]
    if crops.local_count:
        alike = ((change.blur_p[2],) * crops.local_count, (change.solarise_p[2],) * crops.local_count)
        kinds.append(CropKind(crops.local_count, local_size, crops.local_scale, crops.aspect, *alike))
    return tuple(kinds)


def draw(kind: CropKind, change: Augmentation, images: int, source: int, rng: np.random.Generator) -> Draws:
    """Draw the crops of `kind` of `images` square images of `source` px."""
    n = kind.count * images
    top, left, height, width = _rectangles(kind, n, source, rng)
    mirror_columns = rng.random(n) < 0.5
    d4 = change.turns == "d4"
    mirror_rows, transpose = (rng.random((2, n)) < 0.5) & d4
    spans = np.array([change.brightness, change.contrast, change.saturation, change.hue])
    factors = np.array([1.0, 1.0, 1.0, 0.0]) + rng.uniform(-1, 1, (n, 4)) * spans
    factors[:, :3] = factors[:, :3].clip(min=0.0)
    order = rng.random((n, 4)).argsort(axis=1)
    coloured, greyed, stained = rng.random((3, n)) < np.array(
        [[change.colour_p], [change.grey_p], [change.stain_p if change.stain != "none" else 0.0]]
    )
    stain = rng.uniform(-1, 1, (2, n, 3)) * change.stain_sigma
    blurred, solarised = rng.random((2, n)) < np.repeat([kind.blur_p, kind.solarise_p], images, axis=1)
    ratio = kind.size / change.blur_reference if change.blur_reference else 1.0
    sigma = rng.uniform(*change.blur_sigma, n) * ratio
    return Draws(
        top=top,
        left=left,
        height=height,
        width=width,
        mirror_rows=mirror_rows,
        mirror_columns=mirror_columns,
        transpose=transpose,
        coloured=coloured,
        order=order,
        factors=factors.astype(np.float32),
        greyed=greyed,
        stained=stained,
        stain_scale=(1 + stain[0]).astype(np.float32),
        stain_shift=stain[1].astype(np.float32),
        blurred=blurred,
        sigma=sigma.astype(np.float32),
        solarised=solarised,
    )


def _rectangles(kind: CropKind, n: int, source: int, rng: np.random.Generator) -> tuple[Ints, ...]:
    """Draw (top, left, height, width): area and log aspect uniform, the first of ten tries that fits."""
    area = source * source * rng.uniform(*kind.scale, (n, _TRIES))
    aspect = np.exp(rng.uniform(math.log(kind.aspect[0]), math.log(kind.aspect[1]), (n, _TRIES)))
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= source) & (height > 0) & (height <= source)
    first = fits.argmax(axis=1)
    rows, found = np.arange(n), fits.any(axis=1)
    height = np.where(found, height[rows, first], source)
    width = np.where(found, width[rows, first], source)
    place = rng.random((2, n))
    top = np.floor(place[0] * (source - height + 1)).astype(np.int64)
    left = np.floor(place[1] * (source - width + 1)).astype(np.int64)
    return top, left, height, width
