"""Tuning sees training rows only, picks by inner folds, and leaves ties to the more regularised candidate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from cytobench.cards import Split
from cytobench.evaluation.evaluate import Evaluation, evaluate
from cytobench.evaluation.examples import Examples, Ints, examples_of
from cytobench.evaluation.folds import inner_folds, outer_folds
from cytobench.evaluation.recipes import InnerFold, Params, Prediction, Recipe, Training, recipe_of
from cytobench.evaluation.tuning import search_grid, trial_rows


class _Noisy:
    """A recipe with known answers: `noise` mixes the truth (carried in feature 0) with a constant."""

    searched: Literal[False] = False

    def __init__(self, grid: tuple[float, ...]) -> None:
        self.grid = grid

    def default(self, training: Training) -> Params:
        return {"noise": 0.9}

    def default_rule(self) -> dict[str, Any]:
        return {"noise": 0.9}

    def space(self) -> dict[str, Any]:
        return {"noise": list(self.grid)}

    def candidates(self) -> list[Params]:
        return [{"noise": noise} for noise in self.grid]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        for k in np.unique(folds):
            rows = np.flatnonzero(folds == k)
            each = [self.predict(training, one, training.features[rows], rows) for one in self.candidates()]
            yield InnerFold(rows, np.stack([one.probabilities for one in each]))

    def predict(
        self, training: Training, params: Params, test: npt.NDArray[np.float32], test_groups: Ints
    ) -> Prediction:
        truth = np.eye(training.n_classes)[test[:, 0].astype(int)]
        constant = np.eye(training.n_classes)[0]
        noise = float(params["noise"])
        return Prediction((1 - noise) * truth + noise * constant)


def _problem(
    n_groups: int = 15, n_classes: int = 3, *, d: int = 8
) -> tuple[npt.NDArray[np.float32], Examples]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, 6 * n_groups)
    table = pl.DataFrame(
        {
            "sample": [f"s{i:03d}" for i in range(len(labels))],
            "label": [f"c{label}" for label in labels],
            "group": [f"g{i // 6:02d}" for i in range(len(labels))],
        }
    )
    features = rng.normal(size=(len(labels), d)).astype(np.float32)
    features[:, :n_classes] += 2 * np.eye(n_classes, dtype=np.float32)[labels]
    return features, examples_of(table, [f"c{k}" for k in range(n_classes)], "cell")


def _evaluate(
    features: npt.NDArray[np.float32], examples: Examples, recipe: Recipe, *, tuned: bool = True
) -> Evaluation:
    folds = outer_folds(examples, Split(folds=3))
    return evaluate(
        features, examples, folds, recipe, tuned=tuned, metric="balanced_accuracy", key=("task", 0)
    )


def test_the_best_mean_over_inner_folds_wins_and_ties_go_to_the_first() -> None:
    _, examples = _problem()
    truth = examples.labels[:, None].astype(np.float32)
    training = Training(truth, examples.labels, examples.group_codes, 3)
    inner = inner_folds(training.labels, training.groups, ("t",))
    assert inner is not None
    tuning = search_grid(_Noisy((0.9, 0.3, 0.1)), training, inner, "balanced_accuracy")
    assert tuning is not None
    assert tuning.params == {"noise": 0.3}
    assert tuning.trials[0].value == pytest.approx(1 / 3)
    assert tuning.trials[2].inner_values == (1.0,) * 3
    rows = trial_rows(tuning, "0")
    assert [row["chosen"] for row in rows] == [False, True, False]
    sharpest = search_grid(_Noisy((0.9, 0.3, 0.1)), training, inner, "log_loss")
    assert sharpest is not None
    assert sharpest.params == {"noise": 0.1}


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_poisoned_test_labels_change_neither_parameters_nor_predictions(probe: str) -> None:
    features, examples = _problem()
    recipe = recipe_of(probe, null=False, standardise=False, exclude_own_group=False)
    folds = outer_folds(examples, Split(folds=3))
    honest = evaluate(features, examples, folds, recipe, tuned=True, metric="accuracy", key=("t",))
    poisoned = examples.labels.copy()
    poisoned[folds.test(0)] = (poisoned[folds.test(0)] + 1) % 3
    liar = replace(examples, labels=poisoned)
    again = evaluate(features, liar, folds, recipe, tuned=True, metric="accuracy", key=("t",))
    assert again.folds[0].params == honest.folds[0].params
    in_first = folds.fold[honest.rows] == 0
    assert np.array_equal(again.probabilities[in_first], honest.probabilities[in_first])
    first = [trial for trial in honest.trials if trial["outer_fold"] == "0"]
    assert first == [trial for trial in again.trials if trial["outer_fold"] == "0"]


@pytest.mark.parametrize("probe", ["knn", "linear"])
@pytest.mark.parametrize("tuned", [True, False])
def test_separable_classes_are_found(probe: str, tuned: bool) -> None:
    features, examples = _problem()
    recipe = recipe_of(probe, null=False, standardise=False, exclude_own_group=False)
    made = _evaluate(features, examples, recipe, tuned=tuned)
    accuracy = (made.probabilities.argmax(axis=1) == examples.labels).mean()
    assert accuracy > 0.75
    assert np.allclose(made.probabilities.sum(axis=1), 1)
    assert len(made.trials) == (3 * len(recipe.candidates()) if tuned else 0)


def test_inner_scores_of_the_grid_equal_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    features, examples = _problem(12, d=20)
    recipe = recipe_of("linear", null=False, standardise=False, exclude_own_group=False)
    training = Training(features, examples.labels, examples.group_codes, 3)
    inner = inner_folds(training.labels, training.groups, ("t",))
    assert inner is not None
    tuning = search_grid(recipe, training, inner, "balanced_accuracy")
    assert tuning is not None
    for trial in tuning.trials[20:60:8]:
        if trial.params["standardise"]:
            continue
        expected = []
        for k in np.unique(inner):
            model = LogisticRegression(C=float(trial.params["C"]), tol=1e-8, max_iter=5000)
            model.fit(features[inner != k], examples.labels[inner != k])
            predicted = model.predict(features[inner == k])
            expected.append(balanced_accuracy_score(examples.labels[inner == k], predicted))
        one_cell = 0.05  # a cell on the boundary may fall to either side
        assert trial.inner_values == pytest.approx(expected, abs=one_cell)


def test_a_class_of_two_groups_can_be_tuned_although_inner_folds_lack_it() -> None:
    features, examples = _problem()
    labels = examples.labels.copy()
    labels[labels == 2] = 1
    labels[[0, 1, 2, 30, 31, 32]] = 2
    rare = replace(examples, labels=labels)
    recipe = recipe_of("linear", null=False, standardise=False, exclude_own_group=False)
    made = _evaluate(features, rare, recipe)
    assert np.isfinite(made.probabilities).all()
    assert not made.warnings


def test_twenty_samples_of_two_classes_are_tuned_and_give_a_threshold_per_fold() -> None:
    rng = np.random.default_rng(1)
    labels = ["a", "b"] * 10
    table = pl.DataFrame({"sample": [f"{i:02d}" for i in range(20)], "label": labels})
    examples = examples_of(table.with_columns(pl.col("sample").alias("group")), ["a", "b"], "cell")
    features = (rng.normal(size=(20, 4)) + examples.labels[:, None]).astype(np.float32)
    for probe in ("knn", "linear"):
        recipe = recipe_of(probe, null=False, standardise=False, exclude_own_group=False)
        made = _evaluate(features, examples, recipe)
        assert all(fold.threshold is not None for fold in made.folds)


def test_the_null_predictor_repeats_the_training_frequencies() -> None:
    features, examples = _problem()
    recipe = recipe_of("knn", null=True, standardise=False, exclude_own_group=False)
    made = _evaluate(features, examples, recipe)
    folds = outer_folds(examples, Split(folds=3))
    counts = np.bincount(examples.labels[folds.train(0)], minlength=3)
    assert np.allclose(made.probabilities[folds.test(0)], counts / counts.sum())


def test_one_training_group_falls_back_to_the_default_and_says_so() -> None:
    _, examples = _problem(2)
    features = examples.labels[:, None].astype(np.float32)
    folds = outer_folds(examples, Split(kind="leave-one-group-out"))
    made = evaluate(features, examples, folds, _Noisy((0.1,)), tuned=True, metric="accuracy", key=("t",))
    assert [fold.params for fold in made.folds] == [{"noise": 0.9}] * 2
    assert "the untuned default was used" in made.warnings[0]
