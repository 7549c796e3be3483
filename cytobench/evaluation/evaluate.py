"""One run on arrays: tune on the training part of every outer fold, refit, predict the test part once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import ProtocolError
from cytobench.evaluation.examples import Examples, Ints
from cytobench.evaluation.folds import Folds, inner_folds
from cytobench.evaluation.recipes import Features, Floats, InnerFolds, Params, Recipe, Table, Training
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
    `seconds`: time spent per stage; `attention`: by position of a tested bag, float32 [its instances].
    """

    rows: Ints
    probabilities: Floats
    folds: tuple[FoldRecord, ...]
    trials: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    attention: Mapping[int, Table] = field(default_factory=dict)


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now


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
    clock = _Clock()
    inner = tuned or recipe.searched
    parts = [_part(features, examples, folds, k, key, inner=inner) for k in range(len(folds))]
    tunings = _tune_all(recipe, parts, metric, budget) if tuned else [None] * len(parts)
    clock.lap("tune")
    rows = np.flatnonzero(folds.fold >= 0)
    probabilities = np.full((len(examples), len(examples.classes)), np.nan)
    attention: dict[int, Table] = {}
    records, trials, warnings = [], [], []
    for k, (part, tuning) in enumerate(zip(parts, tunings, strict=True)):
        training = part.training()
        if tuned and tuning is None:
            warnings.append(
                f"fold {part.name}: too few groups or classes to tune on, the untuned default was used"
            )
        params = tuning.params if tuning else _default(recipe, training, part.folds)
        clock.lap("tune")
        test = folds.test(k)
        prediction = recipe.predict(training, params, features[test], examples.group_codes[test])
        clock.lap("fit and predict")
        probabilities[test] = prediction.probabilities
        attention |= _by_bag(prediction.attention, features, test)
        if prediction.diagnostics.get("converged") is False:
            warnings.append(f"fold {part.name}: the linear probe stopped before it had converged")
        trials += trial_rows(tuning, part.name) if tuning else []
        threshold = tuning.threshold if tuning else None
        sizes = len(training.labels), len(test)
        records.append(FoldRecord(part.name, *sizes, params, threshold, prediction.diagnostics))
    found = tuple(records), tuple(trials), clock.seconds, tuple(warnings)
    return Evaluation(rows, probabilities[rows], *found, attention)


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


def _tune_all(
    recipe: Recipe, parts: Sequence[Part], metric: str, budget: Budget | None
) -> list[Tuning | None]:
    if recipe.searched:
        if budget is None:
            raise ProtocolError("A searched probe was tuned without a budget of trials.")
        return search_all(recipe, parts, metric, budget)
    return [
        None if part.folds is None else search_grid(recipe, part.training(), part.folds, metric)
        for part in parts
    ]


def _default(recipe: Recipe, training: Training, folds: InnerFolds | None) -> Params:
    return recipe.default(training, folds) if recipe.searched else recipe.default(training)


def _by_bag(attention: Table | None, features: Features, test: npt.NDArray[np.int64]) -> dict[int, Table]:
    """Return the attention of each tested bag by its position."""
    if attention is None or not isinstance(features, Bags):
        return {}
    ends = np.cumsum(features.sizes[test])[:-1]
    return {int(bag): one for bag, one in zip(test, np.split(attention, ends), strict=True)}
