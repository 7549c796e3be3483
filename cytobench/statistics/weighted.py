"""Every metric under many weightings of the groups at once: what resampling and linearising are made of.

A weighting gives each group (patient, slide, block) a number: how often it was drawn. With all of them 1 the
metrics equal those of `cytobench.evaluation.metrics`, which says what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from os import cpu_count

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LABEL_METRICS = ("balanced_accuracy", "accuracy", "macro_f1", "weighted_f1", "cohen_kappa")
CALIBRATION_METRICS = ("ece", "brier", "log_loss")
RANKING_METRICS = ("auroc", "average_precision")
_BINS = 15
_CELLS_AT_ONCE = 400_000


@dataclass(frozen=True)
class Scored:
    """Predictions of one run with the groups they come from.

    `labels`: int64 [n]; `probabilities`: float64 [n, K]; `fold`: integers [n]; `group`: int64 [n], codes
    0..G-1; `pooled_ranking`: whether ranking metrics compare rows of different folds.
    """

    labels: Ints
    probabilities: Floats
    fold: Ints
    group: Ints
    n_groups: int
    pooled_ranking: bool = False

    @cached_property
    def totals(self) -> Totals:
        """What the metrics of labels and of calibration are sums of, by group."""
        return _totals(self)


@dataclass(frozen=True)
class Totals:
    """Sums over the rows of each group.

    `confusion`: [G, K, K], true classes in rows; `bins`: [G, bins], correct minus confidence by confidence;
    `squares`, `surprise`, `rows`: [G], squared errors, negative log probabilities, numbers of rows.
    """

    confusion: Floats
    bins: Floats
    squares: Floats
    surprise: Floats
    rows: Floats

    def weighted(self, weights: Floats) -> Totals:
        """Return the sums over groups under weights [B, G]: the same with B in place of G."""
        flat = self.confusion.reshape(len(self.rows), -1)
        return Totals(
            (weights @ flat).reshape(len(weights), *self.confusion.shape[1:]),
            weights @ self.bins,
            weights @ self.squares,
            weights @ self.surprise,
            weights @ self.rows,
        )

    def nudged(self, by: float) -> Totals:
        """Return the sums over all groups with one group's weight changed by `by`: a row for each group."""
        changed = {name: one.sum(0) + by * one for name, one in vars(self).items()}
        return Totals(**changed)

    def metric(self, name: str) -> Floats:
        """Return a metric of labels or calibration for each of the B sums, float64 [B]; NaN if undefined."""
        if name in LABEL_METRICS:
            return _label_metric(name, self.confusion)
        if name == "ece":
            error: Floats = np.abs(self.bins).sum(1) / self.rows
            return error
        sums = {"brier": self.squares, "log_loss": self.surprise}[name]
        ratio: Floats = sums / self.rows
        return ratio


def _totals(scored: Scored) -> Totals:
    n, n_classes = scored.probabilities.shape
    rows = np.arange(n)
    predicted = scored.probabilities.argmax(1)
    confusion = np.zeros((scored.n_groups, n_classes, n_classes))
    np.add.at(confusion, (scored.group, scored.labels, predicted), 1.0)
    confidence = scored.probabilities[rows, predicted]
    index = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    bins = np.zeros((scored.n_groups, _BINS))
    np.add.at(bins, (scored.group, index), (predicted == scored.labels) - confidence)
    truth = np.eye(n_classes)[scored.labels]
    squares = np.square(scored.probabilities - truth).sum(1)
    true = np.clip(scored.probabilities[rows, scored.labels], np.finfo(np.float64).eps, None)

    def by_group(values: Floats | None) -> Floats:
        sums: Floats = np.bincount(scored.group, values, minlength=scored.n_groups).astype(np.float64)
        return sums

    return Totals(confusion, bins, by_group(squares), by_group(-np.log(true)), by_group(None))


def _label_metric(name: str, matrix: Floats) -> Floats:
    support, called = matrix.sum(2), matrix.sum(1)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    total = support.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy: Floats = hits.sum(1) / total
        if name == "accuracy":
            return accuracy
        if name == "balanced_accuracy":
            return _mean_known(hits / support)
        if name == "cohen_kappa":
            chance = (support * called).sum(1) / total**2
            kappa: Floats = np.where(chance == 1.0, np.nan, (accuracy - chance) / (1.0 - chance))
            return kappa
        f1 = 2 * hits / (support + called)
        if name == "macro_f1":
            return _mean_known(f1)
        weighted: Floats = np.nansum(f1 * support, axis=1) / total
        return weighted


def _mean_known(values: Floats) -> Floats:
    """Return the mean of each row over what is defined."""
    known = ~np.isnan(values)
    mean: Floats = np.where(known, values, 0.0).sum(1) / known.sum(1)
    return mean


def weighted_metric(name: str, scored: Scored, weights: Floats) -> Floats:
    """Return a metric under each weighting of the groups: weights float64 [B, G] -> float64 [B].

    NaN where it is undefined: no row, or for ranking metrics no pair of a positive and a negative.
    """
    if name in RANKING_METRICS:
        return _ranking(name, scored, weights)
    return scored.totals.weighted(weights).metric(name)


def nudged_metric(name: str, scored: Scored, by: float) -> Floats:
    """Return a metric with the weight of one group changed from 1 to 1 + by, for each group: float64 [G]."""
    if name not in RANKING_METRICS:
        return scored.totals.nudged(by).metric(name)
    count = scored.n_groups
    step = max(1, _CELLS_AT_ONCE // count)
    found = []
    for first in range(0, count, step):
        weights = np.ones((min(step, count - first), count))
        weights[np.arange(len(weights)), np.arange(first, first + len(weights))] += by
        found.append(_ranking(name, scored, weights))
    return np.concatenate(found)


def weighted_metrics(names: Sequence[str], scored: Scored, weights: Floats) -> dict[str, Floats]:
    """Return several metrics under each weighting of the groups, float64 [B] each."""
    totals = scored.totals.weighted(weights)
    return {
        name: _ranking(name, scored, weights) if name in RANKING_METRICS else totals.metric(name)
        for name in names
    }


def _ranking(name: str, scored: Scored, weights: Floats) -> Floats:
    """Return the macro one-vs-rest metric over the classes for which it is defined, float64 [B]."""
    n_classes = scored.probabilities.shape[1]
    codes = range(n_classes) if n_classes > 2 else (1,)
    measure = _auroc if name == "auroc" else _average_precision
    values = np.stack([_in_portions(measure, _Ordered.of(scored, code), weights) for code in codes], axis=1)
    with np.errstate(invalid="ignore"):
        return _mean_known(values)


def _in_portions(measure: Callable[[_Ordered, Floats], Floats], ordered: _Ordered, weights: Floats) -> Floats:
    """Return the measure for all weights, some at a time so that they fit the cache, on all cores."""
    step = max(1, _CELLS_AT_ONCE // max(1, len(ordered.group)))
    portions = [weights[first : first + step] for first in range(0, len(weights), step)]
    if len(portions) == 1:
        return measure(ordered, weights)
    with ThreadPoolExecutor(min(len(portions), cpu_count() or 1)) as pool:
        return np.concatenate(list(pool.map(lambda one: measure(ordered, one), portions)))


@dataclass(frozen=True)
class _Ordered:
    """The rows of a run by fold and, within it, by falling score of one class.

    `group`, `positive`: [n] in that order; `last`: [P], for each positive the last row of its fold whose
    score is not below its own; `above`: [P], the first row whose score equals its own; `start`, `end`: [P],
    first row of its fold and first after it; `cuts`: where positives of a fold begin.
    """

    group: Ints
    positive: Ints
    last: Ints
    above: Ints
    start: Ints
    end: Ints
    cuts: Ints

    @classmethod
    def of(cls, scored: Scored, code: int) -> _Ordered:
        fold = np.zeros_like(scored.fold) if scored.pooled_ranking else scored.fold
        score = -scored.probabilities[:, code]
        order = np.lexsort((score, fold))
        fold, score = fold[order], score[order]
        new_fold = np.r_[True, fold[1:] != fold[:-1]]
        new_score = new_fold | np.r_[True, score[1:] != score[:-1]]
        positive = np.flatnonzero(scored.labels[order] == code)
        begins, folds = np.flatnonzero(new_score), np.flatnonzero(new_fold)
        block, part = (np.cumsum(one)[positive] - 1 for one in (new_score, new_fold))
        ends, fold_ends = np.r_[begins[1:], len(order)], np.r_[folds[1:], len(order)]
        cuts = np.flatnonzero(np.r_[True, part[1:] != part[:-1]]) if len(part) else np.zeros(0, np.int64)
        return cls(
            scored.group[order],
            positive,
            ends[block] - 1,
            begins[block],
            folds[part],
            fold_ends[part],
            cuts,
        )


def _sums(weights: Floats, ordered: _Ordered) -> tuple[Floats, Floats, Floats]:
    """Return the weights of positives [B, P], and sums of all and of positive rows before each [B, n+1]."""
    rows = weights[:, ordered.group]
    mine = rows[:, ordered.positive]
    everything = np.zeros((len(weights), rows.shape[1] + 1))
    np.cumsum(rows, axis=1, out=everything[:, 1:])
    only = np.zeros_like(rows)
    only[:, ordered.positive] = mine
    positives = np.zeros_like(everything)
    np.cumsum(only, axis=1, out=positives[:, 1:])
    return mine, everything, positives


def _by_fold(values: Floats, ordered: _Ordered) -> Floats:
    return np.add.reduceat(values, ordered.cuts, axis=1)


def _auroc(ordered: _Ordered, weights: Floats) -> Floats:
    if not len(ordered.positive):
        return np.full(len(weights), np.nan)
    mine, everything, positives = _sums(weights, ordered)
    negatives = everything - positives
    below = negatives[:, ordered.end] - negatives[:, ordered.last + 1]
    tied = negatives[:, ordered.last + 1] - negatives[:, ordered.above]
    of_fold = negatives[:, ordered.end] - negatives[:, ordered.start]
    return _ratio((mine * (below + tied / 2)).sum(1), (mine * of_fold).sum(1))


def _average_precision(ordered: _Ordered, weights: Floats) -> Floats:
    if not len(ordered.positive):
        return np.full(len(weights), np.nan)
    mine, everything, positives = _sums(weights, ordered)
    hits = positives[:, ordered.last + 1] - positives[:, ordered.start]
    taken = everything[:, ordered.last + 1] - everything[:, ordered.start]
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    of_fold = everything[:, ordered.end] - everything[:, ordered.start]
    count = _by_fold(mine, ordered)
    first = ordered.cuts
    negative = of_fold[:, first] - count
    each = np.divide(_by_fold(mine * precision, ordered), count, out=np.zeros_like(count), where=count > 0)
    pairs = count * negative
    return _ratio((pairs * each).sum(1), pairs.sum(1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def resamplings(n_groups: int, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` bootstrap samples of groups as weights, float64 [count, G]: how often each was drawn."""
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=count)
    return drawn.astype(np.float64)


def swaps(n_groups: int, count: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield sign patterns of groups, float64 [b, G] of -1 and 1: all 2^G if they are few, else `count`."""
    if 2**n_groups <= count:
        numbers = np.arange(2**n_groups)[:, None]
        yield (1 - 2 * ((numbers >> np.arange(n_groups)) & 1)).astype(np.float64)
        return
    step = max(1, _CELLS_AT_ONCE // n_groups)
    for first in range(0, count, step):
        size = (min(step, count - first), n_groups)
        yield (1 - 2 * rng.integers(0, 2, size)).astype(np.float64)
