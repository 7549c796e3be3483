"""Synthetic cells, no two alike, in which a test plants what an examination is to find."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageFilter

from cytobench.cards import TaskCard

SIDE = 64
Pixels = npt.NDArray[np.uint8]


def draw_cell(rng: np.random.Generator, side: int = SIDE) -> Pixels:
    """Return a stained blob with chromatin on noisy glass among parts of neighbours, uint8 [s, s, 3]."""
    y, x = np.mgrid[:side, :side] / side
    picture = np.full((side, side, 3), (226.0, 216.0, 222.0)) + rng.normal(0, 4, 3)
    for number in range(6):
        centre = (0.5, 0.5) if number == 0 else rng.uniform(-0.1, 1.1, 2)
        radius = rng.uniform(0.12, 0.3)
        axes = rng.uniform(0.7, 1.3, 2)
        inside = np.hypot((y - centre[0]) * axes[0], (x - centre[1]) * axes[1]) < radius
        picture[inside] = rng.normal((150, 90, 160), 25)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    picture += (np.asarray(coarse, np.float64)[..., None] - 127) * 0.25
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


@dataclass
class Planted:
    """A folder of cells and their table; `add` plants one more row."""

    root: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(
        self, pixels: Pixels | None, label: str, group: str, *, name: str = "", split: str = "", **save: Any
    ) -> str:
        """Save a cell (None: draw one) and return its file name."""
        name = name or f"{len(self.rows):03d}.png"
        Image.fromarray(draw_cell(self.rng) if pixels is None else pixels).save(self.root / name, **save)
        self.rows.append((name, label, group, split))
        return name

    def fill(
        self, *, groups: int = 8, each: int = 6, labels: tuple[str, ...] = ("benign", "malignant")
    ) -> None:
        """Add distinct cells: every group holds cells of every label."""
        for group in range(groups):
            for cell in range(each):
                self.add(None, labels[cell % len(labels)], f"p{group}")

    def pixels(self, name: str) -> Pixels:
        """Return what was saved."""
        return np.asarray(Image.open(self.root / name).convert("RGB"))

    def blurred(self, name: str) -> Pixels:
        """Return a saved cell out of focus."""
        return np.asarray(Image.fromarray(self.pixels(name)).filter(ImageFilter.GaussianBlur(3)))

    def card(self, **changes: Any) -> TaskCard:
        """Write the table and return the task's card."""
        schema = ["image", "label", "patient", "split"]
        table = pl.DataFrame(self.rows, schema=schema, orient="row")
        if not any(row[3] for row in self.rows):
            table = table.drop("split")
        table.write_csv(self.root / "cells.csv")
        raw: dict[str, Any] = {
            "name": "planted",
            "title": "Planted cells",
            "dataset": {"format": "table", "path": "cells.csv"},
            "group": "patient",
            "split": {"folds": 4},
            "view": {"kind": "box"},
            "source": self.root / "planted.toml",
        }
        return TaskCard(**{**raw, **changes})
