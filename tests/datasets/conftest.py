"""What the tests of readers share: pictures written quickly, and the real data sets where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


def draw_picture(path: Path, *, size: tuple[int, int] = (12, 10), like: str = "") -> Path:
    """Write a small picture whose pixels follow from `like` (default: its path), in its suffix's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256((like or path.as_posix()).encode()).digest()[:4], "big")
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def draw() -> Draw:
    """A function that writes a small picture."""
    return draw_picture


@pytest.fixture
def real(shared_data: Path) -> Callable[[str], Path]:
    """The folder of a real data set, or a skip with its reason."""

    def folder(name: str) -> Path:
        if not (shared_data / name).is_dir():
            pytest.skip(f"the data set {name} is not in {shared_data}")
        return shared_data / name

    return folder
