"""Metrics under weights of groups equal plain metrics on rows repeated as often as their group was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytobench.evaluation import metrics
from cytobench.statistics.weighted import (
    CALIBRATION_METRICS,
    LABEL_METRICS,
    RANKING_METRICS,
    Scored,
    nudged_metric,
    resamplings,
    swaps,
    weighted_metric,
    weighted_metrics,
)

ALL = (*LABEL_METRICS, *CALIBRATION_METRICS, *RANKING_METRICS)


def scored(
    seed: int = 0,
    *,
    n: int = 120,
    n_classes: int = 3,
    n_groups: int = 12,
    decimals: int = 2,
    pooled: bool = False,
) -> Scored:
    """Return random predictions with ties, groups that lie in one fold each, and three folds."""
    rng = np.random.default_rng(seed)
    group = np.r_[np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)]
    labels = np.r_[np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)]
    odds = rng.random((n, n_classes)) + 0.7 * np.eye(n_classes)[labels]
    probabilities = np.round(odds / odds.sum(1, keepdims=True), decimals)
    return Scored(labels, probabilities, group % 3, group, n_groups, pooled)


def repeated(one: Scored, weights: np.ndarray) -> metrics.Predictions:
    """Return the rows of each group as often as it was drawn."""
    rows = np.repeat(np.arange(len(one.labels)), weights[one.group].astype(int))
    return metrics.Predictions(one.labels[rows], one.probabilities[rows], one.fold[rows], one.pooled_ranking)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.sampled_from([2, 3]),
    pooled=st.booleans(),
    decimals=st.sampled_from([1, 6]),
)
def test_a_weight_is_the_number_of_times_a_group_was_drawn(
    seed: int, n_classes: int, pooled: bool, decimals: int
) -> None:
    one = scored(seed, n_classes=n_classes, pooled=pooled, decimals=decimals)
    weights = resamplings(one.n_groups, 4, np.random.default_rng(seed))
    found = weighted_metrics(ALL, one, weights)
    for row, drawn in enumerate(weights):
        plain = repeated(one, drawn)
        for name in ALL:
            assert found[name][row] == pytest.approx(metrics.score(name, plain), abs=1e-12, nan_ok=True), name


def test_weights_of_one_give_the_metrics_themselves() -> None:
    one = scored(decimals=6)
    found = weighted_metrics(ALL, one, np.ones((1, one.n_groups)))
    plain = metrics.Predictions(one.labels, one.probabilities, one.fold)
    for name in ALL:
        assert found[name][0] == pytest.approx(metrics.score(name, plain), abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_nudge_is_a_weight_of_one_group_alone(name: str) -> None:
    one = scored(3)
    weights = np.ones((one.n_groups, one.n_groups)) + 0.25 * np.eye(one.n_groups)
    assert nudged_metric(name, one, 0.25) == pytest.approx(weighted_metric(name, one, weights), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.sampled_from([2, 3]),
    n_groups=st.sampled_from([3, 12, 60]),
    pooled=st.booleans(),
    by=st.sampled_from([-1.0, 0.5]),
)
def test_the_area_without_a_group_equals_recounting_without_it(
    seed: int, n_classes: int, n_groups: int, pooled: bool, by: float
) -> None:
    one = scored(seed, n=90, n_classes=n_classes, n_groups=n_groups, pooled=pooled, decimals=1)
    weights = np.ones((n_groups, n_groups)) + by * np.eye(n_groups)
    np.testing.assert_allclose(
        nudged_metric("auroc", one, by), weighted_metric("auroc", one, weights), rtol=1e-12, equal_nan=True
    )


def test_many_weightings_are_computed_in_portions_like_few() -> None:
    one = scored(5, n=400, n_groups=40)
    weights = resamplings(40, 3_000, np.random.default_rng(0))
    whole = weighted_metric("auroc", one, weights)
    parts = np.concatenate(
        [weighted_metric("auroc", one, weights[k : k + 500]) for k in range(0, 3_000, 500)]
    )
    assert np.array_equal(whole, parts)


def test_few_groups_are_swapped_in_every_way_once() -> None:
    patterns = np.concatenate(list(swaps(5, 9_999, np.random.default_rng(0))))
    assert len({tuple(row) for row in patterns}) == len(patterns) == 32
    many = np.concatenate(list(swaps(30, 999, np.random.default_rng(0))))
    assert many.shape == (999, 30)
    assert set(np.unique(many)) == {-1.0, 1.0}
