"""How few malignant cells are enough: AUROC of bags against the share of telling instances in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.evaluation.examples import Examples, Ints
from cytobench.evaluation.folds import Folds, generator
from cytobench.evaluation.metrics import Predictions, auroc
from cytobench.evaluation.recipes import Floats
from cytobench.probes.bags import Bags

FRACTIONS = (0.5, 0.25, 0.1, 0.05, 0.025)
_FEWEST = 5
"""Smaller bags than this are not looked at."""
_DRAWS = 5

Predict = Callable[[int, Bags], Floats]
"""Class probabilities [m, 2] of bags by the model of an outer fold."""


def telling_instances(table: pl.DataFrame, classes: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    """Return which rows of a bag task's table are positive by their truth, or None where there is none.

    The truth is the column `instance_label`; positive is what never occurs in a bag of the first of two
    `classes`.
    """
    if len(classes) != 2 or "instance_label" not in table.columns or table["instance_label"].null_count():
        return None
    usual = table.filter(pl.col("label") == classes[0])["instance_label"].unique().to_list()
    found = (~table["instance_label"].is_in(usual)).to_numpy()
    return found if found.any() else None


def dilution_curve(
    bags: Bags,
    telling: npt.NDArray[np.bool_],
    examples: Examples,
    folds: Folds,
    predict: Predict,
    *,
    key: tuple[Any, ...],
    fractions: Sequence[float] = FRACTIONS,
) -> pl.DataFrame:
    """Return the AUROC of positive bags thinned to a given share of telling instances.

    From each tested positive bag instances are drawn at random so that the share is met with at least one
    telling instance and as many others as there are; negative bags stay whole. Where a bag has too few of
    either kind it is left out at that share. Five draws, averaged.

    Args:
        bags: all bags in the order of `examples`.
        telling: bool [instances of `bags`], the positive ones.
        examples: the bags' labels (of two classes) and names.
        folds: which bag is tested when.
        predict: class probabilities by the model of an outer fold.
        key: names the draws (task and seed: the same for every backbone).
        fractions: shares of telling instances.

    Returns:
        fraction, value (NaN where no positive bag could be made), bags (positive ones), instances (mean).
    """
    cases = [(fraction, draw) for fraction in fractions for draw in range(_DRAWS)]
    found: dict[tuple[float, int], list[_Thinned]] = {case: [] for case in cases}
    for k in range(len(folds)):
        made = {case: _of_fold(bags, telling, examples, folds.test(k), key, case) for case in cases}
        rows = [one for case in cases for one in made[case].rows]
        if not rows:
            continue
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in rows])]).astype(np.int64)
        scores = predict(k, Bags(bags.features[np.concatenate(rows)], offsets))
        ends = np.cumsum([len(made[case].rows) for case in cases])[:-1]
        for case, part in zip(cases, np.split(scores, ends), strict=True):
            found[case].append(replace(made[case], scores=part, fold=k))
    records = [
        _record(fraction, [found[fraction, draw] for draw in range(_DRAWS)], folds) for fraction in fractions
    ]
    return pl.DataFrame(records, schema=["fraction", "value", "bags", "instances"], orient="row")


@dataclass(frozen=True)
class _Thinned:
    """The tested bags of one fold under one draw: rows of each, labels, and later the model's scores."""

    rows: list[Ints]
    labels: list[int]
    scores: Floats | None = None
    fold: int = -1

    @property
    def positives(self) -> list[int]:
        return [len(rows) for rows, label in zip(self.rows, self.labels, strict=True) if label == 1]


def _of_fold(
    bags: Bags,
    telling: npt.NDArray[np.bool_],
    examples: Examples,
    test: Ints,
    key: tuple[Any, ...],
    case: tuple[float, int],
) -> _Thinned:
    rows, labels = [], []
    for bag in test:
        mine = np.arange(bags.offsets[bag], bags.offsets[bag + 1])
        if examples.labels[bag] == 1:
            rng = generator("dilution", *key, examples.samples[bag], *map(str, case))
            mine = _thinned(mine, telling, case[0], rng)
        if len(mine):
            rows.append(mine)
            labels.append(int(examples.labels[bag]))
    return _Thinned(rows, labels)


def _record(
    fraction: float, draws: Sequence[Sequence[_Thinned]], folds: Folds
) -> tuple[float, float, int, float]:
    """Return share, mean AUROC over draws, number of positive bags and their mean size."""
    values, sizes = [], []
    for parts in draws:
        labels = np.asarray([label for one in parts for label in one.labels], dtype=np.int64)
        if not len(labels):
            values.append(float("nan"))
            continue
        scores = np.concatenate([one.scores for one in parts if one.scores is not None])
        fold = np.concatenate([np.full(len(one.labels), one.fold) for one in parts])
        values.append(auroc(Predictions(labels, scores, fold, folds.pooled_ranking)))
        sizes += [size for one in parts for size in one.positives]
    size = float(np.mean(sizes)) if sizes else float("nan")
    return fraction, float(np.mean(values)), len(sizes) // len(draws), size


def _thinned(rows: Ints, telling: npt.NDArray[np.bool_], fraction: float, rng: np.random.Generator) -> Ints:
    """Return rows of one bag with the wanted share of telling ones, as many as can be; none if too few."""
    positive, other = rng.permutation(rows[telling[rows]]), rng.permutation(rows[~telling[rows]])
    most = min(len(rows), int(len(positive) / fraction), int(len(other) / (1.0 - fraction)))
    count = max(1, round(fraction * most))
    rest = min(len(other), round(count * (1.0 - fraction) / fraction))
    close = rest > 0 and abs(count / (count + rest) - fraction) <= 0.2 * fraction
    if not len(positive) or count > len(positive) or count + rest < _FEWEST or not close:
        return rows[:0]
    return np.sort(np.concatenate([positive[:count], other[:rest]]))
