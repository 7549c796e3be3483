"""The processes of a run: who they are, and sums over all of them (one process alone: its own numbers)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_PATIENCE = timedelta(hours=24)  # the first process may pack a large pool meanwhile


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Return the number of processes that train together, 1 without torch.distributed."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def my_rank() -> int:
    """Return this process's number among those that train together, 0 without torch.distributed."""
    return dist.get_rank() if world_size() > 1 else 0


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


@dataclass(frozen=True)
class Process:
    """Who a process is among those that train together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Process:
        """Return what `torchrun` says about this process; one process alone without it."""
        return cls(
            rank=int(environment.get("RANK", "0")),
            world=int(environment.get("WORLD_SIZE", "1")),
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            local_world=int(environment.get("LOCAL_WORLD_SIZE", "1")),
        )


@contextmanager
def together(process: Process, device: torch.device) -> Iterator[None]:
    """Join the other processes for the length of the block (nccl on CUDA devices, else gloo)."""
    if process.world == 1:
        yield
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", timeout=_PATIENCE, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def gather_objects(mine: Any) -> list[Any]:
    """Return every process's object, in the order of ranks."""
    if world_size() == 1:
        return [mine]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, mine)
    return gathered
