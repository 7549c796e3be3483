"""The three training steps that the published code and ours are both given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tiny_ibot import masks_of, waves
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    steps: int = 3
    epochs: int = 6  # one step an epoch
    warmup_epochs: int = 3
    lr: float = 0.01
    weight_decay: float = 0.1
    clip: float = 0.02  # small enough to bite
    freeze_epochs: int = 1
    momentum: float = 0.9
    images: int = 3


RECIPE = Recipe()


def images(step: int) -> tuple[Tensor, Tensor]:
    """Return global crops [2 * 3, 3, 32, 32] and local crops [2 * 3, 3, 16, 16], crop-major."""
    return waves((6, 3, 32, 32), 0.3 + step), waves((6, 3, 16, 16), 0.6 + step)


def tokens(step: int) -> np.ndarray:
    """Return masks bool [6, 16] of the global crops; some crops are unmasked."""
    rows = [[], [0, 1, 5], list(range(8)), [2 + step], [], [3, 7, 9, 11, 15]]
    return masks_of(rows[step:] + rows[:step])
