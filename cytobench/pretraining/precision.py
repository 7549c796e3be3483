"""Where low precision ends: losses, centres and norms are computed in at least 32 bits."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Return `x` as float32, or as it is when it already is float32 or float64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context on `x`'s device in which autocast lowers nothing."""
    if x.device.type == "meta":  # shapes without numbers have no precision
        return nullcontext()
    return torch.autocast(device_type=x.device.type, enabled=False)
