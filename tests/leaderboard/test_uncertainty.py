"""What tables claim: intervals, ranks, ties, few groups, blind tasks, pairs, all from stored predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cytobench.card_files import parse_card
from cytobench.cards import TaskCard
from cytobench.errors import UsageError
from cytobench.evaluation import ledger
from cytobench.evaluation.metrics import Predictions
from cytobench.evaluation.results import (
    FoldResult,
    RunRecord,
    RunResult,
    SplitResult,
    class_results,
    predictions_table,
    scores_of,
)
from cytobench.evaluation.uncertainty import interval_results, with_groups
from cytobench.leaderboard.collect import StoredRuns
from cytobench.leaderboard.duels import as_record, duels
from cytobench.leaderboard.render import markdown
from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.table import lay_out
from cytobench.leaderboard.uncertainty import judge
from cytobench.progress import SilentReporter

CLASSES = ("a", "b")


def store(
    home: Path,
    backbone: str,
    skill: float,
    *,
    task: str = "blood",
    groups: int = 30,
    probe: str = "knn",
    seed: int = 0,
) -> Row:
    """Store a run whose predictions are right with probability `skill` and return its row."""
    n, probe = groups * 20, "knn"
    rng = np.random.default_rng([len(task), *backbone.encode(), seed])
    labels = np.arange(n) % 2
    right = rng.random(n) < skill
    predicted = np.where(right, labels, 1 - labels)
    probabilities = np.eye(2)[predicted] * 0.6 + 0.2
    names = [f"p{i // 20:02d}" for i in range(n)]
    fold = (np.arange(n) // 20 % 2).astype(np.int64)
    predictions = Predictions(labels, probabilities, fold)
    samples = [f"{i:04d}" for i in range(n)]
    scores = scores_of(predictions, metric="accuracy", fold_names=["0", "1"], thresholds={})
    values = scores.pop("fold_values")
    result = RunResult(
        **scores,
        intervals=interval_results(with_groups(predictions, names), scores["metrics"]),
        protocol=1,
        run_id=f"{task}-{backbone}-{probe}-{seed}".ljust(64, "0"),
        task=task,
        backbone=backbone,
        probe=probe,
        tuned=False,
        metric="accuracy",
        classes=class_results(scores["confusion"], list(CLASSES)),
        folds=[
            FoldResult(
                name=str(k),
                n_train=n // 2,
                n_test=n // 2,
                params={},
                value=values[k],
                threshold=None,
                diagnostics={},
            )
            for k in range(2)
        ],
        n_groups=groups,
        unit="cell",
        group="patient",
        split=SplitResult(kind="grouped-kfold", folds=2, seed=seed, digest=f"s{task}{seed}"),
        trials=None,
        seed=seed,
        manifest_digest=f"m{task}",
        space_id=backbone,
        encoder=None,
        predictions_sha256="",
        trials_sha256=None,
        versions={"cytobench": "0"},
        device="cpu",
        precision="fp32",
        seconds={},
        warnings=[],
    )
    table = predictions_table(samples, names, CLASSES, predictions)
    made = ledger.save_run(home, RunRecord(result, table))
    return Row(
        backbone=backbone,
        task=task,
        probe=probe,
        tuned=False,
        status="done",
        metric="accuracy",
        value=made.value,
        n=n,
        groups=groups,
        subset="abcdefgh",
        null=backbone in ("majority", "colour"),
        run_id=made.run_id,
    )


def test_rows_get_intervals_ranks_and_ties(tmp_path: Path) -> None:
    rows = [
        store(tmp_path, "good", 0.92),
        store(tmp_path, "alike", 0.92),
        store(tmp_path, "colour", 0.75),
        store(tmp_path, "majority", 0.5),
    ]
    judged = judge(rows, tmp_path)
    found = {row.backbone: row for row in judged.rows}
    for row in judged.rows:
        assert row.low is not None
        assert row.high is not None
        assert row.value is not None
        assert row.low < row.value < row.high
        assert row.interval == "jackknife"
    assert (found["good"].rank_low, found["good"].rank_high) == (1, 2)
    assert found["good"].tied
    assert found["alike"].tied
    assert (found["colour"].rank_low, found["colour"].rank_high) == (3, 3)
    assert not found["colour"].tied
    facts = judged.columns["blood", "knn", False]
    assert facts.discriminates is True
    assert facts.detectable is not None
    assert 0.01 < facts.detectable < 0.1
    standing = {one.backbone: one for one in judged.standings}
    assert standing["good"].low == 1.0
    assert standing["good"].tied
    assert not standing["majority"].tied
    text = markdown(lay_out("Board", judged, [], frozenset({"majority", "colour"})))
    assert "| mean rank | 95 % |" in text
    assert "| *detectable* |" in text
    assert "Scores in bold may be first" in text
    assert "**9" in text
    assert "| knn | rank |" in text
    assert "Not discriminative" not in text


def test_a_task_on_which_nothing_beats_the_nulls_is_named(tmp_path: Path) -> None:
    rows = [store(tmp_path, "net", 0.7), store(tmp_path, "colour", 0.75), store(tmp_path, "majority", 0.5)]
    judged = judge(rows, tmp_path)
    assert judged.columns["blood", "knn", False].discriminates is False
    assert any(
        "Not discriminative" in note and "blood" in note
        for note in lay_out("B", judged, [], frozenset()).notes
    )


def test_with_few_groups_there_are_scores_and_nothing_more(tmp_path: Path) -> None:
    judged = judge([store(tmp_path, "a", 0.9, groups=8), store(tmp_path, "b", 0.5, groups=8)], tmp_path)
    assert all(row.low is None and row.rank_low is None for row in judged.rows)
    assert judged.standings == []
    notes = lay_out("Board", judged, [], frozenset()).notes
    assert any(note.startswith("Too few groups") and "blood" in note for note in notes)
    assert not any("bold" in note for note in notes)


def test_standings_hold_backbones_complete_on_all_ranked_columns(tmp_path: Path) -> None:
    rows = [
        *(store(tmp_path, name, skill, task="one") for name, skill in (("a", 0.95), ("b", 0.7), ("c", 0.5))),
        *(store(tmp_path, name, skill, task="two") for name, skill in (("a", 0.6), ("b", 0.9))),
        replace(store(tmp_path, "c", 0.99, task="shown"), ranked=False),
    ]
    standings = judge(rows, tmp_path).standings
    assert [one.backbone for one in standings] == ["a", "b"]
    assert all(one.rank == 1.5 and one.low == one.high == 1.5 and one.tied for one in standings)


def _card() -> TaskCard:
    card = {
        "name": "blood",
        "title": "Blood",
        "dataset": "pbc",
        "group": "patient",
        "view": {"kind": "box"},
        "metric": "accuracy",
    }
    return parse_card(TaskCard, card, source=None)


def test_duels_tell_differences_and_what_could_be_found(tmp_path: Path) -> None:
    for name, skill in (("good", 0.92), ("alike", 0.92), ("poor", 0.6)):
        store(tmp_path, name, skill)
    store(tmp_path, "good", 0.91, seed=1)
    stored = StoredRuns(tmp_path, SilentReporter())
    found = {(one.a, one.b): one for one in duels(["good", "alike", "poor"], _card(), stored, tmp_path)}
    assert len(found) == 3
    clear = found["good", "poor"]
    assert clear.verdict == "good is better"
    assert clear.p_holm < 0.01
    assert clear.p_holm >= clear.found.p
    assert clear.found.interval.low > 0.2
    assert "not told apart" in found["good", "alike"].verdict
    assert np.isfinite(clear.spread_a.seed)
    assert np.isnan(clear.spread_b.seed)
    record = as_record(clear)
    assert record["groups"] == 30
    assert record["sd_seed_b"] is None


def test_duels_need_runs_on_the_same_cells(tmp_path: Path) -> None:
    store(tmp_path, "good", 0.9)
    stored = StoredRuns(tmp_path, SilentReporter())
    with pytest.raises(UsageError, match="cytobench run -b good -b other -t blood"):
        duels(["good", "other"], _card(), stored, tmp_path)
    with pytest.raises(UsageError, match="no metric 'luck'"):
        duels(["good", "other"], _card(), stored, tmp_path, metric="luck")


def test_intervals_stand_in_results_with_reliability(tmp_path: Path) -> None:
    store(tmp_path, "good", 0.9)
    (run,) = StoredRuns(tmp_path, SilentReporter()).runs
    assert set(run.intervals) >= {"accuracy", "auroc", "ece", "brier"}
    assert run.intervals["accuracy"].groups == 30
    (only,) = run.reliability
    assert only.n == 600
    assert only.confidence == pytest.approx(0.8)
    assert only.accuracy == pytest.approx(run.metrics["accuracy"])
    table = ledger.load_predictions(tmp_path, run.task, run.backbone, run.probe, run.run_id)
    assert len(table) == 600
