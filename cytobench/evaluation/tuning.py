"""Choosing a probe's parameters on inner folds of the training part: the only rows this module is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.metrics import LOWER_IS_BETTER, Predictions, score, threshold_at_specificity
from cytobench.evaluation.recipes import Floats, GridRecipe, Params, Training

_SAME = 1e-12


@dataclass(frozen=True)
class Trial:
    """One candidate: its parameters, its score on each inner fold (NaN: not scorable) and their mean.

    `pruned`: given up before its training ended; its scores are those until then.
    """

    params: Params
    inner_values: tuple[float, ...]
    value: float
    pruned: bool = False


@dataclass(frozen=True)
class Tuning:
    """The outcome of a search.

    `chosen`: position in `trials`; `threshold`: with two classes, the probability of the last one above
    which 95 % of the negatives are left behind, found on the chosen candidate's inner predictions.
    """

    trials: tuple[Trial, ...]
    chosen: int
    threshold: float | None

    @property
    def params(self) -> Params:
        """The chosen parameters."""
        return self.trials[self.chosen].params


def search_grid(
    recipe: GridRecipe, training: Training, folds: npt.NDArray[np.int16], metric: str
) -> Tuning | None:
    """Score every candidate of `recipe` on the inner `folds` (int16 [n]) and take the best mean of `metric`.

    Ties go to the earlier, more regularised candidate. Returns None when no inner fold can be scored.
    """
    candidates = recipe.candidates()
    numbers = np.unique(folds)
    values = np.full((len(candidates), len(numbers)), np.nan)
    last_class = np.full((len(candidates), len(folds)), np.nan)
    for fold in recipe.inner(training, folds):
        column = int(np.searchsorted(numbers, folds[fold.rows[0]]))
        labels = training.labels[fold.rows]
        number = np.zeros(len(fold.rows), dtype=np.int64)
        for index, probabilities in enumerate(fold.probabilities):
            values[index, column] = score(metric, Predictions(labels, probabilities, number))
        last_class[:, fold.rows] = fold.probabilities[:, :, -1]
    scorable = ~np.isnan(values).all(axis=0)
    if not scorable.any():
        return None
    means = np.nanmean(values[:, scorable], axis=1)
    towards_better = -means if metric in LOWER_IS_BETTER else means
    chosen = int(np.flatnonzero(towards_better >= towards_better.max() - _SAME)[0])
    trials = tuple(
        Trial(params, tuple(row.tolist()), float(mean))
        for params, row, mean in zip(candidates, values, means, strict=True)
    )
    return Tuning(trials, chosen, threshold_of(training, last_class[chosen]))


def threshold_of(training: Training, scores: Floats) -> float | None:
    """Return the threshold at 95 % specificity of the last of two classes, by held-out scores [n]."""
    if training.n_classes != 2 or np.isnan(scores).any():
        return None
    value = threshold_at_specificity(training.labels == 1, scores)
    return None if np.isnan(value) else value


def trial_rows(tuning: Tuning, outer_fold: str) -> list[Mapping[str, Any]]:
    """Return a table row per trial: outer_fold, trial, chosen, pruned, params (JSON), value, inner_values."""
    import json

    return [
        {
            "outer_fold": outer_fold,
            "trial": number,
            "chosen": number == tuning.chosen,
            "pruned": trial.pruned,
            "params": json.dumps(trial.params, sort_keys=True),
            "value": trial.value,
            "inner_values": list(trial.inner_values),
        }
        for number, trial in enumerate(tuning.trials)
    ]
