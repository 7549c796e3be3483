"""Batches ready for the device, prepared ahead by threads: pixels, draws of chance, masks.

What a batch holds is a function of the seed and the step; threads only decide how early it is there.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cytobench.pretraining import masking
from cytobench.pretraining.draws import CropKind, Draws, draw, kinds_of
from cytobench.pretraining.ibot import Masks
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe
from cytobench.pretraining.sampler import Sampler

_AHEAD = 3  # batches that wait for the device, besides those in the making


@dataclass(frozen=True)
class Batch:
    """One process's share of a step: pixels uint8 [b, side, side, 3], draws of each kind of crop, masks."""

    step: int
    pixels: Tensor
    draws: tuple[Draws, ...]
    masks: Masks | None


@dataclass(frozen=True)
class Share:
    """Which of a step's images are this process's: `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def of(self, batch: int) -> slice:
        """Return the slice of a global batch; `batch` is a multiple of `world`."""
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


class Batches:
    """Makes the batch of any step. Safe to call from many threads."""

    def __init__(
        self, pool: Pool, recipe: Recipe, share: Share, *, patch_size: int, pin: bool, padded: bool = False
    ) -> None:
        """Make batches of a pool; `padded` lists of masked patches have few lengths, for compiled graphs."""
        self._pool, self._recipe, self._share, self._pin = pool, recipe, share, pin
        self._padded = padded
        self.kinds: tuple[CropKind, ...] = kinds_of(recipe.crops, recipe.augmentation)
        sizes = [source.images for source in pool.sources]
        together = 1 if recipe.data.mixed else recipe.data.batch
        balance, seed = recipe.data.balance, recipe.running.seed
        self._sampler = Sampler(sizes, balance=balance, seed=seed, together=together)
        self._grid = (recipe.crops.global_size // patch_size,) * 2

    def make(self, step: int) -> Batch:
        """Return this process's part of the batch of `step`."""
        batch = self._recipe.data.batch
        mine = self._share.of(batch)
        rows = self._sampler.take(step * batch, batch)[mine]
        pixels = torch.from_numpy(self._pool.read(rows))
        draws = []
        for number, kind in enumerate(self.kinds):
            rng = self._rng(step, number)
            whole = draw(kind, self._recipe.augmentation, batch, self._pool.side, rng)
            draws.append(whole.images(mine, kind.count))
        return Batch(
            step, pixels.pin_memory() if self._pin else pixels, tuple(draws), self._masks(step, mine)
        )

    def _masks(self, step: int, mine: slice) -> Masks | None:
        if self._recipe.loss.patch_weight == 0:
            return None
        crops, batch = self._recipe.crops.global_count, self._recipe.data.batch
        if self._recipe.masking.exact:  # the same number of patches for every process
            share = batch // self._share.world
            rng = self._rng(step, 100 + self._share.rank)
            drawn = masking.draw(self._recipe.masking, crops * share, self._grid, rng)
        else:
            whole = masking.draw(self._recipe.masking, crops * batch, self._grid, self._rng(step, 100))
            drawn = whole.reshape(crops, batch, *self._grid)[:, mine].reshape(-1, *self._grid)
        masks = Masks.of(masking.index_masks(drawn, multiple=self._multiple(drawn.size)))
        return Masks(*(part.pin_memory() for part in masks)) if self._pin else masks

    def _multiple(self, patches: int) -> int:
        """Return what the number of masked patches is rounded up to: few lengths where each costs a graph."""
        varies = self._padded and not self._recipe.masking.exact
        return max(1, patches // 8) if varies else 1

    def _rng(self, step: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.running.seed, 0xC107, step, what])


class Loader:
    """Iterates over the batches of steps `first` … `last` - 1, made by `readers` threads.

    waited: seconds the caller has spent waiting for a batch so far.
    """

    def __init__(self, batches: Batches, steps: Sequence[int], *, readers: int = 0) -> None:
        self._batches, self._steps = batches, steps
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._readers = readers or max(1, min(8, (os.cpu_count() or 2) // 2 // local))
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches in order; an error of a thread is raised here."""
        with ThreadPoolExecutor(self._readers, thread_name_prefix="reader") as threads:
            waiting: deque[Future[Batch]] = deque()
            steps = iter(self._steps)
            try:
                for step in steps:
                    waiting.append(threads.submit(self._batches.make, step))
                    if len(waiting) < _AHEAD + self._readers:
                        continue
                    yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                for future in waiting:
                    future.cancel()

    def _next(self, waiting: deque[Future[Batch]]) -> Batch:
        began = time.perf_counter()
        batch = waiting.popleft().result()
        self.waited += time.perf_counter() - began
        return batch
