"""Cards of networks small enough for tests, and a quick way to load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard
from cytobench.digests import FileDigests
from cytobench.encoders import Encoder, load

torch.set_num_threads(1)  # plenty for networks this small; the other cores run other tests

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PREPROCESS = {"size": 224, **IMAGENET}


def tiny_card(**changes: Any) -> BackboneCard:
    """Return a card of a random ViT-Ti with two blocks, with `changes`."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny",
        "loader": "timm",
        "arch": "vit_tiny_patch16_224",
        "arch_options": {"depth": 2},
        "weights": "random",
        "dim": 192,
        "pooling": "cls",
        "preprocess": PREPROCESS,
        "domain": "none",
        "licence": "none",
        "citation": "none",
    }
    return parse_card(BackboneCard, raw | changes, source=None)


def load_tiny(home: Path, card: BackboneCard, **options: Any) -> Encoder:
    """Load `card` on the processor."""
    return load(card, home=home, digests=FileDigests(home), device="cpu", **options)


def crops(n: int, size: int = 224, seed: int = 0) -> np.ndarray:
    """Return `n` noisy crops, uint8 [n, size, size, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


class Heard:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def task(self, label: str, total: int | None) -> Any:
        raise AssertionError("no progress bars in these tests")

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)
