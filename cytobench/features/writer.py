"""Collecting features into shards and writing them beside the computation."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt

from cytobench.features.items import Ids
from cytobench.features.shards import Features
from cytobench.features.store import Appended, Space

FLUSH_ROWS, FLUSH_SECONDS = 4096, 20.0


class SpaceWriter:
    """Writes what it is given at the latest after 4,096 rows or 20 seconds, and when it is left.

    Also when it is left because of an error or an interrupt: what was computed is stored. A failed write is
    raised by the next call.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.rows = 0
        self.max_rounding_error = 0.0
        self._ids: list[Ids] = []
        self._features: list[Features] = []
        self._since = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._writing: Future[Appended] | None = None

    def __enter__(self) -> SpaceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._begin_write()
            self._finish_write()
        finally:
            self._thread.shutdown(wait=True)

    def add(self, ids: Ids, features: Features) -> None:
        """Take features [b, d] of ids uint8 [b, 16]; raises StoreError if an earlier write failed."""
        if not self._ids:
            self._since = time.monotonic()
        self._ids.append(ids)
        self._features.append(features)
        waiting = sum(map(len, self._ids))
        if waiting >= FLUSH_ROWS or time.monotonic() - self._since >= FLUSH_SECONDS:
            self._begin_write()

    def _begin_write(self) -> None:
        self._finish_write()
        if self._ids:
            ids, features = np.concatenate(self._ids), np.concatenate(self._features)
            self._ids, self._features = [], []
            self._writing = self._thread.submit(self.space.append, ids, features)

    def _finish_write(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            done = writing.result()
            self.rows += done.rows
            self.max_rounding_error = max(self.max_rounding_error, done.max_rounding_error)


class ColumnRanges:
    """The smallest and largest value of each feature seen so far: constant features deserve a warning."""

    def __init__(self, dim: int) -> None:
        self._low = np.full(dim, np.inf, np.float32)
        self._high = np.full(dim, -np.inf, np.float32)

    def add(self, features: Features) -> None:
        """Take notice of features [b, d]."""
        np.minimum(self._low, features.min(axis=0), out=self._low)
        np.maximum(self._high, features.max(axis=0), out=self._high)

    def constant(self) -> npt.NDArray[np.int64]:
        """Return the columns that never varied."""
        return np.flatnonzero(self._low == self._high)
