"""One run on arrays: tune on the training part of every outer fold, refit, predict the test part once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import ProtocolError
from cytobench.evaluation.cores import available, is_small, side_by_side
from cytobench.evaluation.examples import Examples, Ints
from cytobench.evaluation.folds import Folds, inner_folds
from cytobench.evaluation.recipes import (
    Features,
    Floats,
    InnerFolds,
    Params,
    Prediction,
    Recipe,
    Table,
    Training,
)
from cytobench.evaluation.search import Budget, Part, search_all
from cytobench.evaluation.tuning import Tuning, search_grid, trial_rows
from cytobench.probes.bags import Bags


@dataclass(frozen=True)
class FoldRecord:
    """What happened in one outer fold."""

    name: str
    n_train: int
    n_test: int
    params: Params
    threshold: float | None
    diagnostics: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Out-of-fold predictions of one run.

    `rows`: int64 [m], positions of the tested examples; `probabilities`: float64 [m, K];
    `seconds`: time spent per stage; `attention`: by position of a tested bag, float32 [its instances];
    `scores`: by name what each tested example scores, float64 [m].
    """

    rows: Ints
    probabilities: Floats
    folds: tuple[FoldRecord, ...]
    trials: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    attention: Mapping[int, Table] = field(default_factory=dict)
    scores: Mapping[str, Floats] = field(default_factory=dict)


def evaluate(
    features: Features,
    examples: Examples,
    folds: Folds,
    recipe: Recipe,
    *,
    tuned: bool,
    metric: str,
    key: tuple[Any, ...],
    budget: Budget | None = None,
) -> Evaluation:
    """Return one prediction for every example that `folds` tests.

    `features`: float32 [n, d], or n bags, in the order of `examples`; `key` names every random draw (task and
    seed: the same for every backbone and probe); `budget`: for probes that are searched.
    """
    started = time.perf_counter()
    inner = tuned or recipe.searched
    parts = [_part(features, examples, folds, k, key, inner=inner) for k in range(len(folds))]
    found = search_all(recipe, parts, metric, _given(budget)) if tuned and recipe.searched else None
    searched = time.perf_counter() - started

    def one(k: int) -> _Fold:
        began, training, inner_rows = time.perf_counter(), parts[k].training(), parts[k].folds
        tuning = found[k] if found else None
        if tuned and not recipe.searched and inner_rows is not None:
            tuning = search_grid(recipe, training, inner_rows, metric)
        params = tuning.params if tuning else _default(recipe, training, inner_rows)
        chosen, test = time.perf_counter(), folds.test(k)
        prediction = recipe.predict(training, params, features[test], examples.group_codes[test])
        return _Fold(tuning, params, prediction, chosen - began, time.perf_counter() - chosen)

    # A model of bags spreads over the cores by itself.
    few = recipe.searched or not is_small(_numbers(features))
    made = side_by_side(one, range(len(folds)), 1 if few else available())
    seconds = _stages(made, searched, time.perf_counter() - started)
    return _assembled(made, parts, features, examples, folds, seconds, tuned=tuned)


def _assembled(
    made: Sequence[_Fold],
    parts: Sequence[Part],
    features: Features,
    examples: Examples,
    folds: Folds,
    seconds: Mapping[str, float],
    *,
    tuned: bool,
) -> Evaluation:
    rows = np.flatnonzero(folds.fold >= 0)
    probabilities = np.full((len(examples), len(examples.classes)), np.nan)
    attention: dict[int, Table] = {}
    scores: dict[str, Floats] = {}
    records, trials, warnings = [], [], []
    for k, fold in enumerate(made):
        test, part, tuning, prediction = folds.test(k), parts[k], fold.tuning, fold.prediction
        if tuned and tuning is None:
            warnings.append(
                f"fold {part.name}: too few groups or classes to tune on, the untuned default was used"
            )
        probabilities[test] = prediction.probabilities
        attention |= _by_bag(prediction.attention, features, test)
        for name, by_class in prediction.scores.items():
            scores.setdefault(name, np.full(len(examples), np.nan))[test] = by_class[
                np.arange(len(test)), examples.labels[test]
            ]
        if prediction.diagnostics.get("converged") is False:
            warnings.append(f"fold {part.name}: the linear probe stopped before it had converged")
        trials += trial_rows(tuning, part.name) if tuning else []
        threshold = tuning.threshold if tuning else None
        sizes = len(folds.train(k)), len(test)
        records.append(FoldRecord(part.name, *sizes, fold.params, threshold, prediction.diagnostics))
    return Evaluation(
        rows,
        probabilities[rows],
        tuple(records),
        tuple(trials),
        seconds,
        tuple(warnings),
        attention,
        {name: values[rows] for name, values in scores.items()},
    )


@dataclass(frozen=True)
class _Fold:
    """One outer fold's outcome, and the seconds that choosing parameters and predicting took."""

    tuning: Tuning | None
    params: Params
    prediction: Prediction
    choosing: float
    predicting: float


def _stages(folds: Sequence[_Fold], searched: float, whole: float) -> dict[str, float]:
    """Return the seconds of each stage; where folds overlapped, their common time in the shares they had."""
    tune, predict = sum(one.choosing for one in folds), sum(one.predicting for one in folds)
    scale = (whole - searched) / max(tune + predict, 1e-9)
    return {"tune": searched + scale * tune, "fit and predict": scale * predict}


def training_of(
    features: Features, examples: Examples, folds: Folds, k: int, key: tuple[Any, ...]
) -> Training:
    """Return the training part of outer fold `k`; `key` names the draws of its models."""
    rows, name = folds.train(k), folds.names[k]
    labels, groups = examples.labels[rows], examples.group_codes[rows]
    return Training(features[rows], labels, groups, len(examples.classes), (*key, name))


def _part(
    features: Features, examples: Examples, folds: Folds, k: int, key: tuple[Any, ...], *, inner: bool
) -> Part:
    """Return an outer fold's training part, cut out of the features when needed, and `inner` folds of it."""
    rows, name = folds.train(k), folds.names[k]
    labels, groups = examples.labels[rows], examples.group_codes[rows]

    def training() -> Training:
        return training_of(features, examples, folds, k, key)

    return Part(name, training, inner_folds(labels, groups, (*key, name)) if inner else None)


def _given(budget: Budget | None) -> Budget:
    if budget is None:
        raise ProtocolError("A searched probe was tuned without a budget of trials.")
    return budget


def _numbers(features: Features) -> int:
    return features.features.size if isinstance(features, Bags) else features.size


def _default(recipe: Recipe, training: Training, folds: InnerFolds | None) -> Params:
    return recipe.default(training, folds) if recipe.searched else recipe.default(training)


def _by_bag(attention: Table | None, features: Features, test: npt.NDArray[np.int64]) -> dict[int, Table]:
    """Return the attention of each tested bag by its position."""
    if attention is None or not isinstance(features, Bags):
        return {}
    ends = np.cumsum(features.sizes[test])[:-1]
    return {int(bag): one for bag, one in zip(test, np.split(attention, ends), strict=True)}
