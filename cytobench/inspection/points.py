"""The points of a map: the cells, bags or instances of a task, with their class and what must not matter."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import UsageError
from cytobench.evaluation.plan import TaskPlan
from cytobench.evaluation.recipes import Features
from cytobench.probes.bags import Bags

Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.float32]

CONFOUNDERS = ("slide", "site", "stain", "scanner", "patient", "group")
"""Columns that may be a map's second colouring unless one is named; the first that varies is taken."""
_NO_COLOUR = ("image", "box", "sample")


@dataclass(frozen=True)
class Points:
    """What is drawn: `table` has `sample`, `label`, `group` and `confounder` (null: not given), row by row.

    `rows`: int64 [n], which of all points of the task these are; `of`: how many it has; `unit`: whether a
    point is a cell, a bag (the mean of its instances) or an instance; `confounder`: what that column is
    called, "" where there is none.
    """

    table: pl.DataFrame
    rows: Ints
    of: int
    unit: Literal["cell", "bag", "instance"]
    classes: tuple[str, ...]
    confounder: str

    def __len__(self) -> int:
        """Return the number of points, n."""
        return len(self.rows)

    @property
    def class_codes(self) -> Ints:
        """Classes as positions in `classes`, int64 [n]."""
        place = {name: code for code, name in enumerate(self.classes)}
        return np.array([place[label] for label in self.table["label"]], np.int64)

    @property
    def batch_codes(self) -> Ints:
        """Values of the confounder as positions in `batches`, int64 [n]; -1: not given."""
        place = {value: code for code, value in enumerate(self.batches)}
        values = self.table["confounder"].to_list()
        return np.array([-1 if value is None else place[value] for value in values], np.int64)

    @property
    def batches(self) -> list[str]:
        """The values of the confounder; numbers in names sort as numbers."""
        return sorted(self.table["confounder"].drop_nulls().unique(), key=_natural)

    def features(self, found: Features) -> Table:
        """Return the points' features, float32 [n, d], of those of all the task's examples."""
        if isinstance(found, Bags):
            return (found.mean() if self.unit == "bag" else found.features)[self.rows]
        return found[self.rows]


def points_of(
    task: TaskPlan, *, colour: str | None = None, instances: bool = False, limit: int = 0, seed: int = 0
) -> Points:
    """Return the points of a task's map.

    Args:
        task: a planned task.
        colour: column of the second colouring; None takes the first of `CONFOUNDERS` that varies.
        instances: draw every instance of a bag task rather than a point a bag.
        limit: more points are thinned to so many by a seeded draw that keeps the classes' shares; 0: none.
        seed: of that draw.

    Raises:
        UsageError: the column does not exist, does not vary, or varies inside bags that are points.
    """
    everything = _one_row_each(task, instances=instances)
    unit: Literal["cell", "bag", "instance"] = "cell"
    if task.card.unit == "bag":
        unit = "instance" if instances else "bag"
    name = _named(everything, colour, unit) if colour is not None else _first_that_varies(everything)
    labels = everything["label"].to_numpy()
    rows = stratified(labels, limit, seed)
    shown = "confounder" if name is None else name
    table = everything[rows].select(
        pl.col("bag" if unit == "bag" else "sample").alias("sample"),
        "label",
        "group",
        (pl.lit(None, pl.String) if name is None else pl.col(shown).cast(pl.String)).alias("confounder"),
    )
    return Points(table, rows, len(labels), unit, task.data.classes, _called(task, name))


def stratified(labels: npt.NDArray[np.object_], limit: int, seed: int) -> Ints:
    """Return `limit` positions drawn so that every class keeps its share and at least one, sorted: int64.

    All positions where there are no more than `limit`, or `limit` is 0.
    """
    if not 0 < limit < len(labels):
        return np.arange(len(labels), dtype=np.int64)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    wanted = counts * (limit / len(labels))
    quota = np.maximum(np.floor(wanted).astype(np.int64), 1)
    owed = np.argsort(-(wanted - quota), kind="stable")[: max(limit - int(quota.sum()), 0)]
    quota[owed] += 1
    random = np.random.default_rng(seed)
    drawn = [random.choice(np.flatnonzero(codes == k), n, replace=False) for k, n in enumerate(quota)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _one_row_each(task: TaskPlan, *, instances: bool) -> pl.DataFrame:
    """Return the task's table with a row a point, in the order of its features.

    A bag keeps the columns that are the same for all its instances.
    """
    ordered = task.data.table[task.examples.order]
    if task.card.unit == "cell" or instances:
        return ordered
    scalar = ordered.select([name for name in ordered.columns if name not in _NO_COLOUR])
    varying = scalar.group_by("bag").agg(pl.all().n_unique()).drop("bag")
    same = [name for name in varying.columns if (varying[name] <= 1).all()]
    return scalar.select("bag", *same).unique("bag", maintain_order=True)


def _varies(values: pl.Series) -> bool:
    """Whether a column parts the points: several values, and one at least that several points share."""
    given = values.drop_nulls()
    return 1 < given.n_unique() < len(given)


def _first_that_varies(table: pl.DataFrame) -> str | None:
    return next((name for name in CONFOUNDERS if name in table.columns and _varies(table[name])), None)


def _named(table: pl.DataFrame, wanted: str, unit: str) -> str:
    known = [name for name in table.columns if name not in _NO_COLOUR]
    fitting = [name for name in known if _varies(table[name])]
    if wanted in fitting:
        return wanted
    there = f"there are {', '.join(fitting)}" if fitting else "no column does"
    if wanted in known:
        raise UsageError(
            f"The column '{wanted}' does not part the points into batches (one value for all, or one point "
            f"each); choose a column that does: {there}."
        )
    near = difflib.get_close_matches(wanted, fitting, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    inside = (
        " A column that varies inside bags colours instances only: add --instances." if unit == "bag" else ""
    )
    raise UsageError(f"There is no column '{wanted}' to colour by{hint}; {there}.{inside}")


def _called(task: TaskPlan, name: str | None) -> str:
    """Return what a column is called: `group` by what the card groups by."""
    if name == "group" and task.card.group != "none":
        return task.card.group
    return name or ""
