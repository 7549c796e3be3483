"""Confidence intervals of a score over groups, and of the difference between two scores on the same groups.

They are conditional on the fitted models: what another sample of patients would change, not another training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cytobench.statistics.weighted import Scored, nudged_metric, resamplings, weighted_metrics

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2_000
MANY_GROUPS, FEW_GROUPS = 40, 10
"""From so many groups on the cluster bootstrap is used; below so few there is neither interval nor test."""
_FEW_OF_A_CLASS = 3
_RANGES = {
    "cohen_kappa": (-1.0, 1.0),
    "log_loss": (0.0, np.inf),
    "brier": (0.0, 2.0),
    "hierarchical_distance": (0.0, np.inf),
}


@dataclass(frozen=True)
class Interval:
    """An interval at 95 % confidence: NaN bounds where there are too few groups or nothing is defined.

    `se`: the standard error; `df`: its degrees of freedom, groups - 1.
    """

    low: float
    high: float
    se: float
    df: int
    method: Literal["bootstrap", "jackknife", "too few groups"]


def method_of(scored: Scored) -> Literal["bootstrap", "jackknife", "too few groups"]:
    """Return how intervals over the groups of `scored` are made.

    A class that lives in one or two groups says nothing about other groups of it: too few, as few groups are.
    """
    if scored.n_groups < FEW_GROUPS or scored.groups_of_rarest_class < _FEW_OF_A_CLASS:
        return "too few groups"
    return "bootstrap" if scored.n_groups >= MANY_GROUPS else "jackknife"


def influence(name: str, scored: Scored) -> Floats:
    """Return how much each group pulls a metric, float64 [G], summing to 0.

    u_g = (G - 1) (mean of all m_-h - m_-g), m_-g being the metric without group g: the jackknife (Tukey
    1958). A metric that is undefined without a group counts as unchanged by it.
    """
    without = nudged_metric(name, scored, -1.0)
    known = np.isfinite(without)
    middle = without[known].mean() if known.any() else np.nan
    pull: Floats = (scored.n_groups - 1.0) * np.where(known, middle - without, 0.0)
    return pull


def standard_error(pulls: Floats) -> Floats:
    """Return the jackknife standard error behind influences `pulls` [G, ...]: [...]."""
    count = len(pulls)
    error: Floats = np.sqrt(np.square(pulls).sum(0) / (count * (count - 1)))
    return error


def interval(name: str, scored: Scored, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the interval of a metric over the groups of `scored`."""
    return intervals([name], scored, resamples=resamples, seed=seed)[name]


def intervals(
    names: list[str], scored: Scored, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the intervals of several metrics over the groups of `scored`, on the same resamples."""
    count, method = scored.n_groups, method_of(scored)
    if method == "too few groups":
        return {name: Interval(np.nan, np.nan, np.nan, count - 1, method) for name in names}
    values = weighted_metrics(names, scored, np.ones((1, count)))
    if method == "bootstrap":
        weights = resamplings(count, resamples, np.random.default_rng(seed))
        drawn = weighted_metrics(names, scored, weights)
        found = {name: from_bootstrap(drawn[name], count) for name in names}
    else:
        found = {
            name: from_influence(float(values[name][0]), influence(name, scored), limits_of(name))
            for name in names
        }
    return {name: never_certain(name, float(values[name][0]), found[name], count) for name in names}


def from_bootstrap(drawn: Floats, n_groups: int) -> Interval:
    """Return the expanded percentile interval of bootstrap values [B] (Hesterberg 2015).

    Percentile intervals are too narrow by the factor sqrt((G - 1) / G) and use normal instead of t quantiles;
    the expanded ones take percentiles a little further out.
    """
    from scipy.stats import norm, t

    known = drawn[np.isfinite(drawn)]
    df = n_groups - 1
    if len(known) < 2:
        return Interval(np.nan, np.nan, np.nan, df, "bootstrap")
    tail = (1.0 - CONFIDENCE) / 2.0
    outer = float(norm.cdf(np.sqrt(n_groups / df) * t.ppf(tail, df)))
    low, high = np.quantile(known, [outer, 1.0 - outer])
    return Interval(float(low), float(high), float(known.std(ddof=1)), df, "bootstrap")


def from_influence(value: float, pulls: Floats, limits: tuple[float, float] | None = None) -> Interval:
    """Return value -+ t(G - 1) * jackknife standard error.

    limits: the metric's lowest and highest value; the interval is then symmetric on the logit of its place
    between them, or on the logarithm where there is no highest: near a limit it leans away from it.
    """
    from scipy.stats import t

    df = len(pulls) - 1
    error = float(standard_error(pulls))
    reach = float(t.ppf((1.0 + CONFIDENCE) / 2.0, df)) * error
    if limits is None:
        return Interval(value - reach, value + reach, error, df, "jackknife")
    low, high = _bounded(value, reach, *limits)
    return Interval(low, high, error, df, "jackknife")


def _bounded(value: float, reach: float, lowest: float, highest: float) -> tuple[float, float]:
    if not lowest < value < highest:
        return value, value
    if np.isinf(highest):
        factor = float(np.exp(reach / (value - lowest)))
        return lowest + (value - lowest) / factor, lowest + (value - lowest) * factor
    span = highest - lowest
    share = (value - lowest) / span
    odds, slope = np.log(share / (1.0 - share)), reach / span / (share * (1.0 - share))
    low, high = (lowest + span / (1.0 + np.exp(-(odds + sign * slope))) for sign in (-1.0, 1.0))
    return float(low), float(high)


def limits_of(name: str) -> tuple[float, float]:
    """Return the lowest and highest value a metric can have."""
    return _RANGES.get(name, (0.0, 1.0))


def never_certain(name: str, value: float, found: Interval, n_groups: int) -> Interval:
    """Return an interval that is no single point at a metric's limit: another group might have disagreed.

    With n groups that all agree the other end lies where so much agreement has probability 2.5 % (Clopper and
    Pearson 1934).
    """
    low, high = limits_of(name)
    if found.high > found.low or value not in (low, high) or not np.isfinite(high):
        return found
    reach = (high - low) * (1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / n_groups))
    return Interval(max(low, value - reach), min(high, value + reach), found.se, found.df, found.method)
