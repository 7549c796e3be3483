"""Drawing pages on several cores: each page depends on the board alone, so processes share them out."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.bundle import Bundle

Given = TypeVar("Given")
Made = TypeVar("Made")

Page = tuple[str, str]
"""The kind of a page, and what it is about."""
Make = Callable[[Board, Page], Bundle]

_WORTH_PAGES = 12  # below this, starting processes costs more than it gains

_held: list[tuple[Board, Make]] = []  # in a worker process: what it was started with


def made(board: Board, pages: Sequence[Page], make: Make, workers: int) -> Iterator[Bundle]:
    """Yield what `make` makes of each page, in their order; the same whether one process works or many.

    `make` is a function of a module, so that it can travel. Pages of a process that died (killed for memory)
    are made here.
    """
    done = 0
    if workers > 1 and len(pages) >= _WORTH_PAGES:
        try:
            for bundle in _elsewhere(board, pages, make, workers):
                yield bundle
                done += 1
        except BrokenProcessPool:
            pass
    for page in pages[done:]:
        yield make(board, page)


def beside(work: Callable[[Given], Made], given: Given, workers: int) -> Callable[[], Made]:
    """Begin `work` in a process of its own and return a function that waits for what it made.

    With one core it is done when it is waited for. `work` is a function of a module.
    """
    if workers < 2:
        return partial(work, given)
    pool = ProcessPoolExecutor(1, mp_context=_context(), initializer=_guard)
    begun = pool.submit(work, given)

    def wait() -> Made:
        try:
            return begun.result()
        except BrokenProcessPool:
            return work(given)
        finally:
            pool.shutdown(wait=False)

    return wait


def _context() -> multiprocessing.context.BaseContext:
    return multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")


def _elsewhere(board: Board, pages: Sequence[Page], make: Make, workers: int) -> Iterator[Bundle]:
    pool = ProcessPoolExecutor(
        min(workers, len(pages)),
        mp_context=_context(),
        initializer=_begin,
        initargs=(pickle.dumps((board, make)),),
    )
    try:
        yield from pool.map(_make, pages)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(held: bytes) -> None:
    _guard()
    _held.append(pickle.loads(held))


def _guard() -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its children; they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(page: Page) -> Bundle:
    board, make = _held[0]
    return make(board, page)
