"""How work is laid over the cores of a CPU: parts side by side at one core each, or one after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")

_SMALL = 20_000_000
"""Numbers in a table of features up to which a core each does more than all cores together."""


def is_small(numbers: int) -> bool:
    """Whether a table of so many numbers is worked on by one core: the same answer alone and among others."""
    return numbers <= _SMALL


def available() -> int:
    """Return the number of cores this process may use; OMP_NUM_THREADS limits it as it does libraries."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) > 0 else cores


_CORES = threading.BoundedSemaphore(available())


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute with one thread inside the block; it waits while others keep all cores busy."""
    import torch

    before = torch.get_num_threads()
    with _CORES:
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def side_by_side(work: Callable[[_Part], _Made], parts: Sequence[_Part], workers: int) -> list[_Made]:
    """Return what `work` makes of each part, in their order, by so many threads at once.

    The first error ends it: parts that have not begun are left undone.
    """
    if workers < 2 or len(parts) < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(min(workers, len(parts))) as pool:
        return list(pool.map(work, parts))
