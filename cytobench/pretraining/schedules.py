"""What changes while training: learning rate, weight decay, teacher momentum and temperatures, as tables.

All tables are those of iBOT's published recipe, iteration by iteration (or epoch by epoch for temperatures).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def cosine(base: float, final: float, *, steps: int, warmup_steps: int = 0, start: float = 0.0) -> Table:
    """Return float64 [steps]: linear from `start` to `base`, then half a cosine towards `final`.

    The warm-up includes both its ends, so `base` stands twice; `final` is approached but never reached: it
    would be the value after the last step (Loshchilov & Hutter, ICLR 2017, as iBOT and DINO tabulate it).
    Raises ValueError unless 0 <= warmup_steps <= steps.
    """
    if not 0 <= warmup_steps <= steps:
        raise ValueError(f"a warm-up of {warmup_steps} steps does not fit into {steps} steps")
    remaining = steps - warmup_steps
    phase = np.arange(remaining) / max(1, remaining)
    decay = final + 0.5 * (base - final) * (1 + np.cos(np.pi * phase))
    return np.concatenate([np.linspace(start, base, warmup_steps), decay])


def teacher_temperatures(
    warmup: float, final: float, *, epochs: int, warmup_epochs: int, start_epoch: int = 0
) -> Table:
    """Return float64 [epochs]: `warmup` until `start_epoch`, then linear to `final`, then constant.

    The linear part includes both its ends. A run shorter than its warm-up gets the beginning of the table.
    Raises ValueError for negative numbers of epochs.
    """
    if min(epochs, warmup_epochs, start_epoch) < 0:
        raise ValueError(f"epochs cannot be negative: {epochs}, {warmup_epochs}, {start_epoch}")
    table = np.full(epochs, final, dtype=np.float64)
    ramp = np.concatenate([np.full(start_epoch, warmup), np.linspace(warmup, final, warmup_epochs)])[:epochs]
    table[: len(ramp)] = ramp
    return table


def scaled_learning_rate(
    base: float, batch: int, rule: Literal["linear", "sqrt", "none"] = "linear"
) -> float:
    """Return the peak learning rate for `batch` images in one step, all devices together.

    `linear`: base * batch / 256 (Goyal et al. 2017; iBOT); `sqrt`: base * sqrt(batch / 1024) (DINOv2).
    """
    if rule == "linear":
        return base * batch / 256.0
    if rule == "sqrt":
        return float(base * (batch / 1024.0) ** 0.5)
    return base
