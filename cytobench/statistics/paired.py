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
from cytobench.statistics.weighted import Scored, resamplings, swaps, weighted_metric

Floats = npt.NDArray[np.float64]

PERMUTATIONS = 9_999
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """A minus B on one metric (for ECE, Brier and log loss lower is better, so A is better below 0).

    `difference`: of the pooled scores; `interval`: paired, over groups; `p`: two-sided, of the paired
    permutation test over groups (`sign_flip_test`), NaN with too few; `effect`: mean over standard deviation
    of the groups' differences (Cohen's d_z); `detectable`: the true difference that one such test finds with
    80 % power; `groups`: their number; `better`, `worse`: groups in which A is right more, or less, often, or
    its rows score more, or less, where the metric is a mean of what single rows score.
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
    method = method_of(a)
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
    more = (_merit(name, a) - _merit(name, b)).round(9)
    return Comparison(
        difference,
        found,
        sign_flip_test(difference + pulls, seed=seed),
        difference / spread if spread > 0 else float("nan"),
        detectable_difference(error, count - 1),
        count,
        int((more > 0).sum()),
        int((more < 0).sum()),
    )


def _merit(name: str, scored: Scored) -> Floats:
    """Return how many predictions are right in each group, or what its rows score together: float64 [G]."""
    if name in scored.scores:
        total: Floats = scored.class_sums(name).total.sum(axis=1)
        return total
    hits: Floats = np.trace(scored.totals.confusion, axis1=1, axis2=2)
    return hits


def _value(name: str, scored: Scored) -> float:
    return float(weighted_metric(name, scored, np.ones((1, scored.n_groups)))[0])


def sign_flip_test(contributions: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Return the two-sided p-value of the hypothesis that the groups' contributions have mean 0.

    Contributions are difference + u_g: the paired difference as group g alone would have it, jackknife
    pseudo-values. Their signs are flipped, as if A and B had changed hands in some groups, and the mean over
    its standard error is computed anew each time (the studentised form keeps its level where A and B err on
    different classes: Janssen 1997). All 2^G patterns if they are no more than `permutations`, else so many
    at random with the observed one counted (Phipson and Smyth 2010). NaN if nothing is defined.
    """
    if not np.isfinite(contributions).all():
        return float("nan")
    count = len(contributions)
    observed = np.abs(studentised(np.ones((1, count)), contributions[:, None]))[0, 0]
    hits = total = 0
    for signs in swaps(count, permutations, np.random.default_rng(seed)):
        drawn = np.abs(studentised(signs, contributions[:, None]))[:, 0]
        hits += int((drawn >= observed - 1e-9).sum())
        total += len(signs)
    return hits / total if 2**count <= permutations else (hits + 1) / (total + 1)


def studentised(signs: Floats, contributions: Floats) -> Floats:
    """Return mean / standard error of contributions [G, m] under sign patterns [B, G]: float64 [B, m].

    Where all contributions are alike the error is 0 and the result 0 or infinite.
    """
    count = len(contributions)
    mean = signs @ contributions / count
    squares = np.square(contributions).sum(0)
    variance = np.maximum(squares - count * np.square(mean), 0.0) / (count - 1) / count
    variance[variance <= 1e-14 * np.maximum(squares, 1e-300)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.where(np.abs(mean) > 1e-12, mean / np.sqrt(variance), 0.0)
    return ratio


def detectable_difference(
    error: float, df: int, power: float = POWER, critical: float | None = None
) -> float:
    """Return the true difference that a two-sided test finds with `power`: (critical + t_power) * SE.

    critical: what the difference over its error must exceed; default: t_0.975, one test at 5 %.
    """
    from scipy.stats import t

    limit = float(t.ppf((1.0 + CONFIDENCE) / 2.0, df)) if critical is None else critical
    return float((limit + t.ppf(power, df)) * error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values in the given order; NaN stays NaN and counts as no test."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    adjusted = np.full(len(p), np.nan)
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(one) for one in adjusted]
