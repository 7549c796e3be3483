"""`cytobench run --probe retrieval` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cytobench.cli import app
from tests.evaluation.toy_benchmark import write_cells

CARD = """
name = "toy"
title = "Toy cells"
dataset = { format = "table", path = "../cells.csv" }
label = "cell_type"
group = "patient"
split = { folds = 3 }
view = { kind = "box" }
"""


@pytest.fixture
def words(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that every command takes: a plugin folder with the toy cells, and a home."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CYTOBENCH_DATA", raising=False)
    write_cells(tmp_path / "my", classes=("blast", "lymphocyte", "[red]odd"))
    (tmp_path / "my" / "tasks").mkdir()
    (tmp_path / "my" / "tasks" / "toy.toml").write_text(CARD)
    return ["--plugin", str(tmp_path / "my"), "--home", str(home)]


def test_a_run_shows_all_scores_hubness_and_classes(words: list[str]) -> None:
    both = ["-b", "colour-statistics", "-b", "majority"]
    ran = CliRunner().invoke(app, ["run", "-t", "toy", *both, "-p", "retrieval", *words])
    assert ran.exit_code == 0, ran.output
    for word in ("retrieval mAP@10", "P: precision", "vote", "@5", "skew", "antihubs", "by class"):
        assert word in ran.stdout
    assert "[red]odd" in ran.stdout
    shown = next(line for line in ran.stdout.splitlines() if line.split()[:1] == ["[red]odd"])
    assert len(shown.split()) == 4  # class, n, and a score of each backbone
    others = CliRunner().invoke(app, ["run", "-t", "toy", "-b", "majority", "-p", "knn", *words])
    assert "mAP@10" not in others.stdout
    looked = CliRunner().invoke(app, ["errors", "toy", *both, "-p", "retrieval", *words])
    assert looked.exit_code == 0, looked.output


def test_it_is_listed_with_what_it_works_on() -> None:
    listed = CliRunner().invoke(app, ["show", "retrieval"], env={"COLUMNS": "160"})
    assert listed.exit_code == 0
    assert "mAP@10" in listed.stdout
    assert "cell tasks" in listed.stdout
