"""Which items are encoded together: decided by what is asked for, never by what is already there.

The last bits of a network's output depend on the batch it was computed in. A batch is therefore computed
whole or not at all, so that a killed and resumed extraction stores the same bits as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.errors import UsageError
from cytobench.features.index import halves
from cytobench.features.items import Ids, Items


@dataclass(frozen=True)
class Share:
    """The part of the batches that falls to one of several processes: every `world`-th, from `rank` on."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageError(
                f"RANK is {self.rank} and WORLD_SIZE {self.world}: start all processes with torchrun, or "
                f"unset both variables."
            )

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Share:
        """Read the variables that `torchrun` sets, RANK and WORLD_SIZE; one process alone without them."""
        rank, world = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and world.isdecimal()):
            raise UsageError(f"RANK is '{rank}' and WORLD_SIZE '{world}': both should be whole numbers.")
        return cls(int(rank), int(world))


@dataclass(frozen=True)
class Batch:
    """Items start .. stop of the plan, the number `index` among all batches."""

    index: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """The items' positions in the plan."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Plan:
    """Every distinct item once, where it was first asked for, and the batches they make.

    ids: uint8 [u, 16]; job, row: int64 [u], where an item stands in `jobs`; batches: in order.
    """

    jobs: tuple[Items, ...]
    ids: Ids
    job: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    batches: tuple[Batch, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def source(self, at: int) -> tuple[Items, int]:
        """Return the job and the row in it of the item at a position."""
        return self.jobs[int(self.job[at])], int(self.row[at])

    def name(self, at: int) -> str:
        """Return what a person calls the item at a position."""
        items, row = self.source(at)
        return items.name(row)

    def of(self, share: Share) -> Iterator[Batch]:
        """Yield the batches of one process."""
        yield from self.batches[share.rank :: share.world]


def plan_batches(jobs: Sequence[Items], size: int) -> Plan:
    """Plan batches of `size` distinct items, items of one image beside each other.

    No batch holds items first asked for by different jobs: what a task's features are does not depend on
    which other tasks were asked for with it, unless they share items.
    """
    if size < 1:
        raise UsageError(f"A batch cannot hold {size} images: give a batch size of at least 1.")
    firsts = _first_appearances(jobs)
    offsets = np.cumsum([0, *(len(job) for job in jobs)])
    ids, numbers, rows = [], [], []
    batches: list[Batch] = []
    done = 0
    for number, job in enumerate(jobs):
        mine = firsts[(firsts >= offsets[number]) & (firsts < offsets[number + 1])] - offsets[number]
        mine = mine[np.argsort(_image_numbers(job, mine), kind="stable")]
        ids.append(job.ids[mine])
        numbers.append(np.full(len(mine), number, np.int64))
        rows.append(mine)
        for start in range(0, len(mine), size):
            batches.append(Batch(len(batches), done + start, done + min(start + size, len(mine))))
        done += len(mine)
    if not jobs:
        return Plan((), np.empty((0, 16), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64), ())
    return Plan(
        tuple(jobs), np.concatenate(ids), np.concatenate(numbers), np.concatenate(rows), tuple(batches)
    )


def _first_appearances(jobs: Sequence[Items]) -> npt.NDArray[np.int64]:
    """Return the positions, over all jobs one after another, at which an item appears for the first time."""
    if not sum(map(len, jobs)):
        return np.empty(0, np.int64)
    high, low = halves(np.concatenate([job.ids for job in jobs]))
    order = np.lexsort((low, high))
    first = np.ones(len(order), bool)
    first[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    return np.sort(order[first])


def _image_numbers(job: Items, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the images of some rows in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(job.images[row], len(numbers)) for row in rows], np.int64)
