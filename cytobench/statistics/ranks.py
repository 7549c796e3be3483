"""Ranks that admit ties: which backbones may be first, by simultaneous paired differences (max-T)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.statistics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    from_bootstrap,
    from_influence,
    influence,
    limits_of,
    method_of,
    never_certain,
    standard_error,
)
from cytobench.statistics.paired import holm, studentised
from cytobench.statistics.weighted import Scored, resamplings, weighted_metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_EXACT_UP_TO = 50
_WILCOXON_TASKS = 8
"""Signed ranks over fewer tasks cannot reach significance after correction, whatever the scores."""


@dataclass(frozen=True)
class Contest:
    """p runs on the rows of one task, and how their differences vary over samples of groups.

    `values`: float64 [p]; `intervals`: of each value alone; `errors`: float64 [p, p], standard errors of all
    differences; `drawn`: float64 [B, p, p], differences over their own errors when the groups' contributions
    change signs at random: what differences look like when there are none.
    """

    values: Floats
    intervals: tuple[Interval, ...]
    errors: Floats
    drawn: Floats

    @property
    def differences(self) -> Floats:
        """Row minus column, float64 [p, p]."""
        return self.values[:, None] - self.values[None, :]

    def of(self, places: Sequence[int]) -> Contest:
        """Return the contest of some of the runs."""
        both = np.ix_(places, places)
        chosen = tuple(self.intervals[place] for place in places)
        return Contest(self.values[list(places)], chosen, self.errors[both], self.drawn[:, both[0], both[1]])


def contest(
    name: str, runs: Sequence[Scored], *, resamples: int = RESAMPLES, seed: int = 0
) -> Contest | None:
    """Return how the runs' differences vary, or None where there are too few groups.

    The contributions of groups to all differences (see `cytobench.statistics.paired.sign_flip_test`) change
    signs together, and each difference is divided by its standard error of that draw. The same `seed` draws
    the same signs: contests of one task under several probes belong together.
    """
    count = runs[0].n_groups
    if any(method_of(run) == "too few groups" for run in runs):
        return None
    ones = np.ones((1, count))
    values = np.array([float(weighted_metric(name, run, ones)[0]) for run in runs])
    pulls = np.stack([influence(name, run) for run in runs], axis=1)  # [G, p]
    rows, columns = np.triu_indices(len(runs), 1)
    pairs = pulls[:, rows] - pulls[:, columns] + (values[rows] - values[columns])  # [G, pairs]
    flips = np.random.default_rng(seed).integers(0, 2, (resamples, count))
    signs = (2 * flips - 1).astype(np.float64)
    drawn, errors = np.zeros((resamples, len(runs), len(runs))), np.zeros((len(runs), len(runs)))
    if len(rows):
        drawn[:, rows, columns] = np.nan_to_num(studentised(signs, pairs), posinf=0.0, neginf=0.0)
        drawn[:, columns, rows] = -drawn[:, rows, columns]
        errors[rows, columns] = errors[columns, rows] = standard_error(pairs - pairs.mean(0))
    alone = _intervals(name, runs, values, pulls, resamples, seed)
    return Contest(values, alone, errors, drawn)


def _intervals(
    name: str, runs: Sequence[Scored], values: Floats, pulls: Floats, resamples: int, seed: int
) -> tuple[Interval, ...]:
    count = runs[0].n_groups
    if method_of(runs[0]) == "bootstrap":
        weights = resamplings(count, resamples, np.random.default_rng(seed))
        alone = [from_bootstrap(weighted_metric(name, run, weights), count) for run in runs]
    else:
        alone = [from_influence(values[i], pulls[:, i], limits_of(name)) for i in range(len(runs))]
    return tuple(never_certain(name, float(values[i]), one, count) for i, one in enumerate(alone))


def critical_value(contests: Sequence[Contest], confidence: float = CONFIDENCE) -> float:
    """Return what no studentised difference exceeds with `confidence`, over all pairs of all contests."""
    largest = np.max([np.abs(one.drawn).max(axis=(1, 2)) for one in contests], axis=0)
    return float(np.quantile(largest, confidence))


def beats(one: Contest, critical: float) -> npt.NDArray[np.bool_]:
    """Return which run (row) is significantly better than which (column), bool [p, p]."""
    better: npt.NDArray[np.bool_] = one.differences > critical * one.errors
    return better & (one.differences > 1e-12)


def rank_intervals(one: Contest, critical: float) -> Ints:
    """Return the lowest and highest rank that each run may have, int64 [p, 2], 1 is best.

    A run's lowest rank is 1 + the number of runs that are significantly better, its highest p - the number
    that are significantly worse (Mogstad, Romano, Shaikh and Wilhelm 2024). With the critical value of all
    pairs the true ranks of all runs lie in their intervals together with about 95 % confidence.
    """
    better = beats(one, critical)
    return np.stack([1 + better.sum(0), len(one.values) - better.sum(1)], axis=1).astype(np.int64)


def mean_ranks(values: Floats) -> Floats:
    """Return the mean rank of each backbone over tasks, values [tasks, p] -> [p]; ties share their mean."""
    from scipy.stats import rankdata

    ranks: Floats = rankdata(-values, axis=1).mean(0)
    return ranks


def may_be_first(contests: Sequence[Contest], critical: float, blank: int = 0) -> npt.NDArray[np.bool_]:
    """Return whose mean rank over contests may be the lowest, bool [p].

    By how much rank i lies above rank j is at least (lowest rank of i) - (highest of j), and at least 1 where
    j is significantly better; where that holds on average over contests (`blank`: further ones in which
    nothing is known), i cannot be first.
    """
    count = len(contests[0].values)
    gaps = np.full((blank, count, count), 1.0 - count)
    known = []
    for one in contests:
        ranks = rank_intervals(one, critical)
        gap = (ranks[:, None, 0] - ranks[None, :, 1]).astype(np.float64)
        known.append(np.where(beats(one, critical).T, np.maximum(gap, 1.0), gap))
    first: npt.NDArray[np.bool_] = (np.concatenate([np.stack(known), gaps]).mean(0) <= 0).all(axis=1)
    return first


@dataclass(frozen=True)
class Cliques:
    """Mean ranks over tasks, Wilcoxon-Holm p-values of all pairs [p, p], and groups not told apart."""

    ranks: Floats
    p: Floats
    groups: tuple[tuple[int, ...], ...]


def signed_rank_p(differences: Floats) -> float:
    """Return the two-sided p-value of Wilcoxon's signed rank test of differences, float64 [tasks].

    Exact up to 50 of them, ties included, by counting the rank sums of all signs: SciPy draws or enumerates
    them one by one where ranks tie, a third of a second a pair. Zeros are dropped (Wilcoxon's own rule).
    """
    from scipy.stats import rankdata, wilcoxon

    kept = differences[differences != 0]
    if not len(kept):
        return 1.0
    if len(kept) > _EXACT_UP_TO:
        return float(wilcoxon(kept).pvalue)
    doubled = np.rint(2 * rankdata(np.abs(kept))).astype(np.int64)  # shared ranks are halves
    ways = np.ones(1)
    for rank in doubled:
        ways = np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])
    share = ways / ways.sum()
    observed = int(doubled[kept > 0].sum())
    tail = min(share[: observed + 1].sum(), share[observed:].sum())
    return float(min(1.0, 2 * tail))


def wilcoxon_cliques(values: Floats, level: float = 0.05) -> Cliques | None:
    """Return which backbones cannot be told apart over many tasks, or None with fewer than eight tasks.

    Wilcoxon's signed rank test of every pair over tasks, Holm's correction, and maximal groups in rank order
    without a significant pair (Benavoli, Corani and Mangili 2016): not Nemenyi's test, whose verdict on a
    pair depends on who else takes part. values: [tasks, p].
    """
    tasks, count = values.shape
    if tasks < _WILCOXON_TASKS or count < 2:
        return None
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    raw = [signed_rank_p(values[:, i] - values[:, j]) for i, j in pairs]
    p = np.ones((count, count))
    for (i, j), adjusted in zip(pairs, holm(raw), strict=True):
        p[i, j] = p[j, i] = adjusted
    ranks = mean_ranks(values)
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[int, ...]] = []
    for first in range(count):
        last = first
        while (
            last + 1 < count and (p[np.ix_(order[first : last + 2], order[first : last + 2])] >= level).all()
        ):
            last += 1
        if last > first and not any(set(order[first : last + 1].tolist()) <= set(one) for one in groups):
            groups.append(tuple(int(one) for one in order[first : last + 1]))
    return Cliques(ranks, p, tuple(groups))
