"""Small folders of cell-like pictures for the tests of pretraining."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[[Path, int, int], Path]


def cell(rng: np.random.Generator, side: int, *, elongation: float | None = None) -> np.ndarray:
    """Return a picture of one coloured ellipse on a pale ground, uint8 [side, side, 3]."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle, long = rng.uniform(0, np.pi), rng.uniform(0.15, 0.4)
    wide = long * (elongation or rng.uniform(0.4, 1.0))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (u / long) ** 2 + (v / wide) ** 2 < 1
    ground, body = rng.uniform(190, 250, 3), rng.uniform(40, 160, 3)
    picture = np.where(inside[..., None], body, ground) + rng.normal(0, 6, (side, side, 3))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture
def draw_cells() -> Draw:
    """Return a function that writes `count` PNG pictures into a folder, from a seed."""

    def write(folder: Path, count: int, seed: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        for number in range(count):
            Image.fromarray(cell(rng, 48)).save(folder / f"cell-{number:04d}.png")
        return folder

    return write
