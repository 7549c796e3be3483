"""One cell of a leaderboard: a backbone on a task under a probe, whether it ran or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

Status = Literal["done", "cached", "failed", "not run"]
Overlap = Literal["unseen", "same smears", "same data set", "unknown", ""]


@dataclass(frozen=True)
class Row:
    """A run as tables show it: its score, what the score was computed on, or why there is none.

    `value`: the task's primary metric, pooled out of fold; `spread`: standard deviation of that metric over
    the outer folds (how much it moves from fold to fold, not an interval); `low`, `high`: its 95 % interval
    over groups, made as `interval` says; `rank_low`, `rank_high`: the ranks it may have among all
    rows of the column, `tied`: whether 1 is among them; `skill`: (value - best null) / (1 - best null) with
    the same probe; `groups`: number of groups kept whole, 0 where the task has none; `subset`: digest of the
    rows scored.
    """

    backbone: str
    task: str
    probe: str
    tuned: bool
    status: Status
    reason: str = ""
    metric: str = ""
    value: float | None = None
    spread: float | None = None
    fold_values: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    interval: str = ""
    rank_low: int | None = None
    rank_high: int | None = None
    tied: bool = False
    pooled_ranking: bool = False
    skill: float | None = None
    n: int = 0
    groups: int = 0
    subset: str = ""
    overlap: Overlap = ""
    null: bool = False
    ranked: bool = True
    title: str = ""
    domain: str = ""
    run_id: str = ""
    version: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def column(self) -> tuple[str, str, bool]:
        """The column of the table that the row belongs to."""
        return self.task, self.probe, self.tuned


def called(probe: str) -> str:
    """Return how tables call a probe: of `package.module:function` the module and the function."""
    place, colon, function = probe.partition(":")
    return f"{place.rpartition('.')[2]}:{function}" if colon else probe


def with_skill(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with their skill above the best null of the same task, probe and tuning.

    There is none in a column without nulls, while one of its nulls has no score, or when the best is perfect.
    """
    nulls: dict[tuple[str, str, bool], list[float | None]] = {}
    for row in rows:
        if row.null:
            nulls.setdefault(row.column, []).append(row.value)
    best = {column: _maximum(values) for column, values in nulls.items()}
    return [replace(row, skill=_skill(row.value, best.get(row.column))) for row in rows]


def _maximum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _skill(value: float | None, null: float | None) -> float | None:
    if value is None or null is None or null >= 1.0:
        return None
    return (value - null) / (1.0 - null)


def tidy(rows: Sequence[Row]) -> pl.DataFrame:
    """Return the rows as one tidy table: a line a backbone, task, probe and tuning; a column a metric."""
    names = sorted({name for row in rows for name in row.metrics})
    schema = {
        "backbone": pl.String,
        "title": pl.String,
        "domain": pl.String,
        "null": pl.Boolean,
        "task": pl.String,
        "probe": pl.String,
        "tuned": pl.Boolean,
        "ranked": pl.Boolean,
        "status": pl.String,
        "reason": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "interval": pl.String,
        "rank_low": pl.Int64,
        "rank_high": pl.Int64,
        "tied": pl.Boolean,
        "spread": pl.Float64,
        "skill": pl.Float64,
        "n": pl.Int64,
        "groups": pl.Int64,
        "subset": pl.String,
        "overlap": pl.String,
        "run_id": pl.String,
        "version": pl.String,
    }
    data = [
        [getattr(row, name) for name in schema] + [row.metrics.get(name) for name in names] for row in rows
    ]
    return pl.DataFrame(data, schema=schema | dict.fromkeys(names, pl.Float64), orient="row")
