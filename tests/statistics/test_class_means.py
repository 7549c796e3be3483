"""Metrics that are means of single examples' scores: weights of groups, intervals and paired tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytobench.evaluation import metrics
from cytobench.statistics.intervals import interval
from cytobench.statistics.paired import compare
from cytobench.statistics.ranks import contest
from cytobench.statistics.weighted import (
    Scored,
    nudged_metric,
    resamplings,
    weighted_metric,
    weighted_metrics,
)


def scored(seed: int = 0, *, n: int = 200, n_groups: int = 15, lift: float = 0.0) -> Scored:
    """Return random predictions, and what each row scores: more in the classes of higher number."""
    rng = np.random.default_rng(seed)
    group = np.r_[np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)]
    labels = np.r_[np.arange(3), rng.choice(3, n - 3, p=[0.7, 0.25, 0.05])]
    probabilities = rng.dirichlet(np.ones(3), n)
    values = np.clip(0.3 + 0.1 * labels + rng.normal(0, 0.1, n) + lift, 0, 1)
    return Scored(labels, probabilities, group % 3, group, n_groups, scores={"map_at_10": values})


def repeated(one: Scored, weights: np.ndarray) -> metrics.Predictions:
    """Return the rows of each group as often as it was drawn."""
    rows = np.repeat(np.arange(len(one.labels)), weights[one.group].astype(int))
    scores = {name: values[rows] for name, values in one.scores.items()}
    return metrics.Predictions(one.labels[rows], one.probabilities[rows], one.fold[rows], scores=scores)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([30, 200]))
def test_a_weight_is_the_number_of_times_a_group_was_drawn(seed: int, n: int) -> None:
    one = scored(seed, n=n)
    weights = resamplings(one.n_groups, 6, np.random.default_rng(seed))
    found = weighted_metrics(["map_at_10", "accuracy", "auroc"], one, weights)
    for row, drawn in enumerate(weights):
        for name, values in found.items():
            expected = metrics.score(name, repeated(one, drawn))
            assert values[row] == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("by", [0.25, -1.0])
def test_a_nudge_is_a_weight_of_one_group_alone(by: float) -> None:
    one = scored(3)
    weights = np.ones((one.n_groups, one.n_groups)) + by * np.eye(one.n_groups)
    expected = weighted_metric("map_at_10", one, weights)
    np.testing.assert_allclose(nudged_metric("map_at_10", one, by), expected, atol=1e-12)


def test_every_class_counts_alike() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    probabilities, fold = np.eye(2)[labels], np.zeros(100, int)
    predictions = metrics.Predictions(labels, probabilities, fold, scores={"map_at_10": labels.astype(float)})
    assert metrics.score("map_at_10", predictions) == 0.5
    assert metrics.all_metrics(predictions)["map_at_10"] == 0.5
    only_first = predictions.of_fold(0)
    assert metrics.per_fold("map_at_10", only_first, 1) == [0.5]


@pytest.mark.parametrize("n_groups", [15, 60])
def test_intervals_and_tests_are_those_of_any_metric(n_groups: int) -> None:
    one, other = scored(n=600, n_groups=n_groups), scored(n=600, n_groups=n_groups, lift=0.1)
    found = interval("map_at_10", one)
    assert found.method == ("bootstrap" if n_groups == 60 else "jackknife")
    assert found.low < metrics.score("map_at_10", repeated(one, np.ones(n_groups))) < found.high
    better = compare("map_at_10", other, one)
    assert better.difference == pytest.approx(0.1, abs=0.01)
    assert better.p < 0.01
    assert better.better == n_groups  # every group scores more, though predictions are the same
    assert compare("accuracy", other, one).better == 0
    judged = contest("map_at_10", [one, other])
    assert judged is not None
    assert judged.differences[1, 0] == pytest.approx(better.difference)


def test_scores_follow_their_rows() -> None:
    one = scored(5)
    mixed = np.random.default_rng(0).permutation(len(one.labels))
    again = replace(
        one,
        labels=one.labels[mixed],
        probabilities=one.probabilities[mixed],
        fold=one.fold[mixed],
        group=one.group[mixed],
        scores={"map_at_10": one.scores["map_at_10"][mixed]},
    )
    for name in ("map_at_10", "accuracy"):
        np.testing.assert_allclose(nudged_metric(name, one, -1.0), nudged_metric(name, again, -1.0))


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("map_at_10", "mAP@10"),
        ("precision_at_1", "precision@1"),
        ("majority_vote_at_5", "majority vote@5"),
        ("balanced_accuracy", "balanced accuracy"),
        ("sensitivity_at_95_specificity", "sensitivity at 95 specificity"),
        ("specificity_at_threshold", "specificity at threshold"),
    ],
)
def test_metrics_have_names_for_people(name: str, title: str) -> None:
    assert metrics.title_of(name) == title
