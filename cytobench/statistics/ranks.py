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
from cytobench.statistics.weighted import Scored, resamplings, weighted_metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_WILCOXON_TASKS = 8
"""Signed ranks over fewer tasks cannot reach significance after correction, whatever the scores."""


@dataclass(frozen=True)
class Contest:
    """p runs on the rows of one task, and how their scores vary together over samples of groups.

    `values`: float64 [p]; `intervals`: of each value alone; `errors`: float64 [p, p], standard errors of all
    differences; `drawn`: float64 [B, p, p], differences of the values over samples of groups, centred and
    divided by `errors`.
    """

    values: Floats
    intervals: tuple[Interval, ...]
    errors: Floats
    drawn: Floats

    def of(self, places: Sequence[int]) -> Contest:
        """Return the contest of some of the runs."""
        both = np.ix_(places, places)
        chosen = tuple(self.intervals[place] for place in places)
        return Contest(self.values[list(places)], chosen, self.errors[both], self.drawn[:, both[0], both[1]])


def contest(
    name: str, runs: Sequence[Scored], *, resamples: int = RESAMPLES, seed: int = 0
) -> Contest | None:
    """Return how the runs' differences vary, or None where there are too few groups.

    From 40 groups on the values vary by the cluster bootstrap; below, by draws of a multivariate t with G - 1
    degrees of freedom and the covariance of the groups' influences (Hothorn, Bretz and Westfall 2008). The
    same `seed` draws the same groups: contests of one task under several probes belong together.
    """
    count, method = runs[0].n_groups, method_of(runs[0].n_groups)
    if method == "too few groups":
        return None
    rng = np.random.default_rng(seed)
    ones = np.ones((1, count))
    values = np.array([float(weighted_metric(name, run, ones)[0]) for run in runs])
    pulls = np.stack([influence(name, run) for run in runs], axis=1)  # [G, p]
    errors = standard_error(pulls[:, :, None] - pulls[:, None, :])
    if method == "bootstrap":
        weights = resamplings(count, resamples, rng)
        moved = np.stack([weighted_metric(name, run, weights) for run in runs], axis=1) - values
        alone = [from_bootstrap(moved[:, i] + values[i], count) for i in range(len(runs))]
    else:
        alone = [from_influence(values[i], pulls[:, i], limits_of(name)) for i in range(len(runs))]
        normal = rng.standard_normal((resamples, count))
        scale = np.sqrt(rng.chisquare(count - 1, resamples) / (count - 1))
        moved = normal @ pulls / np.sqrt(count * (count - 1)) / scale[:, None]
    moved = np.nan_to_num(moved)
    differences = moved[:, :, None] - moved[:, None, :]
    drawn = np.divide(differences, errors, out=np.zeros_like(differences), where=errors > 0)
    sure = tuple(never_certain(name, float(values[i]), one, count) for i, one in enumerate(alone))
    return Contest(values, sure, errors, drawn)


def critical_value(contests: Sequence[Contest], confidence: float = CONFIDENCE) -> float:
    """Return what no studentised difference exceeds with `confidence`, over all pairs of all contests."""
    largest = np.max([np.abs(one.drawn).max(axis=(1, 2)) for one in contests], axis=0)
    return float(np.quantile(largest, confidence))


def rank_intervals(one: Contest, critical: float) -> Ints:
    """Return the lowest and highest rank that each run may have, int64 [p, 2], 1 is best.

    A run's lowest rank is 1 + the number of runs that are significantly better, its highest p - the number
    that are significantly worse (Mogstad, Romano, Shaikh and Wilhelm 2024). With the critical value of all
    pairs the true ranks of all runs lie in their intervals together with 95 % confidence.
    """
    difference = one.values[:, None] - one.values[None, :]
    beats = difference > critical * one.errors
    beats &= difference > 0
    return np.stack([1 + beats.sum(0), len(one.values) - beats.sum(1)], axis=1).astype(np.int64)


def mean_ranks(values: Floats) -> Floats:
    """Return the mean rank of each backbone over tasks, values [tasks, p] -> [p]; ties share their mean."""
    from scipy.stats import rankdata

    ranks: Floats = rankdata(-values, axis=1).mean(0)
    return ranks


def tied_for_first(intervals: Floats) -> npt.NDArray[np.bool_]:
    """Return who may be first: no other's highest (mean) rank lies below its lowest, [p, 2] -> bool [p]."""
    tied: npt.NDArray[np.bool_] = intervals[:, 0] <= intervals[:, 1].min()
    return tied


@dataclass(frozen=True)
class Cliques:
    """Mean ranks over tasks, Wilcoxon-Holm p-values of all pairs [p, p], and groups not told apart."""

    ranks: Floats
    p: Floats
    groups: tuple[tuple[int, ...], ...]


def wilcoxon_cliques(values: Floats, level: float = 0.05) -> Cliques | None:
    """Return which backbones cannot be told apart over many tasks, or None with fewer than eight tasks.

    Wilcoxon's signed rank test of every pair over tasks, Holm's correction, and maximal groups in rank order
    without a significant pair (Benavoli, Corani and Mangili 2016): not Nemenyi's test, whose verdict on a
    pair depends on who else takes part. values: [tasks, p].
    """
    from scipy.stats import wilcoxon

    from cytobench.statistics.paired import holm

    tasks, count = values.shape
    if tasks < _WILCOXON_TASKS or count < 2:
        return None
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    raw = [
        float(wilcoxon(values[:, i], values[:, j]).pvalue) if np.any(values[:, i] != values[:, j]) else 1.0
        for i, j in pairs
    ]
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
