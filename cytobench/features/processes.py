"""Preparing in processes: for descriptors in Python, which would keep all other threads waiting."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from cytobench.features.prepare import Input, Prepare

if TYPE_CHECKING:
    from cytobench.encoders import Encoder
    from cytobench.images import RGB

_WORTH_ROWS = 256  # below this, starting processes costs more than it gains

_encoders: dict[str, Encoder] = {}  # in a worker process: what it was started with


class PrepareProcesses:
    """Processes that hold a copy of some encoders and run their `prepare`; they end with this one."""

    def __init__(self, encoders: Mapping[str, Encoder], workers: int, warn: Callable[[str], None]) -> None:
        self._encoders, self._warn, self._broken = encoders, warn, False
        method = "forkserver" if sys.platform != "win32" else "spawn"
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context(method),
            initializer=_begin,
            initargs=(pickle.dumps(dict(encoders)),),
        )

    def __enter__(self) -> PrepareProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def prepare(self, key: str) -> Prepare:
        """Return the `prepare` of the encoder with this key, run in one of the processes."""

        def begin(crops: Sequence[RGB]) -> Callable[[], list[Input]]:
            try:
                future = self._pool.submit(_prepare, key, list(crops))
            except BrokenProcessPool:
                return partial(self._prepare_here, key, crops)

            def finish() -> list[Input]:
                try:
                    return future.result()
                except BrokenProcessPool:
                    return self._prepare_here(key, crops)

            return finish

        return begin

    def _prepare_here(self, key: str, crops: Sequence[RGB]) -> list[Input]:
        """Do a dead process's work: one was killed for memory, or a script without a main guard began us."""
        if not self._broken:
            self._broken = True
            self._warn("A helper process ended unexpectedly; continuing without them, more slowly.")
        return [self._encoders[key].prepare(crop) for crop in crops]


def worth_processes(encoder: Encoder, rows: int, workers: int) -> bool:
    """Tell whether an encoder asks for processes (`prefers_processes`), can travel, and has enough to do."""
    if not getattr(encoder, "prefers_processes", False) or rows < _WORTH_ROWS or workers < 2:
        return False
    try:
        pickle.dumps(encoder)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False
    return True


def _begin(encoders: bytes) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _encoders.update(pickle.loads(encoders))


def _end_with_parent() -> None:
    """A killed parent cannot tell its children; they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(key: str, crops: Sequence[RGB]) -> list[Input]:
    return [_encoders[key].prepare(crop) for crop in crops]
