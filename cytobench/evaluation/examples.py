"""What is predicted, one row each: cells of a cell task, whole bags of a bag task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import DataError
from cytobench.manifest import name_some
from cytobench.probes.bags import Bags

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """The labelled units of a task, sorted by `samples`.

    `labels`: int64 [n], positions in `classes`; `splits`: the official split of each, "" where none;
    `member`: int64 [rows], the example that each row of the task's table belongs to.
    """

    samples: tuple[str, ...]
    labels: Ints
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    member: Ints
    unit: str

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.samples)

    @cached_property
    def group_codes(self) -> Ints:
        """Groups as int64 [n], numbered in the order of their sorted names."""
        return np.unique(np.asarray(self.groups), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def order(self) -> Ints:
        """The rows of the task's table, int64 [rows], example after example."""
        return np.argsort(self.member, kind="stable").astype(np.int64)

    def arrange(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | Bags:
        """Return the rows of `features`, float32 [rows, d], by example: one row each, or one bag each."""
        if self.unit == "cell":
            return features[self.order]
        sizes = np.bincount(self.member, minlength=len(self))
        return Bags(features[self.order], np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def examples_of(table: pl.DataFrame, classes: Sequence[str], unit: str) -> Examples:
    """Return the examples of a task's `table`: its rows (`unit` "cell") or its bags (`unit` "bag").

    Raises DataError when a label is not among `classes` or the rows of a bag disagree on label, group or
    split.
    """
    key = "bag" if unit == "bag" else "sample"
    if "split" not in table.columns:
        table = table.with_columns(pl.lit("").alias("split"))
    rows = table.select(
        pl.col(key).alias("unit"), "label", "group", pl.col("split").fill_null("").alias("split")
    )
    units = rows.unique().sort("unit")
    torn = units.filter(pl.col("unit").is_duplicated())["unit"].unique().sort()
    if len(torn):
        raise DataError(
            f"The {key}s {name_some(torn)} hold more than one label, group or split; "
            f"make these columns the same for all rows of a {key}."
        )
    strange = units.filter(~pl.col("label").is_in(list(classes)))["label"].unique().sort()
    if len(strange):
        raise DataError(
            f"The labels {name_some(strange)} are not among the task's classes; list or exclude them."
        )
    names = units["unit"].to_list()
    position = {name: index for index, name in enumerate(names)}
    code = {name: index for index, name in enumerate(classes)}
    return Examples(
        samples=tuple(names),
        labels=np.asarray([code[label] for label in units["label"]], dtype=np.int64),
        groups=tuple(units["group"].to_list()),
        splits=tuple(units["split"].to_list()),
        classes=tuple(classes),
        member=np.asarray([position[name] for name in rows["unit"]], dtype=np.int64),
        unit=unit,
    )
