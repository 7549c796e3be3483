"""Work that Python's interpreter lock would slow down, handed to other processes once there is enough of it.

Threads share that lock: where a fit is thousands of small products, two threads are hardly faster than one.
Each worker is a process that computes on one core; starting one costs some seconds, so work is done here
until there has been more of it than that. Results are the same bit for bit, wherever they come from.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from cytobench.evaluation.cores import available, one_core
from cytobench.heap import keep_freed_memory

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

_WORTH_IT = 6.0
"""Seconds of such work in this process after which others are started: they need about two to begin."""


class Workers:
    """Other processes, if they are allowed and pay, to compute one thing each."""

    def __init__(self, *, allowed: bool = False, worth_it: float = _WORTH_IT) -> None:
        self.allowed, self._worth_it = allowed, worth_it
        self._spent = 0.0
        self._pool: Executor | None = None
        self._lock = threading.Lock()

    def compute(
        self, work: Callable[_Given, _Made], *arguments: _Given.args, **named: _Given.kwargs
    ) -> _Made:
        """Return what `work`, a module's function, makes of the arguments, computed by one core.

        Should a worker die (the system may be out of memory), this process computes it, and all that follows.
        """
        pool = self._others()
        if pool is not None:
            try:
                return pool.submit(work, *arguments, **named).result()
            except BrokenProcessPool:
                self.allowed = False
        with one_core():
            began = time.perf_counter()
            made = work(*arguments, **named)
            self._spent += time.perf_counter() - began
            return made

    def _others(self) -> Executor | None:
        if not self.allowed or available() < 2:
            return None
        with self._lock:
            if self._pool is None and self._spent > self._worth_it:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(available(), context, initializer=_begin)
            return self._pool


WORKERS = Workers()
"""Those of this process. Only programs whose main module may be imported again can allow them."""


def _begin() -> None:
    """Prepare a worker: one thread, deaf to Ctrl-C (its parent decides), gone when its parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()
    keep_freed_memory()
    import torch

    torch.set_num_threads(1)


def _outlive(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
