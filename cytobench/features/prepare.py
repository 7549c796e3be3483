"""Reading ahead: images are decoded, cut and prepared by threads while the device computes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench import images
from cytobench.errors import DataError
from cytobench.features.batches import Batch, Plan
from cytobench.features.items import Items, item_id

_MOST_WORKERS = 16
_CHUNK = 8  # items of one image that a thread takes at once

Input = npt.NDArray[Any]
Prepare = Callable[[Sequence[images.RGB]], Callable[[], list[Input]]]
"""Begins to prepare crops and returns what waits for the results, so that processes and threads overlap."""


@dataclass(frozen=True)
class Wanted:
    """A batch to be prepared, in each of the ways (`prepare_key`) that some encoder needs."""

    batch: Batch
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A batch ready for the encoders: per `prepare_key` an array [b, …]."""

    batch: Batch
    inputs: Mapping[str, Input]


@dataclass
class Effort:
    """What reading cost: images decoded, seconds of work in threads, seconds the main thread waited."""

    decoded: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, decoded: int = 0, seconds: float = 0.0) -> None:
        """Count work done in a thread."""
        with self.lock:
            self.decoded += decoded
            self.seconds += seconds


class _Picture:
    """One image, decoded by the first thread that needs it, and proven to be the one its items name."""

    def __init__(self, items: Items, row: int, effort: Effort) -> None:
        self.path = items.images[row]
        self._items, self._row, self._effort = items, row, effort
        self._lock = threading.Lock()
        self._pixels: images.RGB | None = None

    def pixels(self) -> images.RGB:
        """Return the image: uint8 [h, w, 3]; raises DataError."""
        with self._lock:
            if self._pixels is None:
                pixels = images.decode(self.path)
                self._check()
                self._pixels = pixels
                self._effort.add(decoded=1)
            return self._pixels

    def _check(self) -> None:
        """Hash the file after it was read: features of a replaced image must not be kept under its name."""
        items, row = self._items, self._row
        digest = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        place = items.box(row), items.view, items.scale(row)
        if item_id(digest, *place, items.change) != bytes(items.ids[row]):
            raise DataError(
                f"Image {self.path} is not the one it was when the run began or its digest was remembered: "
                f"run again, with --rehash if this is said twice."
            )


class ReadAhead:
    """Prepares batches in order, at most `ahead` of them before they are asked for; memory stays bounded."""

    def __init__(self, plan: Plan, prepare: Mapping[str, Prepare], *, workers: int, ahead: int) -> None:
        self.effort = Effort()
        self._plan, self._prepare, self._ahead = plan, prepare, max(1, ahead)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
        self._last: _Picture | None = None

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, wanted: Iterable[Wanted]) -> Iterator[Prepared]:
        """Yield the wanted batches in order; raises DataError where an image is unreadable or has changed."""
        queue: deque[tuple[Wanted, list[Future[dict[str, list[Input]]]]]] = deque()
        source = iter(wanted)
        while True:
            while len(queue) < self._ahead and (following := next(source, None)) is not None:
                queue.append((following, self._submit(following)))
            if not queue:
                return
            current, futures = queue.popleft()
            began = time.perf_counter()
            parts = [future.result() for future in futures]
            self.effort.waited += time.perf_counter() - began
            inputs = {key: np.stack([one for part in parts for one in part[key]]) for key in current.keys}
            yield Prepared(current.batch, inputs)

    def _submit(self, wanted: Wanted) -> list[Future[dict[str, list[Input]]]]:
        futures = []
        for picture, items, rows in self._pieces(wanted.batch):
            futures.append(self._pool.submit(self._work, picture, items, rows, wanted.keys))
        return futures

    def _pieces(self, batch: Batch) -> Iterator[tuple[_Picture, Items, list[int]]]:
        """Yield runs of items of one image; the image of the last run may go on in the next batch."""
        piece: list[int] = []
        for at in range(batch.start, batch.stop):
            items, row = self._plan.source(at)
            same = self._last is not None and self._last.path == items.images[row]
            if piece and (not same or len(piece) == _CHUNK):
                assert self._last is not None
                yield self._last, items, piece
                piece = []
            if not same:
                self._last = _Picture(items, row, self.effort)
            piece.append(row)
        if piece and self._last is not None:
            yield self._last, items, piece

    def _work(
        self, picture: _Picture, items: Items, rows: Sequence[int], keys: Sequence[str]
    ) -> dict[str, list[Input]]:
        began = time.perf_counter()
        pixels = picture.pixels()
        crops = [items.cut(pixels, row) for row in rows]
        begun = {key: self._prepare[key](crops) for key in keys}
        result = {key: finish() for key, finish in begun.items()}
        self.effort.add(seconds=time.perf_counter() - began)
        return result


def default_workers() -> int:
    """Return the number of reading threads: the processors this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, usable)


def in_thread(prepare: Callable[[images.RGB], Input]) -> Prepare:
    """Return `prepare` of one crop as something that prepares many, in the thread that asks for them."""

    def begin(crops: Sequence[images.RGB]) -> Callable[[], list[Input]]:
        results = [prepare(crop) for crop in crops]
        return lambda: results

    return begin
