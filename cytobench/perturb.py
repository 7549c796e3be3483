"""Crops as another microscope, stain or detector would have given them: every backbone sees the same ones.

All strengths are relative, so that one grid serves cells of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from cytobench import images
from cytobench.images import RGB

if TYPE_CHECKING:
    from cytobench.cards import View

Kind = Literal["defocus", "stain", "hue", "scale", "shift"]


@dataclass(frozen=True)
class Perturbation:
    """One change of a crop.

    defocus: blur by a disc of radius `level` times the crop's side; stain: optical densities times 1 + level
    (Beer-Lambert: a thicker or thinner stain); hue: turned by `level` of the circle; scale: the cell `level`
    times as large in a crop of the same size; shift: off centre by `level` times the side, in a direction
    drawn for each cell.
    """

    kind: Kind
    level: float

    def identity(self) -> dict[str, Any]:
        """Return what tells the crops apart, as JSON primitives."""
        return {"kind": self.kind, "level": self.level}


GRID: tuple[Perturbation, ...] = (
    *(Perturbation("defocus", level) for level in (0.01, 0.02, 0.04)),
    *(Perturbation("stain", level) for level in (-0.4, -0.2, 0.2, 0.4)),
    *(Perturbation("hue", level) for level in (-0.1, -0.05, 0.05, 0.1)),
    *(Perturbation("scale", level) for level in (0.75, 1.25)),
    *(Perturbation("shift", level) for level in (0.1, 0.2)),
)
"""What `--stress` tries."""


def cut(
    image: RGB,
    box: Sequence[int] | None,
    view: View,
    mpp: float | None,
    perturbation: Perturbation | None,
    draw: bytes = b"",
) -> RGB:
    """Cut what `view` shows of an instance, as `images.cut` does, and change it: uint8 [s, s, 3].

    draw: bytes that name the instance; the direction of a shift is drawn from them. Raises DataError.
    """
    plain = images.cut(image, box, view, mpp)
    if perturbation is None:
        return plain
    level, side = perturbation.level, len(plain)
    if perturbation.kind == "defocus":
        return _defocused(plain, level * side)
    if perturbation.kind == "stain":
        return _restained(plain, 1.0 + level)
    if perturbation.kind == "hue":
        return _recoloured(plain, level)
    height, width = image.shape[:2]
    x, y, w, h = (int(v) for v in box) if box is not None else (0, 0, width, height)
    left, top = x + (w - side) // 2, y + (h - side) // 2
    if perturbation.kind == "shift":
        angle = 2.0 * math.pi * (draw[0] / 256.0 if draw else 0.0)
        left += round(level * side * math.cos(angle))
        top += round(level * side * math.sin(angle))
        return images.square(image, left, top, side, pad=view.pad)
    seen = max(1, round(side / level))
    wider = images.square(image, left + (side - seen) // 2, top + (side - seen) // 2, seen, pad=view.pad)
    return np.asarray(Image.fromarray(wider).resize((side, side), Image.Resampling.BICUBIC))


def _defocused(crop: RGB, radius: float) -> RGB:
    """Blur by a disc, the shadow of the aperture; its rim is smoothed so that any radius has its own disc."""
    from scipy.signal import fftconvolve

    reach = math.ceil(radius + 0.5)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    wide = np.pad(crop.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    blurred = fftconvolve(wide, (disc / disc.sum())[:, :, None], mode="valid", axes=(0, 1))
    return _to_bytes(blurred)


def _restained(crop: RGB, factor: float) -> RGB:
    density = -np.log((crop.astype(np.float64) + 1.0) / 256.0)
    return _to_bytes(256.0 * np.exp(-density * factor) - 1.0)


def _recoloured(crop: RGB, turn: float) -> RGB:
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(crop)
    hsv[..., 0] = (hsv[..., 0] + turn) % 1.0
    return _to_bytes(hsv2rgb(hsv) * 255.0)


def _to_bytes(values: Any) -> RGB:
    clipped: RGB = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
