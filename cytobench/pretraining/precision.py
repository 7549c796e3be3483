"""Where low precision ends: losses, centres and norms are computed in at least 32 bits."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Return `x` as float32, or as it is when it already is float32 or float64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def full_precision(x: Tensor) -> torch.autocast:
    """Return a context on `x`'s device in which autocast lowers nothing."""
    return torch.autocast(device_type=x.device.type, enabled=False)
