"""Sums over all processes of a run; without a run of several processes they are what they were."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Return the number of processes that train together, 1 without torch.distributed."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def all_sum(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return the sum of `x` over processes (in place where there are several)."""
    if world_size(group) > 1:
        dist.all_reduce(x, op=dist.ReduceOp.SUM, group=group)
    return x


def all_max(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return the element-wise maximum of `x` over processes (in place where there are several)."""
    if world_size(group) > 1:
        dist.all_reduce(x, op=dist.ReduceOp.MAX, group=group)
    return x


def all_sums(parts: list[Tensor], group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """Return the sums of several tensors of one dtype over processes, by a single message."""
    if world_size(group) == 1:
        return parts
    flat = all_sum(torch.cat([part.reshape(-1) for part in parts]), group)
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
