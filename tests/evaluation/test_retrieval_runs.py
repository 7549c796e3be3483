"""Retrieval under the protocol: untuned alone, blind to test labels, recomputable, beside other probes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from toy_benchmark import CLASSES, backbone, bag_task, request, task, write_cells

from cytobench.cards import Column, LeaderboardCard, Split
from cytobench.errors import CardError, UsageError
from cytobench.evaluation import ledger
from cytobench.evaluation.evaluate import Evaluation, evaluate
from cytobench.evaluation.examples import Examples, examples_of
from cytobench.evaluation.extras import extras
from cytobench.evaluation.folds import Folds, outer_folds
from cytobench.evaluation.recipes import OWN_METRIC, recipe_of
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.retrieval import METRICS, K
from cytobench.evaluation.run import RunOutcome, benchmark
from cytobench.leaderboard import render
from cytobench.leaderboard.collect import StoredRuns, rows_of_card, rows_of_outcomes
from cytobench.leaderboard.duels import duels
from cytobench.leaderboard.rows import tidy
from cytobench.leaderboard.table import lay_out
from cytobench.leaderboard.uncertainty import judge
from cytobench.perturb import Perturbation
from cytobench.progress import SilentReporter
from tests.probes.conftest import make_table

NAMES = ("colour", "network", "majority")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy cells; tests leave it as it is."""
    root = tmp_path_factory.mktemp("cells")
    write_cells(root)
    return root


@pytest.fixture(scope="module")
def ran(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunOutcome]]:
    """A home in which retrieval and kNN have run on the toy task, and the outcomes."""
    home = tmp_path_factory.mktemp("home")
    return home, benchmark(request(cells, home, *NAMES, probes=["retrieval", "knn"]))


def result_of(outcomes: list[RunOutcome], name: str, probe: str = "retrieval") -> RunResult:
    found = [one.result for one in outcomes if (one.backbone, one.probe) == (name, probe)]
    assert found[0] is not None
    return found[0]


def test_there_is_one_untuned_run_of_each_backbone(ran: tuple[Path, list[RunOutcome]]) -> None:
    _, outcomes = ran
    mine = [(one.backbone, one.tuned, one.status) for one in outcomes if one.probe == "retrieval"]
    assert mine == [(name, False, "done") for name in NAMES]
    assert len([one for one in outcomes if one.probe == "knn"]) == 6


def test_scores_are_the_probes_own_and_those_of_every_probe(ran: tuple[Path, list[RunOutcome]]) -> None:
    result = result_of(ran[1], "colour")
    assert result.metric == "map_at_10" == OWN_METRIC["retrieval"]
    assert result.value == result.metrics["map_at_10"] > result_of(ran[1], "majority").value + 0.2
    assert set(METRICS) <= result.metrics.keys()
    assert set(METRICS) <= result.intervals.keys()
    assert result.metrics["majority_vote_at_10"] == pytest.approx(result.metrics["balanced_accuracy"])
    assert all(fold.params == {"k": K} for fold in result.folds)
    for name in METRICS:
        by_class = result.class_scores[name]
        assert set(by_class) == set(CLASSES)
        assert np.mean(list(by_class.values())) == pytest.approx(result.metrics[name])
    skewness = [fold.diagnostics["hubness_skewness"] for fold in result.folds]
    assert result.metrics["hubness_skewness"] == pytest.approx(np.mean(np.asarray(skewness, float)))
    assert 0 <= result.metrics["antihub_share"] < 1
    assert not {"hubness_skewness", "antihub_share"} & result_of(ran[1], "majority").metrics.keys()


def test_every_score_follows_from_the_stored_predictions(ran: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = ran
    for name in NAMES:
        result = result_of(outcomes, name)
        stored = ledger.find_run(home, "toy", name, "retrieval", result.run_id)
        assert stored is not None
        assert stored.result.metrics == pytest.approx(result.metrics)
        assert stored.result.class_scores == result.class_scores
        table = stored.predictions
        mean = table.group_by("label").agg(pl.col("score:map_at_10").mean())["score:map_at_10"].mean()
        assert mean == pytest.approx(result.value)
        hit = table.filter(pl.col("score:majority_vote_at_10") == 1)
        assert hit.equals(table.filter(pl.col("label") == pl.col("predicted")))


def test_the_files_of_other_probes_are_as_they_always_were(ran: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = ran
    result = result_of(outcomes, "colour", "knn")
    folder = ledger.run_folder(home, "toy", "colour", "knn", result.run_id)
    assert "class_scores" not in json.loads((folder / "result.json").read_text())
    columns = pl.read_parquet(folder / "predictions.parquet").columns
    assert columns == ["sample", "group", "fold", "label", "predicted", *(f"p:{name}" for name in CLASSES)]
    mine = ledger.run_folder(home, "toy", "colour", "retrieval", result_of(outcomes, "colour").run_id)
    assert "map_at_10" in json.loads((mine / "result.json").read_text())["class_scores"]


def _problem(n: int = 180) -> tuple[np.ndarray, Examples, Folds]:
    features, labels, _ = make_table(n=n, n_classes=3)
    table = pl.DataFrame(
        {
            "sample": [f"s{i:03d}" for i in range(n)],
            "label": [f"c{label}" for label in labels],
            "group": [f"g{i // 12:02d}" for i in range(n)],
        }
    )
    examples = examples_of(table, ["c0", "c1", "c2"], "cell")
    return features, examples, outer_folds(examples, Split(folds=3))


def _evaluated(
    features: np.ndarray,
    examples: Examples,
    folds: Folds,
    *,
    null: bool = False,
    exclude_own_group: bool = False,
) -> Evaluation:
    recipe = recipe_of("retrieval", null=null, standardise=False, exclude_own_group=exclude_own_group)
    return evaluate(features, examples, folds, recipe, tuned=False, metric="map_at_10", key=("t", 0))


@pytest.mark.parametrize("null", [False, True])
def test_poisoned_test_labels_change_nothing_but_scores(null: bool) -> None:
    features, examples, folds = _problem()
    honest = _evaluated(features, examples, folds, null=null)
    poisoned = examples.labels.copy()
    poisoned[folds.test(0)] = (poisoned[folds.test(0)] + 1) % 3
    again = _evaluated(features, replace(examples, labels=poisoned), folds, null=null)
    first = folds.fold[honest.rows] == 0
    assert np.array_equal(again.probabilities[first], honest.probabilities[first])
    assert again.folds[0] == honest.folds[0]
    before, after = (one.scores["map_at_10"][first].mean() for one in (honest, again))
    if not null:
        assert after < before - 0.1


def test_neighbours_of_the_own_group_are_left_out_where_the_task_says_so() -> None:
    features, examples, folds = _problem()
    rng = np.random.default_rng(0)
    beside = replace(folds, fold=rng.integers(0, 3, len(examples)).astype(np.int16))  # groups on both sides
    twins = features.copy()
    labels = examples.labels.copy()
    for group in np.unique(examples.group_codes):  # a patient's cells are alike and of one class
        rows = np.flatnonzero(examples.group_codes == group)
        twins[rows] = rng.normal(size=features.shape[1]) * 5 + rng.normal(0, 0.01, twins[rows].shape)
        labels[rows] = group % 3
    alike = replace(examples, labels=labels)
    leaking = _evaluated(twins, alike, beside).scores["precision_at_5"].mean()
    honest = _evaluated(twins, alike, beside, exclude_own_group=True).scores["precision_at_5"].mean()
    assert leaking > 0.95
    assert honest < 0.6


def test_a_bag_task_says_why_not(cells: Path, home: Path) -> None:
    outcomes = benchmark(request(cells, home, "colour", tasks=[bag_task(cells)], probes=["retrieval"]))
    assert [one.status for one in outcomes] == ["not run"]
    assert outcomes[0].reason.startswith("The probe 'retrieval' scores cells and this task's unit is the bag")


def test_only_tuned_runs_asked_for_there_are_none(cells: Path, home: Path) -> None:
    assert benchmark(request(cells, home, "colour", probes=["retrieval"], tuned=(True,))) == []


def _board(*columns: Column) -> LeaderboardCard:
    return LeaderboardCard(name="mine", title="Mine", columns=columns)


def test_a_leaderboard_has_it_as_a_column(cells: Path, ran: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = ran
    card = _board(
        Column(task="toy", probe="retrieval", tuned=False, ranked=False),
        Column(task="toy", probe="knn", tuned=False),
    )
    known = {name: backbone(name) for name in NAMES}
    options = {"backbones": known, "tasks": {"toy": task(cells)}, "home": home, "reporter": SilentReporter()}
    rows = rows_of_card(card, **options)
    mine = {row.backbone: row for row in rows if row.probe == "retrieval"}
    assert {row.status for row in rows} == {"done"}
    assert mine["colour"].value == result_of(outcomes, "colour").value
    assert mine["colour"].skill == 0.0  # colour is the best null of the column
    assert mine["majority"].skill is not None
    judged = judge(rows, home)
    layout = lay_out("Mine", judged, [task(cells)], frozenset({"majority"}))
    assert [heading.short for heading in layout.headings] == ["retrieval mAP@10", "knn"]
    text = render.markdown(layout)
    assert "| retrieval mAP@10 |" in text
    assert "balanced accuracy, n = 48" in text
    assert "mAP@10 is the mean of the average precisions" in text
    assert "## toy\n" in text  # the other column is ranked
    table = tidy(rows)
    assert table.filter(pl.col("probe") == "retrieval")["metric"].unique().to_list() == ["map_at_10"]
    assert {"map_at_10", "hubness_skewness"} <= set(table.columns)
    with pytest.raises(CardError, match="nothing to tune in it; write tuned = false"):
        rows_of_card(_board(Column(task="toy", probe="retrieval")), **options)


def test_outcomes_become_rows_of_the_own_metric(cells: Path, ran: tuple[Path, list[RunOutcome]]) -> None:
    rows = rows_of_outcomes(ran[1], {name: backbone(name) for name in NAMES}, {"toy": task(cells)})
    assert {row.metric for row in rows if row.probe == "retrieval"} == {"map_at_10"}
    assert {row.metric for row in rows if row.probe == "knn"} == {"balanced_accuracy"}


def test_backbones_are_compared_by_it(cells: Path, ran: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = ran
    stored = StoredRuns(home, SilentReporter())
    found = {one.kind: one for one in duels(["colour", "network"], task(cells), stored, home)}
    assert set(found) == {"knn", "knn tuned", "retrieval mAP@10"}
    duel = found["retrieval mAP@10"]
    assert duel.value_a == result_of(outcomes, "colour").value
    assert duel.found.difference == pytest.approx(duel.value_a - duel.value_b)
    (only,) = duels(["colour", "network"], task(cells), stored, home, metric="precision_at_1")
    assert only.kind == "retrieval precision@1"
    with pytest.raises(UsageError, match=r"no metric 'map'; there are .*map_at_10"):
        duels(["colour", "network"], task(cells), stored, home, metric="map")


def test_under_stress_it_keeps_its_metric(cells: Path, ran: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = ran
    wanted = request(cells, home, "colour", probes=["retrieval"])
    result = result_of(outcomes, "colour")
    found = extras(
        wanted,
        [result],
        SilentReporter(),
        stress=True,
        shots=(),
        shot_seeds=1,
        perturbations=[Perturbation("stain", 0.5)],
    )
    assert found.problems == ()
    assert found.stress["metric"].unique().to_list() == ["map_at_10"]
    clean = found.stress.filter(pl.col("kind") == "none")["value"].item()
    assert clean == pytest.approx(result.value)
