"""Which images make up a step: without replacement, balanced over sources, and a function of the step alone.

Nothing has to be saved to go on after an interruption but the number of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_PERIOD = 1024  # draws after which every source has had its share exactly


class Sampler:
    """An endless order of images: each source is gone through in a new order at every pass.

    sizes: images in each source, which lie one after another; balance: 0 draws sources by their sizes, 1 all
    alike, in between by size to the power 1 - balance; together: this many draws in a row are of one source.
    Raises ValueError without any image.
    """

    def __init__(self, sizes: Sequence[int], *, balance: float, seed: int, together: int = 1) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError("every source needs at least one image")
        self.sizes = tuple(sizes)
        self.seed = seed
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        weights = np.asarray(sizes, dtype=np.float64) ** (1.0 - balance)
        self.shares = weights / weights.sum()
        self._quota = _apportion(self.shares, _PERIOD)
        self._merged = balance == 0.0 and together == 1
        self._together = together
        self._permutation = lru_cache(maxsize=2 * len(sizes) + 2)(self._draw_permutation)

    def take(self, start: int, count: int) -> Ints:
        """Return the images [count] of `count` draws from `start` on."""
        draws = np.arange(start, start + count, dtype=np.int64)
        if self._merged:  # one order through all images: no source ever runs ahead
            return self._in_order(draws, -1, sum(self.sizes))
        rows = np.empty(count, dtype=np.int64)
        source, turn = self._whose(draws // self._together)
        turn = turn * self._together + draws % self._together
        for s, size in enumerate(self.sizes):
            mine = source == s
            if mine.any():
                rows[mine] = self.starts[s] + self._in_order(turn[mine], s, size)
        return rows

    def _whose(self, draws: Ints) -> tuple[Ints, Ints]:
        """Return for each draw its source, and how many draws that source had before it."""
        source, turn = np.empty_like(draws), np.empty_like(draws)
        for period in np.unique(draws // _PERIOD):
            here = draws // _PERIOD == period
            pattern = np.repeat(np.arange(len(self.sizes)), self._quota)
            self._rng(-2, int(period)).shuffle(pattern)
            place = draws[here] % _PERIOD
            source[here] = pattern[place]
            before = np.zeros(_PERIOD, dtype=np.int64)
            for s in range(len(self.sizes)):
                mine = pattern == s
                before[mine] = np.arange(mine.sum()) + period * self._quota[s]
            turn[here] = before[place]
        return source, turn

    def _in_order(self, turn: Ints, source: int, size: int) -> Ints:
        rows = np.empty_like(turn)
        for one in np.unique(turn // size):
            here = turn // size == one
            rows[here] = self._permutation(source, int(one), size)[turn[here] % size]
        return rows

    def _draw_permutation(self, source: int, one: int, size: int) -> Ints:
        return self._rng(source, one).permutation(size).astype(np.int64)

    def _rng(self, what: int, which: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0x5A3D, what + 2, which])


def _apportion(shares: NDArray[np.float64], seats: int) -> Ints:
    """Return whole numbers that sum to `seats`, by largest remainders, at least one each."""
    exact = shares * seats
    quota = np.maximum(np.floor(exact).astype(np.int64), 1)
    while quota.sum() < seats:
        quota[np.argmax(exact - quota)] += 1
    while quota.sum() > seats:
        quota[np.argmax(quota - exact)] -= 1
    return quota
