"""Small encoders and pictures for tests of the feature store: quick, deterministic, and easy to upset."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from cytobench.cards import View
from cytobench.digests import FileDigests
from cytobench.features.items import Items, items_of

WHOLE = View(kind="box")


class ToyEncoder:
    """Mixes pixels with fixed weights and, on purpose, with the rest of its batch.

    So its features are the same bits only if batches are put together in the same way: what a large network
    does in its last bits, this does in its first digits.
    """

    def __init__(
        self,
        name: str = "toy",
        *,
        dim: int = 12,
        seed: int = 0,
        mean: float = 0.0,
        static_batch: bool = False,
        prefers_processes: bool = False,
        seconds: float = 0.0,
    ) -> None:
        self.name, self.dim, self.static_batch = name, dim, static_batch
        self.prefers_processes = prefers_processes
        self.identity: Mapping[str, Any] = {"toy": seed, "dim": dim, "mean": mean}
        self.prepare_key = "toy/8"
        self.batches: list[int] = []
        self._weights = np.random.default_rng(seed).normal(size=(192, dim))
        self._mean, self._seconds = mean, seconds

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        rows = np.linspace(0, crop.shape[0] - 1, 8).astype(int)
        columns = np.linspace(0, crop.shape[1] - 1, 8).astype(int)
        return crop[np.ix_(rows, columns)]

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        time.sleep(self._seconds)
        self.batches.append(len(batch))
        own = (batch.reshape(len(batch), -1) / 255.0 - self._mean) @ self._weights
        return (own + 0.01 * own.mean(axis=0)).astype(np.float32)

    @property
    def images_seen(self) -> int:
        return sum(self.batches)


class FreshDigests(FileDigests):
    """Digests without memory, so that tests may replace a file within the same second."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, rehash=True)


def draw_images(folder: Path, n: int, *, seed: int = 0, side: int = 24) -> list[Path]:
    """Write `n` small PNG files with distinct contents."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    paths = [folder / f"cell_{number:04d}.png" for number in range(n)]
    for path in paths:
        Image.fromarray(noise.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return paths


def items_from(paths: list[Path], home: Path, *, view: View = WHOLE, box: list[int] | None = None) -> Items:
    """Identify whole images, or the same box in each."""
    boxes = pl.Series("box", [box] * len(paths), dtype=pl.Array(pl.Int32, 4))
    table = pl.DataFrame({"image": [str(path) for path in paths]}).with_columns(boxes)
    return items_of(table, view, FreshDigests(home))


class Recorder:
    """A reporter that remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._lock = threading.Lock()

    def task(self, label: str, total: int | None) -> Any:
        from cytobench.progress import SilentReporter

        return SilentReporter().task(label, total)

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        with self._lock:
            self.warnings.append(text)
