"""A run on disk is whole, verified and scored anew when read; failures are kept until a success."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cytobench.errors import StoreError
from cytobench.evaluation import ledger
from cytobench.evaluation.ledger import Failure
from cytobench.evaluation.metrics import Predictions
from cytobench.evaluation.results import (
    FoldResult,
    RunKey,
    RunRecord,
    RunResult,
    SplitResult,
    class_results,
    predictions_of,
    predictions_table,
    scores_of,
)


def _key(**changes: object) -> RunKey:
    key = RunKey(
        task={"name": "cells", "metric": "accuracy"},
        manifest_digest="m",
        split_digest="s",
        space_id="f",
        probe="knn",
        tuned=True,
        search_space={"k": [1, 3]},
        trials=None,
        seed=0,
    )
    return replace(key, **changes)


def _run(backbone: str = "net", *, seed: int = 0) -> tuple[RunResult, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    n, classes = 24, ("benign", "malignant")
    predictions = Predictions(rng.integers(0, 2, n), rng.dirichlet([1, 1], n), np.arange(n) % 2)
    scores = scores_of(predictions, metric="accuracy", fold_names=["0", "1"], thresholds={0: 0.5, 1: 0.6})
    values = scores.pop("fold_values")
    params = [
        FoldResult(
            name=str(k),
            n_train=12,
            n_test=12,
            params={"k": 3, "C": 1.0, "scaled": True},
            value=values[k],
            threshold=0.5 + k / 10,
            diagnostics={},
        )
        for k in range(2)
    ]
    result = RunResult(
        protocol=1,
        run_id=_key(seed=seed).run_id,
        task="cells",
        backbone=backbone,
        probe="knn",
        tuned=True,
        metric="accuracy",
        **scores,
        classes=class_results(scores["confusion"], list(classes)),
        folds=params,
        n_groups=n,
        unit="cell",
        group="none",
        split=SplitResult(kind="grouped-kfold", folds=2, seed=0, digest="s"),
        trials=None,
        seed=seed,
        manifest_digest="m",
        space_id="f",
        encoder={"arch": "tiny"},
        predictions_sha256="",
        trials_sha256=None,
        versions={"cytobench": "0"},
        device="cpu",
        precision="fp32",
        seconds={"tune": 0.5},
        warnings=[],
    )
    samples = [f"{i:02d}.png" for i in range(n)]
    return result, predictions_table(samples, samples, classes, predictions)


def test_a_run_comes_back_as_it_was_written(home: Path) -> None:
    result, table = _run("open_clip:ViT-B-16/laion")
    trials = pl.DataFrame({"outer_fold": ["0"], "inner_values": [[0.5, 0.25]]})
    written = ledger.save_run(home, RunRecord(result, table, trials))
    stored = ledger.find_run(home, "cells", "open_clip:ViT-B-16/laion", "knn", result.run_id)
    assert stored is not None
    assert stored.result == written
    assert stored.predictions.equals(table)
    assert table.columns[:5] == ["sample", "group", "fold", "label", "predicted"]
    assert list(ledger.stored_runs(home)) == [stored.folder]
    assert pl.read_parquet(stored.folder / "trials.parquet").equals(trials)


def test_scores_are_recomputed_from_predictions_not_read(home: Path) -> None:
    result, table = _run()
    ledger.save_run(home, RunRecord(result, table))
    path = ledger.run_folder(home, "cells", "net", "knn", result.run_id) / "result.json"
    raw = json.loads(path.read_text())
    raw["metrics"]["accuracy"] = 0.999
    raw["folds"][0]["value"] = 0.999
    path.write_text(json.dumps(raw))
    again = ledger.load_run(path.parent).result
    assert again.value == result.value
    assert again.folds == result.folds
    assert again.metrics["sensitivity_at_95_specificity"] == result.metrics["sensitivity_at_95_specificity"]


@pytest.mark.parametrize("file", ["predictions.parquet", "result.json"])
def test_damage_is_noticed(home: Path, file: str) -> None:
    result, table = _run()
    ledger.save_run(home, RunRecord(result, table))
    path = ledger.run_folder(home, "cells", "net", "knn", result.run_id) / file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="run"):
        ledger.load_run(path.parent)


def test_a_run_of_the_same_id_is_replaced_whole(home: Path) -> None:
    result, table = _run()
    ledger.save_run(home, RunRecord(result, table, pl.DataFrame({"trial": [0]})))
    ledger.save_run(home, RunRecord(result.model_copy(update={"device": "cuda"}), table))
    stored = ledger.find_run(home, "cells", "net", "knn", result.run_id)
    assert stored is not None
    assert stored.result.device == "cuda"
    assert not (stored.folder / "trials.parquet").exists()
    assert not list((home / "results" / ".partial").iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(home: Path) -> None:
    (home / "results").write_text("in the way")
    with pytest.raises(StoreError, match=r"results/cells/net/knn cannot be made .* --home"):
        ledger.save_run(home, RunRecord(*_run()))


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow beyond 64 bytes: to a program this is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_is_one_sentence_and_leaves_no_half_run(home: Path) -> None:
    result, table = _run()
    with pytest.raises(StoreError, match=r"^No space is left for .*/cells/net/knn .* command again"):
        ledger.save_run(home, RunRecord(result, table))
    with pytest.raises(StoreError, match=r"^No space is left"):
        ledger.write_table_once(home / "results" / "cells" / "folds.parquet", table)
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_failures_count_attempts_and_vanish_with_a_success(home: Path) -> None:
    failure = Failure(task="cells", backbone="net", probe="knn", tuned=True, reason="the disk is full")
    ledger.record_failure(home, failure)
    assert ledger.record_failure(home, failure).attempts == 2
    other = failure.model_copy(update={"tuned": False})
    ledger.record_failure(home, other)
    assert {(one.tuned, one.attempts) for one in ledger.stored_failures(home)} == {(True, 2), (False, 1)}
    ledger.save_run(home, RunRecord(*_run()))
    assert ledger.stored_failures(home) == [other]


def test_the_run_id_follows_everything_that_decides_predictions() -> None:
    changes = [
        {"task": {"name": "cells", "metric": "auroc"}},
        {"manifest_digest": "other"},
        {"split_digest": "other"},
        {"space_id": "other"},
        {"probe": "linear"},
        {"tuned": False},
        {"search_space": {"k": [1]}},
        {"trials": 20},
        {"seed": 1},
    ]
    ids = {_key(**change).run_id for change in [{}, *changes]}
    assert len(ids) == len(changes) + 1
    assert _key(task={"metric": "accuracy", "name": "cells"}).run_id == _key().run_id


def test_predictions_survive_their_table() -> None:
    rng = np.random.default_rng(0)
    ours = Predictions(rng.integers(0, 3, 10), rng.dirichlet([1, 1, 1], 10), np.arange(10) % 2, True)
    table = predictions_table([str(i) for i in range(10)], ["g"] * 10, ("x", "y", "z"), ours)
    again = predictions_of(table, pooled_ranking=True)
    assert np.array_equal(again.labels, ours.labels)
    assert np.array_equal(again.probabilities, ours.probabilities)
    assert table["predicted"].to_list() == [("x", "y", "z")[k] for k in ours.predicted]
