"""What a leaderboard may claim: intervals, ranks with ties, who is above the nulls, what could be seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.ledger import load_predictions
from cytobench.evaluation.uncertainty import scored_of
from cytobench.leaderboard.rows import Row
from cytobench.progress import Reporter, SilentReporter
from cytobench.statistics.paired import detectable_difference
from cytobench.statistics.ranks import (
    Contest,
    beats,
    contest,
    critical_value,
    may_be_first,
    mean_ranks,
    rank_intervals,
)
from cytobench.statistics.weighted import Scored

Key = tuple[str, str, bool]


@dataclass(frozen=True)
class ColumnFacts:
    """What one column can tell.

    `detectable`: the median over pairs of the true difference that is found four times in five, all pairs
    compared; `discriminates`: whether any backbone is significantly above every null, None without nulls or
    backbones; `groups`: how many were scored; `enough`: whether they are enough for intervals and ranks.
    """

    detectable: float | None
    discriminates: bool | None
    groups: int
    enough: bool


@dataclass(frozen=True)
class Standing:
    """A backbone's mean rank over all ranked columns, its interval, and whether it may be first."""

    backbone: str
    rank: float
    low: float
    high: float
    tied: bool


@dataclass(frozen=True)
class Judged:
    """Rows with intervals and ranks, facts of each column, and standings over all ranked columns.

    `ranked_columns`: how many of them have runs, and how many there are.
    """

    rows: list[Row]
    columns: dict[Key, ColumnFacts]
    standings: list[Standing]
    ranked_columns: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Column:
    names: tuple[str, ...]
    nulls: npt.NDArray[np.bool_]
    runs: list[Scored]
    found: Contest | None
    null_missing: bool = False

    @cached_property
    def critical(self) -> float:
        """What a studentised difference in this column must exceed."""
        return critical_value([self.found]) if self.found else float("inf")

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64] | None:
        """The ranks that each run may have, int64 [p, 2]; None where nothing was compared."""
        if self.found is None or len(self.names) < 2:
            return None
        return rank_intervals(self.found, self.critical)


def judge(rows: Sequence[Row], home: Path, reporter: Reporter | None = None) -> Judged:
    """Compute from the stored predictions what the rows of a leaderboard may claim.

    All comparisons are paired, on the same rows and the same samples of groups. Ranks within a column are
    simultaneous over its pairs; standings are simultaneous over the pairs of all ranked columns.
    """
    reporter = reporter or SilentReporter()
    keys = list(dict.fromkeys(row.column for row in rows))
    columns: dict[Key, _Column] = {}
    with reporter.task("comparing backbones", len(keys)) as step:
        for key in keys:
            columns[key] = _contested([row for row in rows if row.column == key], home)
            step.advance(1, f"{key[0]}, {key[1]}")
    judged = [_judged_row(row, columns[row.column]) for row in rows]
    facts = {key: _facts(column) for key, column in columns.items()}
    ranked = [key for key in keys if any(row.ranked for row in rows if row.column == key)]
    known = [columns[key] for key in ranked if columns[key].names]
    return Judged(judged, facts, _standings(known), (len(known), len(ranked)))


def _contested(rows: Sequence[Row], home: Path) -> _Column:
    done = [row for row in rows if row.value is not None and row.run_id]
    runs = [_scored(row, home) for row in done]
    names, nulls = tuple(row.backbone for row in done), np.array([row.null for row in done], dtype=bool)
    if not done:
        return _Column(names, nulls, runs, None)
    seed = int.from_bytes(hashlib.sha256(done[0].task.encode()).digest()[:4], "big")
    missing = any(row.null and row.value is None for row in rows)
    return _Column(names, nulls, runs, contest(done[0].metric, runs, seed=seed), missing)


def _scored(row: Row, home: Path) -> Scored:
    table = load_predictions(home, row.task, row.backbone, row.probe, row.run_id)
    return scored_of(table.sort("sample"), pooled_ranking=row.pooled_ranking)


def _judged_row(row: Row, column: _Column) -> Row:
    if row.backbone not in column.names or column.found is None:
        return row
    place = column.names.index(row.backbone)
    interval = column.found.intervals[place]
    sure = replace(row, low=interval.low, high=interval.high, interval=interval.method)
    if column.ranks is None:
        return sure
    low, high = (int(rank) for rank in column.ranks[place])
    return replace(sure, rank_low=low, rank_high=high, tied=low == 1)


def _facts(column: _Column) -> ColumnFacts:
    groups = column.runs[0].n_groups if column.runs else 0
    found = column.found
    if found is None or len(column.names) < 2:
        return ColumnFacts(None, None, groups, found is not None)
    errors = found.errors[np.triu_indices(len(column.names), 1)]
    detectable = detectable_difference(float(np.median(errors)), groups - 1, critical=column.critical)
    discriminates = None
    if column.nulls.any() and not column.nulls.all() and not column.null_missing:
        above_all = beats(found, column.critical)[np.ix_(~column.nulls, column.nulls)].all(axis=1)
        discriminates = bool(above_all.any())
    return ColumnFacts(detectable, discriminates, groups, True)


def _standings(columns: Sequence[_Column]) -> list[Standing]:
    """Return mean ranks of the backbones that have a score in every column, best first.

    A mean rank lies between the means of its lowest and highest ranks: with the critical value of all pairs
    of all columns these hold together. A column with too few groups leaves all ranks possible.
    """
    if not columns:
        return []
    shared = [name for name in columns[0].names if all(name in column.names for column in columns)]
    if len(shared) < 2:
        return []
    values, contests, blank = [], [], 0
    for column in columns:
        places = [column.names.index(name) for name in shared]
        if column.found is None:
            blank += 1
            continue
        contests.append(column.found.of(places))
        values.append(column.found.values[places])
    if not contests:
        return []
    critical = critical_value(contests)
    bounds = [rank_intervals(one, critical).astype(np.float64) for one in contests]
    bounds += [np.tile([1.0, float(len(shared))], (len(shared), 1))] * blank
    limits = np.mean(bounds, axis=0)
    ranks, tied = mean_ranks(np.stack(values)), may_be_first(contests, critical, blank)
    found = [
        Standing(name, float(ranks[i]), float(limits[i, 0]), float(limits[i, 1]), bool(tied[i]))
        for i, name in enumerate(shared)
    ]
    return sorted(found, key=lambda one: one.rank)
