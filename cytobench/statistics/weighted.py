"""Every metric under many weightings of the groups at once: what resampling and linearising are made of.

A weighting gives each group (patient, slide, block) a number: how often it was drawn. With all of them 1 the
metrics equal those of `cytobench.evaluation.metrics`, which says what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from os import cpu_count

import numpy as np
import numpy.typing as npt

from cytobench.statistics.class_means import ClassSums

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
    0..G-1; `pooled_ranking`: whether ranking metrics compare rows of different folds; `scores`: by name what
    single rows score, float64 [n]: metrics too, as means within classes, then over classes.
    """

    labels: Ints
    probabilities: Floats
    fold: Ints
    group: Ints
    n_groups: int
    pooled_ranking: bool = False
    scores: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def groups_of_rarest_class(self) -> int:
        """The number of groups in which the least spread of the classes occurs."""
        pairs = np.unique(np.stack([self.labels, self.group]), axis=1)[0]
        return int(np.unique(pairs, return_counts=True)[1].min())

    @cached_property
    def orders(self) -> tuple[_Ordered, ...]:
        """The rows by fold and falling score of each class that is ranked."""
        return tuple(_Ordered.of(self, code) for code in self.ranked_classes)

    @property
    def ranked_classes(self) -> Sequence[int]:
        """The classes that ranking metrics ask for: all, or the last of two."""
        n_classes = self.probabilities.shape[1]
        return range(n_classes) if n_classes > 2 else (1,)

    @property
    def ranking_fold(self) -> Ints:
        """The fold within which each row is ranked, [n]: its own, or one for all where they are pooled."""
        return np.zeros_like(self.fold) if self.pooled_ranking else self.fold

    @cached_property
    def totals(self) -> Totals:
        """What the metrics of labels and of calibration are sums of, by group."""
        return _totals(self)

    def class_sums(self, name: str) -> ClassSums:
        """Return the sums behind a metric named in `scores`."""
        shape = self.n_groups, self.probabilities.shape[1]
        return ClassSums.of(self.scores[name], self.labels, self.group, shape)


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
    return weighted_metrics([name], scored, weights)[name]


def weighted_metrics(names: Sequence[str], scored: Scored, weights: Floats) -> dict[str, Floats]:
    """Return several metrics under each weighting of the groups, float64 [B] each."""
    ranked = [name for name in names if name in RANKING_METRICS]
    found = _ranking(ranked, scored, weights) if ranked else {}
    found |= {name: scored.class_sums(name).weighted(weights) for name in names if name in scored.scores}
    others = [name for name in names if name not in found]
    totals = scored.totals.weighted(weights) if others else None
    return {name: found[name] if totals is None or name in found else totals.metric(name) for name in names}


def nudged_metric(name: str, scored: Scored, by: float) -> Floats:
    """Return a metric with the weight of one group changed from 1 to 1 + by, for each group: float64 [G]."""
    if name in scored.scores:
        return scored.class_sums(name).nudged(by)
    if name not in RANKING_METRICS:
        return scored.totals.nudged(by).metric(name)
    if name == "auroc":
        return nudged_auroc(scored, by)
    count = scored.n_groups
    step = max(1, _CELLS_AT_ONCE // count)
    found = []
    for first in range(0, count, step):
        weights = np.ones((min(step, count - first), count))
        weights[np.arange(len(weights)), np.arange(first, first + len(weights))] += by
        found.append(_ranking([name], scored, weights)[name])
    return np.concatenate(found)


def _ranking(names: Sequence[str], scored: Scored, weights: Floats) -> dict[str, Floats]:
    """Return macro one-vs-rest metrics over the classes for which they are defined, float64 [B] each."""
    values = np.stack([_in_portions(names, ordered, weights) for ordered in scored.orders])
    with np.errstate(invalid="ignore"):
        return {name: _mean_known(values[:, place].T) for place, name in enumerate(names)}


def _in_portions(names: Sequence[str], ordered: _Ordered, weights: Floats) -> Floats:
    """Return measures under all weights, [names, B]: some at a time, to fit the cache, on all cores."""
    if not len(ordered.positive):
        return np.full((len(names), len(weights)), np.nan)
    step = max(1, _CELLS_AT_ONCE // max(1, len(ordered.group)))
    portions = [weights[first : first + step] for first in range(0, len(weights), step)]
    if len(portions) == 1:
        return _measured(names, ordered, weights)
    with ThreadPoolExecutor(min(len(portions), cpu_count() or 1)) as pool:
        parts = pool.map(lambda one: _measured(names, ordered, one), portions)
        return np.concatenate(list(parts), axis=1)


def nudged_auroc(scored: Scored, by: float) -> Floats:
    """Return `nudged_metric` of AUROC in the time of a sort, where recounting would take groups x rows.

    A changed weight 1 + b of a group changes the sum over pairs by b times its pairs with one end in the
    group, and pairs within it, counted at both ends, by another b^2.
    """
    values = np.stack([_nudged_area(scored, code, by) for code in scored.ranked_classes])
    with np.errstate(invalid="ignore"):
        return _mean_known(values.T)


def _nudged_area(scored: Scored, code: int, by: float) -> Floats:
    positive, score = scored.labels == code, scored.probabilities[:, code]
    fold = scored.ranking_fold
    within = fold.astype(np.int64) * scored.n_groups + scored.group

    def summed(each: Floats, of: npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(scored.group[of], each[of], minlength=scored.n_groups).astype(np.float64)

    mine = _pairs(fold, score, positive)
    theirs = _pairs(fold, -score, ~positive)
    own = _pairs(within, score, positive)
    won, pairs = (
        mine[i][positive].sum()
        + by * (summed(mine[i], positive) + summed(theirs[i], ~positive))
        + by**2 * summed(own[i], positive)
        for i in (0, 1)
    )
    return _ratio(won, pairs)


def _pairs(part: Ints, score: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return how many negatives of its part score less than each positive row (ties half), of how many."""
    order = np.lexsort((score, part))
    part, score = part[order], score[order]
    new_part = np.r_[True, part[1:] != part[:-1]]
    new_score = new_part | np.r_[True, score[1:] != score[:-1]]
    before = np.r_[0.0, np.cumsum(~positive[order])]
    won, pairs = np.empty(len(order)), np.empty(len(order))
    below, up_to = (before[place] for place in _blocks(new_score))
    first, last = (before[place] for place in _blocks(new_part))
    won[order], pairs[order] = (below + up_to) / 2 - first, last - first
    return won, pairs


def _blocks(begins: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return for each row the first row of its block and the first row after it, both [n]."""
    block, starts = np.cumsum(begins) - 1, np.flatnonzero(begins)
    return starts[block], np.r_[starts[1:], len(begins)][block]


@dataclass(frozen=True)
class _Ordered:
    """The rows of a run by fold and, within it, by falling score of one class.

    `group`: [n] in that order; `positive`: [P], the rows of the class. For each positive, [P]: `above` and
    `last`, the first row with its score and the first row after these; `start` and `end`, the first row of
    its fold and the first after it. `before`: [n + 1], positives before each row; `cuts`: the first positive
    of each fold.
    """

    group: Ints
    positive: Ints
    above: Ints
    last: Ints
    start: Ints
    end: Ints
    before: Ints
    cuts: Ints

    @classmethod
    def of(cls, scored: Scored, code: int) -> _Ordered:
        fold = scored.ranking_fold
        score = -scored.probabilities[:, code]
        order = np.lexsort((score, fold))
        fold, score = fold[order], score[order]
        new_fold = np.r_[True, fold[1:] != fold[:-1]]
        new_score = new_fold | np.r_[True, score[1:] != score[:-1]]
        is_positive = scored.labels[order] == code
        positive = np.flatnonzero(is_positive)
        above, last = (place[positive] for place in _blocks(new_score))
        start, end = (place[positive] for place in _blocks(new_fold))
        cuts = np.flatnonzero(np.r_[True, start[1:] != start[:-1]]) if len(start) else start
        before = np.r_[0, np.cumsum(is_positive)]
        return cls(scored.group[order], positive, above, last, start, end, before, cuts)


def _measured(names: Sequence[str], ordered: _Ordered, weights: Floats) -> Floats:
    """Return AUROC and average precision of one class within folds, weighted by pairs: [names, B]."""
    rows = weights[:, ordered.group]
    mine = rows[:, ordered.positive]
    all_before = np.zeros((len(weights), rows.shape[1] + 1))
    np.cumsum(rows, axis=1, out=all_before[:, 1:])
    positives_before = np.zeros((len(weights), mine.shape[1] + 1))
    np.cumsum(mine, axis=1, out=positives_before[:, 1:])

    def rows_to(place: Ints) -> Floats:
        return all_before[:, place]

    def positives_to(place: Ints) -> Floats:
        return positives_before[:, ordered.before[place]]

    found = []
    for name in names:
        measure = _auroc if name == "auroc" else _average_precision
        found.append(measure(ordered, mine, rows_to, positives_to))
    return np.stack(found)


_Sum = Callable[[Ints], Floats]


def _auroc(ordered: _Ordered, mine: Floats, rows_to: _Sum, positives_to: _Sum) -> Floats:
    """Return won pairs over all pairs, ties counting half, summed over folds."""

    def negatives_to(place: Ints) -> Floats:
        return rows_to(place) - positives_to(place)

    end = negatives_to(ordered.end)
    won = end - (negatives_to(ordered.above) + negatives_to(ordered.last)) / 2
    return _ratio((mine * won).sum(1), (mine * (end - negatives_to(ordered.start))).sum(1))


def _average_precision(ordered: _Ordered, mine: Floats, rows_to: _Sum, positives_to: _Sum) -> Floats:
    """Return the folds' average precisions, weighted by their numbers of pairs."""
    hits = positives_to(ordered.last) - positives_to(ordered.start)
    taken = rows_to(ordered.last) - rows_to(ordered.start)
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    count = np.add.reduceat(mine, ordered.cuts, axis=1)
    gained = np.add.reduceat(mine * precision, ordered.cuts, axis=1)
    negative = rows_to(ordered.end[ordered.cuts]) - rows_to(ordered.start[ordered.cuts]) - count
    return _ratio((gained * negative).sum(1), (count * negative).sum(1))


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
