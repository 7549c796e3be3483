"""Which pictures exist: slides, patients, classes and the seed of every single picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cytobench.datasets.synthetic.recipes import BENIGN_KINDS, CELL_TYPES, MALIGNANT_KIND, draw_cell
from cytobench.datasets.synthetic.stains import STAINS, SlideLook, Stain, draw_look

if TYPE_CHECKING:
    from numpy.typing import NDArray

Part = Literal["cell-type", "breast-fna"]

SEED = 3
"""The first seed by which the breast slides' colours are not related to their labels by chance either."""

SIDES: dict[Part, int] = {"cell-type": 128, "breast-fna": 96}
"""Side of a picture in px."""

MPP = 0.25
"""Micrometres a pixel would measure: the lymphoid cells are then 8-10 um wide."""

_CODES: dict[Part, int] = {"cell-type": 1, "breast-fna": 2}
_SLIDES = 20
_PER_CLASS = 7
_PATIENTS = 32
_TWO_SLIDES = 16
_INSTANCES = (20, 40)
_FRACTIONS = (0.05, 0.60)
_BENIGN_SHARES = (0.50, 0.15, 0.10, 0.12, 0.13)
_JITTER = 3.0


@dataclass(frozen=True)
class Slide:
    """A slide: its name, number (the key of its look and its cells), patient, label, stain and cell kinds.

    `nuclear_scale` is the patient's own nuclear size relative to the recipe's.
    """

    part: Part
    number: int
    name: str
    patient: str
    label: str | None
    stain: Stain
    kinds: tuple[str, ...]
    nuclear_scale: float = 1.0

    @property
    def look(self) -> SlideLook:
        """The colours, light and blur that all pictures of this slide share."""
        return draw_look(self.stain, _rng(self.part, self.number))


@dataclass(frozen=True)
class Picture:
    """One picture of a slide: the cell of `kind` in its middle; `sample` is also its path without suffix."""

    slide: Slide
    index: int
    kind: str

    @property
    def sample(self) -> str:
        """Path relative to the data set's folder; tells nothing about the class."""
        return f"{self.slide.part}/{self.slide.name}/{self.index:03d}.png"

    def row(self) -> dict[str, str | float | None]:
        """Return this picture's row of the table."""
        slide = self.slide
        bags = slide.part == "breast-fna"
        return {
            "part": slide.part,
            "sample": self.sample,
            "label": slide.label if bags else self.kind,
            "patient": slide.patient,
            "slide": slide.name,
            "stain": slide.stain.name,
            "bag": slide.name if bags else None,
            "kind": self.kind,
            "instance_label": _truth(self.kind) if bags else None,
            "mpp": MPP,
        }


def _truth(kind: str) -> str:
    return "malignant" if kind == MALIGNANT_KIND else "benign"


def _rng(part: Part, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(_CODES[part], *key)))


def slides() -> tuple[Slide, ...]:
    """Return all slides of both parts, always the same ones."""
    return (*_cell_type_slides(), *_breast_slides())


def pictures() -> tuple[Picture, ...]:
    """Return all pictures of both parts, always the same ones, in the order of their slides."""
    return tuple(Picture(slide, i, kind) for slide in slides() for i, kind in enumerate(slide.kinds))


def _cell_type_slides() -> list[Slide]:
    """Twenty slides of twenty patients, each with every class equally often: no slide hints at a class."""
    found = []
    for number in range(_SLIDES):
        kinds = _rng("cell-type", number, 0).permutation(np.repeat(CELL_TYPES, _PER_CLASS))
        stain = STAINS[number % len(STAINS)]
        name = f"slide-{number:02d}"
        found.append(Slide("cell-type", number, name, name, None, stain, tuple(str(kind) for kind in kinds)))
    return found


def _breast_slides() -> list[Slide]:
    """One or two slides of each of 32 patients; bag sizes are the same for both labels."""
    rng = _rng("breast-fna", 0, 0)
    half = (_PATIENTS + _TWO_SLIDES) // 2
    fractions = rng.permutation(np.linspace(*_FRACTIONS, half))
    sizes = np.linspace(*_INSTANCES, half).round().astype(int)
    found: list[Slide] = []
    order = {name: iter(rng.permutation(half)) for name in ("benign", "malignant")}
    for patient in range(_PATIENTS):
        label = ("benign", "malignant")[patient % 2]
        scale = float(np.exp(rng.normal(0.0, 0.06)))
        for part in range(2 if patient < _TWO_SLIDES else 1):
            rank = int(next(order[label]))
            fraction = float(fractions[rank]) if label == "malignant" else 0.0
            kinds = _instances(int(sizes[rank]), fraction, rng)
            found.append(
                Slide(
                    "breast-fna",
                    len(found) + 1,
                    f"P{patient:02d}-{part + 1}",
                    f"P{patient:02d}",
                    label,
                    STAINS[int(rng.integers(len(STAINS)))],
                    kinds,
                    scale,
                )
            )
    return found


def _instances(count: int, fraction: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw the kinds of a bag's cells; a share `fraction` is malignant, at least one cell unless it is 0."""
    malignant = max(1, round(count * fraction)) if fraction else 0
    others = rng.choice(BENIGN_KINDS, size=count - malignant, p=_BENIGN_SHARES)
    kinds = rng.permutation(np.concatenate([np.repeat(MALIGNANT_KIND, malignant), others]))
    return tuple(str(kind) for kind in kinds)


def render(picture: Picture, look: SlideLook) -> NDArray[np.uint8]:
    """Return `picture` as uint8 [side, side, 3]; `look` is its slide's look, drawn once a slide."""
    from cytobench.datasets.synthetic.paint import dye
    from cytobench.datasets.synthetic.scene import compose
    from cytobench.datasets.synthetic.stains import photograph

    slide = picture.slide
    rng = _rng(slide.part, slide.number, 1, picture.index)
    side = SIDES[slide.part]
    x, y = side / 2 + rng.normal(0.0, _JITTER, 2)
    cell = draw_cell(picture.kind, rng, x=float(x), y=float(y), nuclear_scale=slide.nuclear_scale)
    dyes, tone = dye(compose(cell, side, rng), look, rng)
    return photograph(dyes, tone, look, rng)
