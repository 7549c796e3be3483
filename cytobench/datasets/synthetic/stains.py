"""Stains, and a slide's look: colour by optical density (Beer-Lambert), illumination, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytobench.datasets.synthetic.geometry import Field


@dataclass(frozen=True)
class Stain:
    """Optical density per unit of dye in R, G and B: of the nucleus, and of cytoplasm's two extremes."""

    name: str
    nucleus: tuple[float, float, float]
    cytoplasm: tuple[tuple[float, float, float], tuple[float, float, float]]


STAINS = (
    Stain("papanicolaou", (0.76, 0.70, 0.34), ((0.50, 0.14, 0.17), (0.06, 0.36, 0.38))),
    Stain("may-gruenwald-giemsa", (0.56, 0.92, 0.32), ((0.34, 0.26, 0.10), (0.14, 0.30, 0.16))),
    Stain("haematoxylin-eosin", (0.72, 0.80, 0.36), ((0.08, 0.46, 0.22), (0.16, 0.44, 0.18))),
    Stain("diff-quik", (0.74, 0.86, 0.24), ((0.40, 0.34, 0.12), (0.22, 0.40, 0.12))),
)
"""The stains drawn; Papanicolaou after Ruifrok & Johnston (2001) for haematoxylin, the others by eye."""


@dataclass(frozen=True)
class SlideLook:
    """How one slide was stained and photographed: the same for all its cells, whatever their class.

    `strength` multiplies nuclear and cytoplasmic dye, `mix` is the mean place between the two cytoplasm
    colours, `white` the light of an empty field, `tilt` its gradient over the frame, `blur` in px (sd).
    """

    stain: Stain
    nucleus: NDArray[np.float32]
    cytoplasm: NDArray[np.float32]
    strength: tuple[float, float]
    mix: float
    white: NDArray[np.float32]
    tilt: NDArray[np.float32]
    film: float
    blur: float
    noise: float


def draw_look(stain: Stain, rng: np.random.Generator) -> SlideLook:
    """Draw the look of a slide stained with `stain`."""
    nucleus = np.array(stain.nucleus) * np.exp(rng.normal(0.0, 0.07, 3))
    cytoplasm = np.array(stain.cytoplasm) * np.exp(rng.normal(0.0, 0.07, 3))
    white = rng.uniform(0.90, 0.97) * np.exp(rng.normal(0.0, 0.015, 3))
    return SlideLook(
        stain,
        nucleus.astype(np.float32),
        cytoplasm.astype(np.float32),
        (float(np.exp(rng.normal(0.0, 0.14))), float(np.exp(rng.normal(0.0, 0.18)))),
        float(rng.uniform(0.2, 0.8)),
        np.minimum(white, 0.99).astype(np.float32),
        rng.normal(0.0, 0.02, 2).astype(np.float32),
        float(rng.uniform(0.01, 0.05)),
        float(rng.uniform(0.5, 1.0)),
        float(rng.uniform(0.8, 1.6)),
    )


def photograph(
    dyes: tuple[Field, Field], tone: Field, look: SlideLook, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the uint8 [side, side, 3] picture of nuclear and cytoplasmic dye amounts, each [side, side].

    `tone` in [0, 1] is each pixel's place between the cytoplasm's two colours.
    """
    from scipy import ndimage

    nuclear, cytoplasmic = dyes
    side = nuclear.shape[0]
    focus = look.blur * float(np.exp(rng.normal(0.0, 0.3)))
    shift = np.exp(rng.normal(0.0, 0.02, 3)).astype(np.float32)
    ramp = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    light = 1.0 + look.tilt[0] * ramp[None, :] + look.tilt[1] * ramp[:, None]
    light = light - np.float32(0.02) * (ramp[None, :] ** 2 + ramp[:, None] ** 2)
    noise = rng.standard_normal((3, side, side), dtype=np.float32) * np.float32(look.noise)
    picture = np.empty((side, side, 3), dtype=np.uint8)
    for channel in range(3):
        first, second = look.cytoplasm[0, channel], look.cytoplasm[1, channel]
        density = nuclear * (look.nucleus[channel] * shift[channel])
        density += cytoplasmic * (first + (second - first) * tone)
        seen = np.exp(density * np.float32(-np.log(10.0))) * (light * look.white[channel])
        seen = ndimage.gaussian_filter(seen, focus, mode="nearest", truncate=3.0)
        picture[..., channel] = np.clip(seen * 255.0 + noise[channel] + 0.5, 0.0, 255.0)
    return picture
