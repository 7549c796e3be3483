"""Intervals, paired tests and ranks: against formulas, by hand, and where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cytobench.statistics.intervals import (
    from_bootstrap,
    influence,
    interval,
    standard_error,
)
from cytobench.statistics.paired import compare, detectable_difference, holm, sign_flip_test
from cytobench.statistics.ranks import (
    Contest,
    contest,
    critical_value,
    may_be_first,
    mean_ranks,
    rank_intervals,
    wilcoxon_cliques,
)
from cytobench.statistics.sources import spread_by_source
from cytobench.statistics.weighted import Scored, resamplings


def right_or_wrong(right: np.ndarray, group: np.ndarray) -> Scored:
    """Return binary predictions that are right where `right` says so."""
    labels = np.arange(len(right)) % 2
    predicted = np.where(right, labels, 1 - labels)
    probabilities = np.eye(2)[predicted] * 0.8 + 0.1
    return Scored(labels, probabilities, group % 5, group, int(group.max()) + 1)


def cells(n_groups: int, *, skill: float = 0.8, each: int = 10, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), each)
    chance = np.clip(skill + 0.1 * rng.standard_normal(n_groups), 0, 1)[group]
    return right_or_wrong(rng.random(len(group)) < chance, group)


def test_groups_of_equal_size_give_the_standard_error_of_their_means() -> None:
    one = cells(15)
    means = np.array([(one.probabilities.argmax(1) == one.labels)[one.group == g].mean() for g in range(15)])
    pulls = influence("accuracy", one)
    assert pulls == pytest.approx(means - means.mean(), abs=1e-10)
    assert standard_error(pulls) == pytest.approx(means.std(ddof=1) / np.sqrt(15))
    found = interval("accuracy", one)
    assert found.method == "jackknife"
    assert found.df == 14
    # On the logit scale, symmetric about the value's own logit.
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    assert logit(found.low) + logit(found.high) == pytest.approx(2 * logit(means.mean()))


def test_many_groups_are_resampled_and_the_percentiles_lie_further_out() -> None:
    one = cells(60)
    found = interval("accuracy", one)
    assert found.method == "bootstrap"
    weights = resamplings(60, 2_000, np.random.default_rng(0))
    drawn = (weights @ one.totals.confusion.trace(axis1=1, axis2=2)) / (weights.sum(1) * 10)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low <= low
    assert found.high >= high
    assert from_bootstrap(drawn, 60).se == pytest.approx(drawn.std(ddof=1))


def test_too_few_groups_have_no_interval_and_no_test() -> None:
    one, other = cells(9), cells(9, seed=1)
    assert interval("accuracy", one).method == "too few groups"
    assert np.isnan(interval("accuracy", one).low)
    found = compare("accuracy", one, other)
    assert np.isnan(found.p)
    assert found.difference == pytest.approx(
        np.mean(one.probabilities.argmax(1) == one.labels)
        - np.mean(other.probabilities.argmax(1) == other.labels)
    )
    assert contest("accuracy", [one, other]) is None


def test_perfect_scores_are_not_certain() -> None:
    perfect = right_or_wrong(np.ones(120, dtype=bool), np.repeat(np.arange(12), 10))
    found = interval("accuracy", perfect)
    assert found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 12))


def test_intervals_stay_within_what_a_metric_can_be() -> None:
    one = cells(12, skill=0.97)
    for name in (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "auroc",
        "ece",
        "brier",
        "cohen_kappa",
        "log_loss",
    ):
        found = interval(name, one)
        assert -1.0 <= found.low <= found.high
        assert found.high <= (2.0 if name == "brier" else 20.0 if name == "log_loss" else 1.0)


def test_all_swaps_of_few_groups_give_the_exact_p_value() -> None:
    group = np.repeat(np.arange(10), 4)
    good = right_or_wrong(np.ones(40, dtype=bool), group)
    bad = right_or_wrong(np.arange(40) % 4 != 0, group)  # one wrong in every group
    # Every group says the same: only the two patterns without a swap, or with all, are as extreme.
    assert compare("accuracy", good, bad).p == 2 / 2**10
    assert compare("accuracy", good, good).p == 1.0
    assert sign_flip_test(np.array([1.0, 2.0, 3.0])) == 2 / 2**3
    assert sign_flip_test(np.array([1.0, -1.0])) == 1.0
    assert np.isnan(sign_flip_test(np.array([1.0, np.nan])))


def test_the_test_agrees_with_a_t_test_where_both_apply() -> None:
    a, b = cells(50, skill=0.82, each=40), cells(50, skill=0.78, each=40, seed=1)
    found = compare("accuracy", a, b)
    right = [(one.probabilities.argmax(1) == one.labels).reshape(50, 40).mean(1) for one in (a, b)]
    expected = stats.ttest_rel(*right)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.effect == pytest.approx(
        (right[0] - right[1]).mean() / (right[0] - right[1]).std(ddof=1), rel=0.02
    )
    assert found.better == int((right[0] > right[1]).sum())
    assert found.worse == int((right[0] < right[1]).sum())
    low, high = expected.confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.01)
    assert found.detectable == pytest.approx(
        detectable_difference((right[0] - right[1]).std(ddof=1) / np.sqrt(50), 49), rel=0.02
    )


def test_a_difference_that_is_detectable_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    error, df = 0.05, 29
    true = detectable_difference(error, df)
    t = (true + error * rng.standard_normal(40_000)) / (error * np.sqrt(rng.chisquare(df, 40_000) / df))
    assert (np.abs(t) > stats.t.ppf(0.975, df)).mean() == pytest.approx(0.8, abs=0.01)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.04, float("nan"), 0.03])
    assert np.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == pytest.approx([0.06, 0.06])


def test_ranks_admit_ties_and_are_certain_where_scores_are_far_apart() -> None:
    runs = [cells(30, skill=0.95), cells(30, skill=0.94, seed=1), cells(30, skill=0.6, seed=2)]
    found = contest("accuracy", runs)
    assert found is not None
    ranks = rank_intervals(found, critical_value([found]))
    assert ranks.tolist() == [[1, 2], [1, 2], [3, 3]]
    assert may_be_first([found], critical_value([found])).tolist() == [True, True, False]
    alone = rank_intervals(found.of([0, 2]), critical_value([found.of([0, 2])]))
    assert alone.tolist() == [[1, 1], [2, 2]]


def test_more_columns_and_more_pairs_need_larger_differences() -> None:
    contests = [contest("accuracy", [cells(30, seed=10 * k + i) for i in range(4)], seed=k) for k in range(5)]
    known = [one for one in contests if one is not None]
    assert len(known) == 5
    single, all_ = critical_value(known[:1]), critical_value(known)
    assert stats.t.ppf(0.975, 29) < single < all_


def test_who_is_beaten_everywhere_is_not_first_however_wide_the_ranks() -> None:
    values, errors = np.array([0.90, 0.85, 0.80]), np.full((3, 3), 0.03)
    np.fill_diagonal(errors, 0.0)
    one = Contest(values, (), errors, np.zeros((1, 3, 3)))
    assert rank_intervals(one, 2.4).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert may_be_first([one], 2.4).tolist() == [True, True, False]
    assert may_be_first([one], 2.4, blank=1).tolist() == [True, True, True]


def test_a_class_of_one_patient_allows_no_interval() -> None:
    one = cells(20)
    labels = np.where(one.group == 3, 1, 0)
    rare = Scored(labels, one.probabilities, one.fold, one.group, 20)
    assert rare.groups_of_rarest_class == 1
    assert interval("auroc", rare).method == "too few groups"


def test_equal_runs_are_never_told_apart() -> None:
    one = cells(30)
    found = contest("accuracy", [one, one])
    assert found is not None
    assert rank_intervals(found, critical_value([found])).tolist() == [[1, 2], [1, 2]]


def test_mean_ranks_share_ties() -> None:
    assert mean_ranks(np.array([[0.9, 0.9, 0.5], [0.2, 0.8, 0.8]])).tolist() == [2.25, 1.5, 2.25]


def test_cliques_need_eight_tasks_and_hold_what_is_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.random((12, 1))
    values = base + np.array([[0.2, 0.2, 0.0]]) + 0.01 * rng.standard_normal((12, 3))
    assert wilcoxon_cliques(values[:7]) is None
    found = wilcoxon_cliques(values)
    assert found is not None
    assert found.groups == ((0, 1),) or found.groups == ((1, 0),)
    assert found.p[0, 2] < 0.05


def test_spread_is_told_by_source() -> None:
    spread = spread_by_source([[0.5, 0.7], [0.6, 0.6]], [0.6, 0.62], 0.03)
    assert spread.fold == pytest.approx(0.1)
    assert spread.seed == pytest.approx(np.std([0.6, 0.62], ddof=1))
    assert spread.sampling == 0.03
    assert np.isnan(spread_by_source([[0.5]], [0.5], 0.1).seed)
