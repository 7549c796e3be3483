"""Where the truth is known: short forms of benchmarks/simulation.py, wide enough not to fail by chance."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation import Population, coverage, draw, false_alarms, wrong_ranks
from cytobench.statistics.ranks import contest, critical_value, rank_intervals


@pytest.mark.parametrize(
    ("name", "whole"), [("balanced_accuracy", False), ("balanced_accuracy", True), ("auroc", False)]
)
def test_intervals_over_twenty_patients_hold_the_truth(name: str, whole: bool) -> None:
    found = coverage(name, Population(whole=whole), 20, 400, ["CytoBench"])
    # 95 % of 400: below 92.5 % or above 98.5 % happens by chance in under 1 run of 50.
    assert 0.92 <= found["CytoBench"] <= 0.985


def test_resampling_cells_as_if_they_were_patients_is_far_too_sure() -> None:
    found = coverage("balanced_accuracy", Population(), 20, 100, ["CytoBench", "cell bootstrap, percentiles"])
    assert found["cell bootstrap, percentiles"] < 0.8 < found["CytoBench"]


@pytest.mark.parametrize(
    ("name", "population"),
    [
        ("balanced_accuracy", Population()),
        ("balanced_accuracy", Population(whole=True, bias=0.8)),
        ("auroc", Population()),
    ],
)
def test_equal_backbones_are_told_apart_no_more_often_than_promised(
    name: str, population: Population
) -> None:
    assert false_alarms(name, population, 15, 200) <= 0.095  # 5 % of 200, three standard errors above


def test_backbones_that_err_on_different_classes_can_still_be_told_apart() -> None:
    assert false_alarms("balanced_accuracy", Population(whole=True, bias=0.8, skill=(1.0, 1.8)), 30, 60) > 0.5


def test_eight_equal_backbones_keep_all_ranks_about_as_often_as_promised() -> None:
    assert wrong_ranks(8, 20, 150) <= 0.13  # 7 % in the long run: see benchmarks/README.md


def test_a_planted_better_backbone_is_ranked_first_and_no_equal_one_alone() -> None:
    better = Population(skill=(2.0, 0.5), shared=0.5)
    first = alone = 0
    for replicate in range(40):
        rng = np.random.default_rng(replicate)
        best, rest = draw(better, 30, rng)
        found = contest("balanced_accuracy", [rest, best], seed=replicate)
        assert found is not None
        ranks = rank_intervals(found, critical_value([found]))
        first += ranks.tolist() == [[2, 2], [1, 1]]
        same = contest("balanced_accuracy", list(draw(Population(), 30, rng)), seed=replicate)
        assert same is not None
        alone += rank_intervals(same, critical_value([same])).tolist() != [[1, 2], [1, 2]]
    assert first >= 36
    assert alone <= 6
