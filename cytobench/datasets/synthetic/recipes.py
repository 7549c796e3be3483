"""What tells the cell types apart: size and shape of cell and nucleus, chromatin, nucleoli, granules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from cytobench.datasets.synthetic.geometry import Blob, ripple

Chromatin = Literal["smooth", "fine", "clumped", "lacy", "coarse"]


@dataclass(frozen=True)
class Cell:
    """A cell before it is stained; lengths in px of the frame.

    `body` is the outline of the cytoplasm (None: a naked nucleus), `nuclei` the blobs whose union is the
    nucleus or the nuclei, `flatness` how evenly thick the cytoplasm is (1: a disc, 0: a dome).
    """

    body: Blob | None
    nuclei: tuple[Blob, ...]
    chromatin: Chromatin = "fine"
    nucleoli: int = 0
    granules: float = 0.0
    vacuoles: int = 0
    flatness: float = 0.5
    membrane: float = 0.5

    @property
    def nuclear_area(self) -> float:
        """Summed area of the nuclear blobs, px^2."""
        return sum(blob.area for blob in self.nuclei)


def _placed(cell: Cell, x: float, y: float, angle: float) -> Cell:
    cos, sin = np.cos(angle), np.sin(angle)

    def turn(blob: Blob) -> Blob:
        return replace(
            blob,
            x=float(x + cos * blob.x - sin * blob.y),
            y=float(y + sin * blob.x + cos * blob.y),
            angle=blob.angle + angle,
        )

    body = None if cell.body is None else turn(cell.body)
    return replace(cell, body=body, nuclei=tuple(turn(blob) for blob in cell.nuclei))


def _oval(
    rng: np.random.Generator, low: float, high: float, *, longest: float = 1.2, rough: float = 0.03
) -> Blob:
    """Draw an oval of mean radius low..high px and axis ratio 1..longest, at the origin."""
    radius = rng.uniform(low, high)
    ratio = np.sqrt(rng.uniform(1.0, longest))
    angle = rng.uniform(0.0, np.pi)
    return Blob(0.0, 0.0, float(radius * ratio), float(radius / ratio), float(angle), 0.0, ripple(rng, rough))


def _shift(rng: np.random.Generator, blob: Blob, most: float) -> Blob:
    angle, far = rng.uniform(0.0, 2.0 * np.pi), most * np.sqrt(rng.uniform())
    return blob.moved(float(far * np.cos(angle)), float(far * np.sin(angle)))


def _lymphoid(rng: np.random.Generator) -> Cell:
    nucleus = _oval(rng, 12.0, 17.5, longest=1.3, rough=0.035)
    rim = rng.uniform(1.12, 1.4)
    body = replace(nucleus, a=nucleus.a * rim, b=nucleus.b * rim, ripple=ripple(rng, 0.04))
    return Cell(body, (_shift(rng, nucleus, 1.5),), "clumped", flatness=0.8, membrane=0.3)


def _monocytoid(rng: np.random.Generator) -> Cell:
    body = _oval(rng, 25.0, 34.0, longest=1.25, rough=0.07)
    long = rng.uniform(18.0, 26.0)
    nucleus = Blob(
        0.0,
        0.0,
        float(long),
        float(rng.uniform(8.5, 12.5)),
        0.0,
        float(rng.uniform(0.35, 1.3)),
        ripple(rng, 0.05),
    )
    return Cell(body, (_shift(rng, nucleus, 3.0),), "lacy", vacuoles=int(rng.integers(2, 7)), flatness=0.6)


def _segmented(rng: np.random.Generator) -> Cell:
    body = _oval(rng, 23.0, 30.0, longest=1.15, rough=0.05)
    lobes = int(rng.integers(2, 6))
    spread = rng.uniform(8.5, 13.0)
    turn = 2.0 * np.pi * min(rng.uniform(0.5, 0.8) / (lobes - 1), 0.42)
    angles = np.arange(lobes) * turn + rng.normal(0.0, 0.08, lobes)
    centres = spread * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    parts = [
        replace(_oval(rng, 5.6, 8.4 - 0.3 * lobes, longest=1.5, rough=0.05), x=float(px), y=float(py))
        for px, py in centres
    ]
    for (px, py), (qx, qy) in pairwise(centres):
        length, angle = float(np.hypot(qx - px, qy - py)), float(np.arctan2(qy - py, qx - px))
        parts.append(Blob(float((px + qx) / 2), float((py + qy) / 2), length / 2, 1.5, angle))
    return Cell(body, tuple(parts), "clumped", granules=1.0, flatness=0.8)


def _columnar(rng: np.random.Generator) -> Cell:
    length = rng.uniform(31.0, 45.0)
    width = rng.uniform(13.5, 18.5)
    bend = rng.uniform(0.05, 0.35)
    body = Blob(0.0, 0.0, float(length), float(width), 0.0, float(bend), ripple(rng, 0.06))
    size = rng.uniform(0.85, 1.1)
    ratio = rng.uniform(0.88, 1.08)
    nucleus = Blob(
        float(rng.uniform(-0.35, -0.1) * length),
        0.0,
        float(16.0 * size * ratio),
        float(9.2 * size / ratio),
        0.0,
        0.0,
        ripple(rng, 0.03),
    )
    return Cell(body, (nucleus,), "fine", nucleoli=int(rng.integers(0, 2)), flatness=0.6)


def _squamous(rng: np.random.Generator) -> Cell:
    body = replace(_oval(rng, 30.0, 42.0, longest=1.35, rough=0.02), ripple=_corners(rng))
    nucleus = _shift(rng, _oval(rng, 6.5, 10.5, longest=1.3, rough=0.035), 8.0)
    return Cell(body, (nucleus,), "smooth", flatness=0.95, membrane=0.1)


def _corners(rng: np.random.Generator) -> tuple[complex, ...]:
    """Harmonics that give a rounded polygon of four to six corners with uneven sides."""
    corners = int(rng.integers(4, 7))
    phases = rng.uniform(0.0, 2.0 * np.pi, 6)
    sizes = np.full(6, 0.025)
    sizes[corners - 2] = 0.06
    return tuple(complex(c) for c in sizes * np.exp(1j * phases))


def _multinucleate(rng: np.random.Generator) -> Cell:
    body = _oval(rng, 30.0, 40.0, longest=1.25, rough=0.06)
    count = int(rng.integers(2, 6))
    angles = np.arange(count) * 2.0 * np.pi / count + rng.normal(0.0, 0.12, count)
    far = rng.uniform(10.0, 12.0 + 1.5 * count) * rng.uniform(0.9, 1.1, count)
    nuclei = tuple(
        replace(
            _oval(rng, 6.5, 9.6, longest=1.3, rough=0.035), x=float(r * np.cos(t)), y=float(r * np.sin(t))
        )
        for r, t in zip(far, angles, strict=True)
    )
    return Cell(body, nuclei, "fine", nucleoli=1, flatness=0.7)


def _atypical(rng: np.random.Generator) -> Cell:
    nucleus = _oval(rng, 15.0, 22.0, longest=1.7, rough=0.085)
    rim = rng.uniform(1.2, 1.7)
    body = replace(nucleus, a=nucleus.a * rim, b=nucleus.b * rim, ripple=ripple(rng, 0.07))
    return Cell(
        body,
        (_shift(rng, nucleus, 3.0),),
        "coarse",
        nucleoli=int(rng.integers(1, 4)),
        flatness=0.5,
        membrane=1.0,
    )


def _benign_duct(rng: np.random.Generator) -> Cell:
    nucleus = _oval(rng, 8.5, 12.5, longest=1.4, rough=0.035)
    rim = rng.uniform(1.25, 1.7)
    body = replace(nucleus, a=nucleus.a * rim, b=nucleus.b * rim, ripple=ripple(rng, 0.06))
    return Cell(body, (_shift(rng, nucleus, 3.0),), "fine", nucleoli=int(rng.uniform() < 0.35), flatness=0.6)


def _malignant_duct(rng: np.random.Generator) -> Cell:
    nucleus = _oval(rng, 10.5, 16.0, longest=1.6, rough=0.08)
    rim = rng.uniform(1.2, 1.6)
    body = replace(nucleus, a=nucleus.a * rim, b=nucleus.b * rim, ripple=ripple(rng, 0.07))
    return Cell(
        body,
        (_shift(rng, nucleus, 4.0),),
        "coarse",
        nucleoli=int(rng.integers(1, 4)),
        flatness=0.5,
        membrane=1.0,
    )


def _bipolar(rng: np.random.Generator) -> Cell:
    nucleus = Blob(
        0.0, 0.0, float(rng.uniform(13.0, 16.0)), float(rng.uniform(5.5, 7.0)), 0.0, 0.0, ripple(rng, 0.02)
    )
    return Cell(None, (nucleus,), "smooth", membrane=0.2)


def _foamy(rng: np.random.Generator) -> Cell:
    body = _oval(rng, 24.0, 29.0, longest=1.2, rough=0.05)
    nucleus = _shift(rng, _oval(rng, 8.0, 10.0, longest=1.3, rough=0.03), 11.0)
    return Cell(body, (nucleus,), "fine", vacuoles=int(rng.integers(14, 24)), flatness=0.8)


def _apocrine(rng: np.random.Generator) -> Cell:
    body = _oval(rng, 21.0, 26.0, longest=1.25, rough=0.06)
    nucleus = _shift(rng, _oval(rng, 9.5, 12.0, longest=1.15, rough=0.025), 6.0)
    return Cell(body, (nucleus,), "fine", nucleoli=1, granules=0.7, flatness=0.8)


def _small_lymphocyte(rng: np.random.Generator) -> Cell:
    nucleus = _oval(rng, 7.5, 9.0, longest=1.15, rough=0.03)
    body = replace(nucleus, a=nucleus.a * 1.2, b=nucleus.b * 1.2)
    return Cell(body, (nucleus,), "clumped", flatness=0.8, membrane=0.2)


_RECIPES: dict[str, Callable[[np.random.Generator], Cell]] = {
    "atypical": _atypical,
    "columnar": _columnar,
    "lymphoid": _lymphoid,
    "monocytoid": _monocytoid,
    "multinucleate": _multinucleate,
    "segmented": _segmented,
    "squamous": _squamous,
    "benign-duct": _benign_duct,
    "malignant-duct": _malignant_duct,
    "bipolar": _bipolar,
    "foamy": _foamy,
    "apocrine": _apocrine,
    "small-lymphocyte": _small_lymphocyte,
}

CELL_TYPES = (
    "atypical",
    "columnar",
    "lymphoid",
    "monocytoid",
    "multinucleate",
    "segmented",
    "squamous",
)
"""Classes of the cell-type task."""

BENIGN_KINDS = ("benign-duct", "bipolar", "foamy", "apocrine", "small-lymphocyte")
"""What both benign and malignant breast slides hold."""

MALIGNANT_KIND = "malignant-duct"
"""What only malignant breast slides hold."""


def draw_cell(kind: str, rng: np.random.Generator, *, x: float, y: float, nuclear_scale: float = 1.0) -> Cell:
    """Draw a cell of `kind` at (x, y), randomly turned; `nuclear_scale` multiplies nuclear radii."""
    cell = _RECIPES[kind](rng)
    if nuclear_scale != 1.0:
        scaled = tuple(replace(n, a=n.a * nuclear_scale, b=n.b * nuclear_scale) for n in cell.nuclei)
        cell = replace(cell, nuclei=scaled)
    return _placed(cell, x, y, float(rng.uniform(0.0, 2.0 * np.pi)))
