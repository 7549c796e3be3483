"""The whole road: cards and images in, folds, features, probes, results on disk, outcomes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from toy_benchmark import (
    CLASSES,
    backbone,
    bag_task,
    predictions,
    request,
    task,
    write_cells,
)

from cytobench.evaluation import ledger
from cytobench.evaluation.run import RunOutcome, benchmark, extract_features
from cytobench.progress import SilentReporter


class _Listening(SilentReporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy cells; tests leave it as it is."""
    root = tmp_path_factory.mktemp("cells")
    write_cells(root)
    return root


@pytest.fixture(scope="module")
def undisturbed(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunOutcome]]:
    """A home in which both toy tasks have run, and the outcomes."""
    home = tmp_path_factory.mktemp("undisturbed")
    tasks = [task(cells), bag_task(cells)]
    return home, benchmark(request(cells, home, "colour", "majority", tasks=tasks))


def _statuses(outcomes: list[RunOutcome]) -> dict[tuple[str, str, str], str]:
    return {(one.task, one.backbone, one.probe): one.status for one in outcomes}


def _child(cells: Path, home: Path, *names: str) -> list[str]:
    here = Path(__file__).resolve().parent
    script = str(here / "toy_benchmark.py")
    return [sys.executable, script, str(cells), str(home), *names]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def test_every_run_of_the_grid_has_an_outcome_and_files(undisturbed: tuple[Path, list[RunOutcome]]) -> None:
    home, outcomes = undisturbed
    assert _statuses(outcomes) == {
        ("toy", "colour", "knn"): "done",
        ("toy", "colour", "linear"): "done",
        ("toy", "majority", "knn"): "done",
        ("toy", "majority", "linear"): "done",
        ("toy-bags", "colour", "mean-linear"): "done",
        ("toy-bags", "colour", "abmil"): "done",
        ("toy-bags", "majority", "mean-linear"): "done",
        ("toy-bags", "majority", "abmil"): "done",
    }
    assert len(outcomes) == 16
    done = [one.result for one in outcomes if one.result is not None]
    assert len(predictions(home)) == len(done) == 16
    for result in done:
        assert result.n == (8 if result.task == "toy-bags" else 48)
        assert (result.trials_sha256 is not None) == result.tuned
        searched = result.probe == "abmil" and result.backbone != "majority"
        assert result.trials == (20 if searched and result.tuned else None)
        assert (result.attention_sha256 is not None) == searched
        assert set(result.seconds) - {"encode"} == {"load features", "tune", "fit and predict"}
    folds = pl.read_parquet(next((home / "results" / "toy").glob("folds-*.parquet")))
    assert folds.columns == ["sample", "group", "fold", "trainable"]


def test_colours_beat_the_majority_which_is_the_same_under_every_probe(
    undisturbed: tuple[Path, list[RunOutcome]],
) -> None:
    _, outcomes = undisturbed
    values = {
        (one.backbone, one.probe, one.tuned): one.result.value
        for one in outcomes
        if one.result is not None and one.task == "toy"
    }
    assert len({value for (name, _, _), value in values.items() if name == "majority"}) == 1
    assert values["majority", "knn", False] < 0.45
    assert values["colour", "linear", True] > 0.6


def test_a_second_run_answers_from_disk_without_heavy_imports(
    cells: Path, undisturbed: tuple[Path, list[RunOutcome]]
) -> None:
    home, outcomes = undisturbed
    before = predictions(home)
    listening = _Listening()
    tasks = [task(cells), bag_task(cells)]
    again = benchmark(request(cells, home, "colour", "majority", tasks=tasks), reporter=listening)
    assert {one.status for one in again} == {"cached"}
    assert [one.result for one in again] == [one.result for one in outcomes]
    assert listening.said == ["16 of 16 runs answered from earlier results."]
    child = subprocess.run(
        _child(cells, home, "colour", "majority"),
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.splitlines() == ["['cached']", "[]"]
    assert predictions(home) == before


def test_a_run_alone_equals_the_same_run_in_a_batch(
    cells: Path, home: Path, undisturbed: tuple[Path, list[RunOutcome]]
) -> None:
    batch, _ = undisturbed
    benchmark(request(cells, home, "colour", probes=["linear"], tuned=(True,)))
    alone = predictions(home)
    assert len(alone) == 1
    assert alone.items() <= predictions(batch).items()


def test_renamed_folders_and_shuffled_rows_change_nothing(
    cells: Path, home: Path, tmp_path: Path, undisturbed: tuple[Path, list[RunOutcome]]
) -> None:
    batch, _ = undisturbed
    moved = tmp_path / "elsewhere"
    shutil.copytree(cells, moved)
    pl.read_csv(moved / "cells.csv").sample(fraction=1, shuffle=True, seed=5).write_csv(moved / "cells.csv")
    benchmark(request(moved, home, "colour", "majority"))
    made = predictions(home)
    assert len(made) == 8
    assert made.items() <= predictions(batch).items()


def test_force_computes_results_again_but_no_features(cells: Path, home: Path) -> None:
    first = benchmark(request(cells, home, "colour", probes=["knn"]))
    shards = sorted((path, path.stat().st_mtime_ns) for path in home.glob("features/**/*.safetensors"))
    before = predictions(home)
    again = benchmark(request(cells, home, "colour", probes=["knn"], force=True))
    assert {one.status for one in again} == {"done"}
    assert predictions(home) == before
    assert shards
    assert (
        sorted((path, path.stat().st_mtime_ns) for path in home.glob("features/**/*.safetensors")) == shards
    )
    assert [one.result.metrics for one in first if one.result] == [
        one.result.metrics for one in again if one.result
    ]


def test_folds_and_seed_make_another_run(cells: Path, home: Path) -> None:
    made = [
        benchmark(request(cells, home, "majority", probes=["knn"], tuned=(False,), **changes))[0].result
        for changes in ({}, {"folds": 4}, {"seed": 1})
    ]
    results = [result for result in made if result is not None]
    assert [len(result.folds) for result in results] == [3, 4, 3]
    assert len({result.run_id for result in results}) == 3
    assert len({result.split.digest for result in results}) == 3


def test_a_replaced_image_is_another_run(cells: Path, home: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    shutil.copytree(cells, root)
    one = benchmark(request(root, home, "colour", probes=["knn"], tuned=(False,)))[0].result
    Image.fromarray(np.full((24, 24, 3), 7, dtype=np.uint8)).save(root / "p0" / "0.png")
    outcome = benchmark(request(root, home, "colour", probes=["knn"], tuned=(False,)))[0]
    assert outcome.status == "done"
    assert one is not None
    assert outcome.result is not None
    assert outcome.result.manifest_digest != one.manifest_digest


def test_what_cannot_run_says_why_and_stops_nothing_else(cells: Path, home: Path, tmp_path: Path) -> None:
    absent = task(tmp_path, name="absent")
    few = task(cells, name="few", split={"folds": 50})
    lost = backbone("lost", weights="weights/lost.safetensors", source=tmp_path / "lost.toml")
    outcomes = benchmark(
        request(
            cells,
            home,
            tasks=[absent, few, task(cells)],
            backbones=[lost, backbone("majority")],
            probes=["knn"],
            tuned=(False,),
        )
    )
    found = {(one.task, one.backbone): (one.status, one.reason) for one in outcomes}
    assert found["toy", "majority"] == ("done", "")
    assert found["absent", "majority"][0] == "not run"
    assert "cells.csv" in found["absent", "majority"][1]
    status, reason = found["few", "majority"]
    assert status == "failed"
    assert "there are only 8" in reason
    assert found["toy", "lost"][0] == "not run"
    assert "lost" in found["toy", "lost"][1]
    failures = {one.task: one.reason for one in ledger.stored_failures(home)}
    assert failures == {"few": reason}


def test_a_truncated_image_fails_its_task_only_and_mends_when_replaced(
    cells: Path, home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(cells, root)
    image = root / "p3" / "2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    tasks = [task(root, name="broken"), task(cells)]
    outcomes = benchmark(request(cells, home, "colour", tasks=tasks, probes=["knn"], tuned=(False,)))
    assert [one.status for one in outcomes] == ["failed", "done"]
    assert "2.png" in outcomes[0].reason
    assert [one.reason for one in ledger.stored_failures(home)] == [outcomes[0].reason]
    image.write_bytes(whole)
    mended = benchmark(request(cells, home, "colour", tasks=tasks, probes=["knn"], tuned=(False,)))
    assert [one.status for one in mended] == ["done", "cached"]
    assert ledger.stored_failures(home) == []


def test_a_broken_encoder_fails_alone(cells: Path, home: Path, tmp_path: Path) -> None:
    wrong = backbone("wrong", loader="handcrafted", arch="colour-statistics", weights="none", dim=3)
    outcomes = benchmark(
        request(cells, home, backbones=[wrong, backbone("colour")], probes=["knn"], tuned=(False,))
    )
    assert [one.status for one in outcomes] == ["failed", "done"]


def test_a_damaged_result_is_warned_about_and_made_again(cells: Path, home: Path) -> None:
    first = benchmark(request(cells, home, "majority", probes=["knn"], tuned=(False,)))[0].result
    before = predictions(home)
    path = next(home.glob("results/toy/majority/knn/*/predictions.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    listening = _Listening()
    again = benchmark(request(cells, home, "majority", probes=["knn"], tuned=(False,)), reporter=listening)[0]
    assert again.status == "done"
    assert first is not None
    assert "predictions.parquet" in listening.said[0]
    assert predictions(home) == before


def test_an_interruption_keeps_what_is_finished(
    cells: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cytobench.evaluation.run as module

    calls: list[Any] = []
    genuine = module.evaluate

    def interrupted(*args: Any, **options: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(options)
        return genuine(*args, **options)

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        benchmark(request(cells, home, "majority"))
    assert len(predictions(home)) == 2
    monkeypatch.undo()
    statuses = [one.status for one in benchmark(request(cells, home, "majority"))]
    assert sorted(statuses) == ["cached", "cached", "done", "done"]


def test_two_classes_and_neighbours_of_other_groups_only(home: Path, tmp_path: Path) -> None:
    write_cells(tmp_path, classes=CLASSES[:2])
    card = task(tmp_path, same_group_neighbours=False, metric="auroc")
    outcomes = benchmark(request(tmp_path, home, "colour", tasks=[card]))
    results = {(one.probe, one.tuned): one.result for one in outcomes if one.result is not None}
    assert len(results) == 4
    assert results["linear", True].value > 0.7
    assert "sensitivity_at_95_specificity" in results["linear", True].metrics
    assert "sensitivity_at_95_specificity" not in results["linear", False].metrics


def test_features_alone_can_be_extracted_ahead(cells: Path, home: Path, tmp_path: Path) -> None:
    asked = request(cells, home, "colour", tasks=[task(cells), task(tmp_path, name="absent")])
    problems = extract_features(asked)
    assert len(problems) == 1
    assert problems[0].startswith("absent: ")
    assert "cells.csv" in problems[0]
    assert not (home / "results").exists()
    assert list(home.glob("features/**/*.safetensors"))


def test_a_network_and_a_descriptor_share_one_run(cells: Path, home: Path) -> None:
    outcomes = benchmark(request(cells, home, "network", "colour", probes=["knn"], tuned=(False,)))
    assert [one.status for one in outcomes] == ["done", "done"]
    result = outcomes[0].result
    assert result is not None
    assert result.encoder is not None
    stored = json.loads(
        (ledger.run_folder(home, "toy", "network", "knn", result.run_id) / "result.json").read_text()
    )
    assert stored["versions"]["cytobench"]
    assert str(cells) not in json.dumps(stored)


@pytest.fixture(scope="module")
def whole(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that a child process filled undisturbed, a small network's features included."""
    home = tmp_path_factory.mktemp("whole")
    subprocess.run(
        _child(cells, home, "network", "colour", "majority"),
        env=_environment(),
        check=True,
        capture_output=True,
    )
    return home


def _files(home: Path) -> int:
    return sum(1 for _, _, names in os.walk(home) for _ in names)


def _kill_at_random_moments(cells: Path, home: Path, kills: int, seed: int, files: int) -> int:
    """Start children and kill each when a random number of the `files` of a whole run is there; return hits.

    The moment is told by progress, not by the clock, so that it lies within the run on any machine.
    """
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(kills):
        child = subprocess.Popen(
            _child(cells, home, "network", "colour", "majority"),
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        there = _files(home)
        moment, pause = rng.integers(there + 1, max(there + 2, files)), rng.uniform(0.0, 0.05)
        while child.poll() is None and _files(home) < moment:
            time.sleep(0.005)
        time.sleep(pause)
        hits += child.poll() is None
        child.kill()
        child.wait()
    return hits


@pytest.mark.parametrize(
    ("kills", "seed"), [(1, 0), *(pytest.param(4, seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_killed_and_resumed_equals_undisturbed(
    cells: Path, home: Path, whole: Path, kills: int, seed: int
) -> None:
    assert _kill_at_random_moments(cells, home, kills, seed, _files(whole)) > 0
    command = _child(cells, home, "network", "colour", "majority")
    subprocess.run(command, env=_environment(), check=True, capture_output=True)
    assert predictions(home) == predictions(whole)
    assert len(predictions(home)) == 24  # 3 backbones x 4 probes x untuned and tuned


@pytest.mark.slow
def test_two_processes_on_one_home_share_its_results(
    cells: Path, home: Path, undisturbed: tuple[Path, list[RunOutcome]]
) -> None:
    children = [
        subprocess.Popen(_child(cells, home, "colour", "majority"), env=_environment()) for _ in range(2)
    ]
    assert [child.wait() for child in children] == [0, 0]
    assert predictions(home) == predictions(undisturbed[0])
    assert ledger.stored_failures(home) == []
