"""Metrics against scikit-learn, and at the edges where scikit-learn gives up."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration
from sklearn import metrics as oracle

from cytobench.evaluation.metrics import (
    Predictions,
    all_metrics,
    auroc_binary,
    average_precision_binary,
    fold_spread,
    per_fold,
    score,
    sensitivity_at,
    skill,
    threshold_at_specificity,
)


def _random(n: int, n_classes: int, n_folds: int, seed: int, *, ties: bool = True) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(n_classes, 0.7), size=n)
    if ties:
        probabilities = np.maximum(np.round(probabilities, 2), 0.01)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(rng.integers(0, n_classes, n), probabilities, rng.integers(0, n_folds, n))


@pytest.mark.parametrize(("n", "n_classes"), [(20, 2), (300, 2), (300, 5), (40, 8)])
def test_label_and_calibration_metrics_equal_scikit_learn(n: int, n_classes: int) -> None:
    ours = _random(n, n_classes, 3, seed=n + n_classes)
    truth, predicted, codes = ours.labels, ours.predicted, list(range(n_classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "balanced_accuracy": oracle.balanced_accuracy_score(truth, predicted),
            "accuracy": oracle.accuracy_score(truth, predicted),
            "macro_f1": oracle.f1_score(truth, predicted, average="macro"),
            "weighted_f1": oracle.f1_score(truth, predicted, average="weighted"),
            "cohen_kappa": oracle.cohen_kappa_score(truth, predicted),
            "brier": oracle.brier_score_loss(truth, ours.probabilities, labels=codes, scale_by_half=False),
            "log_loss": oracle.log_loss(truth, ours.probabilities, labels=codes),
        }
    for name, value in expected.items():
        assert score(name, ours) == pytest.approx(value, abs=1e-12), name


def test_calibration_error_equals_the_gap_of_scikit_learns_reliability_curve() -> None:
    ours = _random(500, 4, 1, seed=3, ties=False)
    confidence = ours.probabilities.max(axis=1)
    correct = (ours.predicted == ours.labels).astype(float)
    observed, predicted = calibration.calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=15, range=(0, 1))[0]
    expected = (np.abs(observed - predicted) * counts[counts > 0]).sum() / len(correct)
    assert score("ece", ours) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40).filter(
        lambda rows: 0 < sum(positive for positive, _ in rows) < len(rows)
    )
)
def test_ranking_with_ties_equals_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([one for one, _ in rows])
    scores = np.array([value / 7 for _, value in rows])
    assert auroc_binary(positive, scores) == pytest.approx(oracle.roc_auc_score(positive, scores))
    expected = oracle.average_precision_score(positive, scores)
    assert average_precision_binary(positive, scores) == pytest.approx(expected)


def test_auroc_is_averaged_within_folds_by_pairs_and_blind_to_shifts_between_folds() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1] * 15 + [0, 0, 0, 1])
    fold = np.array([0] * 30 + [1] * 4)
    signal = labels + rng.normal(size=34)
    shifted = signal + 100 * fold

    def of(values: np.ndarray) -> Predictions:
        p = 1 / (1 + np.exp(-values / 200))
        return Predictions(labels, np.column_stack([1 - p, p]), fold)

    each = [oracle.roc_auc_score(labels[fold == k], signal[fold == k]) for k in (0, 1)]
    assert score("auroc", of(signal)) == pytest.approx(np.average(each, weights=[15 * 15, 3]))
    assert score("auroc", of(shifted)) == pytest.approx(score("auroc", of(signal)))
    pooled = Predictions(labels, of(shifted).probabilities, fold, pooled_ranking=True)
    assert score("auroc", pooled) == pytest.approx(oracle.roc_auc_score(labels, shifted))


def test_macro_auroc_of_one_fold_equals_scikit_learn_one_vs_rest() -> None:
    ours = _random(200, 5, 1, seed=9)
    expected = oracle.roc_auc_score(ours.labels, ours.probabilities, multi_class="ovr")
    assert score("auroc", ours) == pytest.approx(expected)


def test_a_class_missing_from_a_fold_or_from_all_rows_leaves_scores_defined() -> None:
    labels = np.array([0, 0, 1, 1, 0, 0])
    fold = np.array([0, 0, 0, 0, 1, 1])
    sharp = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]])
    probabilities = np.vstack([sharp, sharp[:2]])
    values = all_metrics(Predictions(labels, probabilities, fold))
    assert values["balanced_accuracy"] == 1.0
    assert values["macro_f1"] == 1.0
    assert values["auroc"] == 1.0


def test_leave_one_group_out_folds_of_one_class_have_no_ranking_unless_pooled() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    within = Predictions(labels, probabilities, labels)
    assert "auroc" not in all_metrics(within)
    assert all_metrics(Predictions(labels, probabilities, labels, True))["auroc"] == 0.75


def test_the_threshold_keeps_at_least_95_percent_of_negatives_below_it() -> None:
    scores = np.arange(100) / 100
    positive = np.zeros(100, dtype=bool)
    threshold = threshold_at_specificity(positive, scores)
    assert (scores < threshold).mean() == 0.95
    assert np.isnan(threshold_at_specificity(~positive, scores))


def test_sensitivity_uses_each_folds_own_threshold() -> None:
    labels = np.array([1, 0, 1, 0])
    last = np.array([0.6, 0.5, 0.2, 0.1])
    predictions = Predictions(labels, np.column_stack([1 - last, last]), np.array([0, 0, 1, 1]))
    assert sensitivity_at(predictions, {0: 0.55, 1: 0.15}) == (1.0, 1.0)
    assert sensitivity_at(predictions, {0: 0.55, 1: 0.55}) == (0.5, 1.0)
    values = all_metrics(predictions, {0: 0.55, 1: 0.15})
    assert values["sensitivity_at_95_specificity"] == 1.0
    assert "sensitivity_at_95_specificity" not in all_metrics(predictions)


def test_fold_spread_is_the_sample_deviation_of_the_scorable_folds() -> None:
    ours = _random(60, 3, 4, seed=1)
    values = per_fold("accuracy", ours, 4)
    assert values[2] == oracle.accuracy_score(ours.labels[ours.fold == 2], ours.predicted[ours.fold == 2])
    assert fold_spread([*values, float("nan")]) == pytest.approx(np.std(values, ddof=1))
    assert np.isnan(fold_spread([0.5]))


def test_skill_is_the_share_of_the_room_above_the_null() -> None:
    assert skill(0.75, 0.5) == 0.5
    assert skill(0.5, 0.5) == 0.0
    assert skill(0.25, 0.5) == -0.5
    assert np.isnan(skill(1.0, 1.0))
