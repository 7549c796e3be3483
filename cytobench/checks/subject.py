"""A task laid out to be examined: rows, items, folds, imprints, as far as they could be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import TaskCard
from cytobench.checks.copies import Sight
from cytobench.checks.imprints import CARD, Imprints, describe_items, portrayed, undescribed, unreadable
from cytobench.datasets.task import TaskData
from cytobench.digests import FileDigests
from cytobench.errors import DataError
from cytobench.evaluation.examples import Examples
from cytobench.evaluation.folds import Folds
from cytobench.features.items import Items
from cytobench.progress import Reporter

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """The rows of a task with what is known of them.

    `items` and `imprints` follow the rows of `data.table`; `folds`: None where none could be made.
    """

    card: TaskCard
    data: TaskData
    items: Items
    examples: Examples
    folds: Folds | None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def fold(self) -> Ints:
        """The fold that tests each row, int64 [rows]: -1 where it is never tested."""
        if self.folds is None:
            return np.zeros(len(self), np.int64)
        return self.folds.fold[self.examples.member].astype(np.int64)

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """Whether a row is trained on in the folds that do not test it."""
        if self.folds is None:
            return np.ones(len(self), bool)
        return self.folds.trainable[self.examples.member]

    @cached_property
    def labels(self) -> Ints:
        """The class of each row, int64 [rows]."""
        return self.examples.labels[self.examples.member]

    @cached_property
    def samples(self) -> list[str]:
        """The name of each row."""
        return [str(name) for name in self.data.table["sample"].to_list()]

    @cached_property
    def groups(self) -> list[str]:
        """The group of each row."""
        return [str(name) for name in self.data.table["group"].to_list()]

    def leaks(self, left: Ints, right: Ints) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows stand on both sides of a fold: one is tested where the other trains."""
        if self.folds is None:
            return np.zeros(len(left), bool)
        a, b = self.fold[left], self.fold[right]
        one = (a >= 0) & self.trained[right]
        other = (b >= 0) & self.trained[left]
        leaks: npt.NDArray[np.bool_] = (a != b) & (one | other)
        return leaks

    def place(self, row: int) -> str:
        """Return what to say of a row beside its name: label, group and fold."""
        label = self.examples.classes[int(self.labels[row])]
        parts = [label]
        if self.card.group != "none":
            parts.append(self.card.group_called(self.groups[row]))
        if self.folds is not None:
            parts.append(self.fold_called(row))
        return ", ".join(parts)

    def fold_called(self, row: int) -> str:
        """Return how the fold of a row is called."""
        if self.folds is None:
            return "no fold"
        k = int(self.fold[row])
        if k < 0:
            return "trained on only" if self.trained[row] else "neither trained on nor tested"
        return "tested" if len(self.folds) == 1 else f"fold {self.folds.names[k]}"

    def pair(self, left: int, right: int) -> str:
        """Return a pair of rows as a line."""
        return f"{self.samples[left]} ({self.place(left)}) and {self.samples[right]} ({self.place(right)})"

    def without(self, images: Sequence[str]) -> Subject:
        """Return the rows whose image is none of `images`; bags lose their broken members only."""
        lost = set(images)
        keep = np.array([image not in lost for image in self.items.images])
        rows = np.flatnonzero(keep)
        table = self.data.table.filter(pl.Series(keep))
        return _rebuilt(self, table, rows)


def described(
    subject: Subject, *, home: Path, digests: FileDigests, reporter: Reporter
) -> tuple[Subject, Imprints, dict[str, str]]:
    """Return the subject's decodable rows, their imprints, and every image that is broken with the reason."""
    wanted = portrayed(subject.data.table, subject.items, digests)
    try:
        (imprints,) = describe_items([wanted], home=home, digests=digests, reporter=reporter)
    except DataError:
        unseen = np.flatnonzero(undescribed(wanted, home=home, digests=digests))
        broken = unreadable(list(dict.fromkeys(wanted.images[row] for row in unseen)), reporter)
        if not broken:
            raise
        rest = subject.without(list(broken))
        if not len(rest):
            return rest, Imprints.of(np.empty((0, CARD.dim), np.float32)), broken
        wanted = portrayed(rest.data.table, rest.items, digests)
        (imprints,) = describe_items([wanted], home=home, digests=digests, reporter=reporter)
        return rest, imprints, broken
    return subject, imprints, {}


def sight_of(subject: Subject, digests: FileDigests) -> Sight:
    """Return how the pictures of a described subject's rows are looked at once more."""
    shown = portrayed(subject.data.table, subject.items, digests)
    return Sight(shown.crops, shown.images)


def _rebuilt(subject: Subject, table: pl.DataFrame, rows: Ints) -> Subject:
    """Return a subject of some rows: examples that lost all of them are gone, folds stay as they were."""
    items = subject.items
    kept = replace(
        items,
        ids=items.ids[rows],
        images=tuple(items.images[row] for row in rows),
        boxes=items.boxes[rows],
        mpp=items.mpp[rows],
    )
    old = subject.examples
    members, member = np.unique(old.member[rows], return_inverse=True)
    examples = replace(
        old,
        samples=tuple(old.samples[at] for at in members),
        labels=old.labels[members],
        groups=tuple(old.groups[at] for at in members),
        splits=tuple(old.splits[at] for at in members),
        member=member.astype(np.int64),
    )
    folds = subject.folds
    if folds is not None:
        folds = replace(
            folds,
            samples=examples.samples,
            fold=folds.fold[members],
            trainable=folds.trainable[members],
        )
    return Subject(subject.card, replace(subject.data, table=table), kept, examples, folds)
