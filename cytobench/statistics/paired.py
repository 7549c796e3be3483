"""Is one backbone better than another on the same cells? Differences, tests, and what could be found."""

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
    method_of,
    standard_error,
)
from cytobench.statistics.weighted import RANKING_METRICS, Scored, resamplings, swaps, weighted_metric

Floats = npt.NDArray[np.float64]

PERMUTATIONS = 9_999
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """A minus B on one metric (for ECE, Brier and log loss lower is better, so A is better below 0).

    `difference`: of the pooled scores; `interval`: paired, over groups; `p`: two-sided, of the paired
    permutation test over groups, NaN with too few; `effect`: mean over standard deviation of the groups'
    differences (Cohen's d_z); `detectable`: the true difference that this task would have found with 80 %
    power; `groups`: their number; `better`, `worse`: groups in which A is right more, or less, often than B.
    """

    difference: float
    interval: Interval
    p: float
    effect: float
    detectable: float
    groups: int
    better: int
    worse: int


def compare(name: str, a: Scored, b: Scored, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Return how much better `a` is than `b` on the same rows in the same order."""
    count = a.n_groups
    difference = float(_value(name, a) - _value(name, b))
    method = method_of(count)
    if method == "too few groups":
        nothing = Interval(np.nan, np.nan, np.nan, count - 1, method)
        return Comparison(difference, nothing, np.nan, np.nan, np.nan, count, 0, 0)
    pulls = influence(name, a) - influence(name, b)
    if method == "bootstrap":
        weights = resamplings(count, resamples, np.random.default_rng(seed))
        drawn = weighted_metric(name, a, weights) - weighted_metric(name, b, weights)
        found = from_bootstrap(drawn, count)
    else:
        found = from_influence(difference, pulls)
    error = float(standard_error(pulls))
    spread = error * np.sqrt(count)
    more = (_hits(a) - _hits(b)).round()
    return Comparison(
        difference,
        found,
        permutation_test(name, a, b, seed=seed),
        difference / spread if spread > 0 else float("nan"),
        detectable_difference(error, count - 1),
        count,
        int((more > 0).sum()),
        int((more < 0).sum()),
    )


def _hits(scored: Scored) -> Floats:
    """Return how many predictions are right in each group, float64 [G]."""
    hits: Floats = np.trace(scored.totals.confusion, axis1=1, axis2=2)
    return hits


def _value(name: str, scored: Scored) -> float:
    return float(weighted_metric(name, scored, np.ones((1, scored.n_groups)))[0])


def permutation_test(
    name: str, a: Scored, b: Scored, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Return the two-sided p-value of the hypothesis that a and b are alike within every group.

    Metrics of labels and of calibration: all predictions of a group change hands between a and b, and the
    metrics are computed anew. Ranking metrics, in which rows of different groups meet and scores of two
    models share no scale: the groups' contributions difference + u_g change sign. All 2^G patterns if they
    are no more than `permutations`, else so many at random, with the observed one counted (Phipson and Smyth
    2010). NaN where the metric is undefined.
    """
    rng = np.random.default_rng(seed)
    observed = abs(_value(name, a) - _value(name, b))
    if not np.isfinite(observed):
        return float("nan")
    hits = total = 0
    contribution = None
    if name in RANKING_METRICS:
        contribution = _value(name, a) - _value(name, b) + influence(name, a) - influence(name, b)
    for signs in swaps(a.n_groups, permutations, rng):
        if contribution is not None:
            drawn = signs @ contribution / a.n_groups
        else:
            keep = (signs + 1.0) / 2.0
            drawn = _swapped(name, a, b, keep) - _swapped(name, b, a, keep)
        hits += int((np.abs(drawn) >= observed - 1e-12).sum())
        total += len(signs)
    exact = 2**a.n_groups <= permutations
    return hits / total if exact else (hits + 1) / (total + 1)


def _swapped(name: str, own: Scored, other: Scored, keep: Floats) -> Floats:
    """Return the metric of `own` when groups with keep = 0 carry the predictions of `other`, [B]."""
    mine, theirs = own.totals.weighted(keep), other.totals.weighted(1.0 - keep)
    both = {field: getattr(mine, field) + getattr(theirs, field) for field in vars(mine)}
    return type(mine)(**both).metric(name)


def detectable_difference(error: float, df: int, power: float = POWER) -> float:
    """Return the true difference that a two-sided 5 % test finds with `power`: (t_0.975 + t_power) * SE."""
    from scipy.stats import t

    return float((t.ppf((1.0 + CONFIDENCE) / 2.0, df) + t.ppf(power, df)) * error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values in the given order; NaN stays NaN and counts as no test."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    adjusted = np.full(len(p), np.nan)
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(one) for one in adjusted]
