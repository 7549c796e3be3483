"""One run on arrays: tune on the training part of every outer fold, refit, predict the test part once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.examples import Examples, Ints
from cytobench.evaluation.folds import Folds, inner_folds
from cytobench.evaluation.recipes import Features, Floats, Params, Recipe, Training
from cytobench.evaluation.tuning import Tuning, search_grid, trial_rows


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
    `seconds`: time spent per stage.
    """

    rows: Ints
    probabilities: Floats
    folds: tuple[FoldRecord, ...]
    trials: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()


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
) -> Evaluation:
    """Return one prediction for every example that `folds` tests.

    `features`: float32 [n, d] in the order of `examples`; `key` names the draw of the inner folds (task and
    seed: the same for every backbone and probe).
    """
    clock = _Clock()
    rows = np.flatnonzero(folds.fold >= 0)
    probabilities = np.full((len(examples), len(examples.classes)), np.nan)
    records, trials, warnings = [], [], []
    for k, name in enumerate(folds.names):
        training = _training(features, examples, folds.train(k))
        tuning = _tune(recipe, training, (*key, name), metric) if tuned else None
        if tuned and tuning is None:
            warnings.append(
                f"fold {name}: too few groups or classes to tune on, the untuned default was used"
            )
        params = tuning.params if tuning else recipe.default(training)
        clock.lap("tune")
        test = folds.test(k)
        prediction = recipe.predict(training, params, features[test], examples.group_codes[test])
        clock.lap("fit and predict")
        probabilities[test] = prediction.probabilities
        if prediction.diagnostics.get("converged") is False:
            warnings.append(f"fold {name}: the linear probe stopped before it had converged")
        trials += trial_rows(tuning, name) if tuning else []
        threshold = tuning.threshold if tuning else None
        sizes = len(training.labels), len(test)
        records.append(FoldRecord(name, *sizes, params, threshold, prediction.diagnostics))
    found = tuple(records), tuple(trials), clock.seconds, tuple(warnings)
    return Evaluation(rows, probabilities[rows], *found)


def _training(features: Features, examples: Examples, rows: npt.NDArray[np.int64]) -> Training:
    return Training(features[rows], examples.labels[rows], examples.group_codes[rows], len(examples.classes))


def _tune(recipe: Recipe, training: Training, key: tuple[Any, ...], metric: str) -> Tuning | None:
    inner = inner_folds(training.labels, training.groups, key)
    return None if inner is None else search_grid(recipe, training, inner, metric)
