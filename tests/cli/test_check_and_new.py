"""`check`, `doctor` and `new` as a shell sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _marks(out: str) -> dict[str, str]:
    (subject,) = json.loads(out)
    return {finding["question"]: finding["mark"] for finding in subject["findings"]}


def test_check_answers_with_ticks_and_json(cytobench) -> None:
    ran = cytobench("check", "colour-statistics", "cytology")
    assert ran.code == 0
    assert "backbone colour-statistics" in ran.out
    assert "leaderboard cytology" in ran.out
    assert _marks(cytobench("check", "majority", "--json").out)["features"] == "skip"


def test_an_unknown_name_is_a_usage_error(cytobench) -> None:
    ran = cytobench("check", "cytofn")
    assert ran.code == 2
    assert "'cytofm'" in ran.err


def test_a_board_that_names_nothing_real_fails(cytobench, tmp_path: Path) -> None:
    board = tmp_path / "leaderboards" / "b.toml"
    board.parent.mkdir()
    column = '{ task = "cell-type-pbc", probe = "abmil" }, { task = "nosuch", probe = "knn" }'
    board.write_text(f'name = "b"\ntitle = "b"\ncolumns = [{column}]\nbackbones = ["nosuch"]\n')
    ran = cytobench("check", board, "--json")
    assert ran.code == 1
    marks = _marks(ran.out)
    assert [marks[question] for question in ("tasks", "columns", "backbones")] == ["fail"] * 3


_PROBE = """
import numpy as np
VERSION = "1"
def even(training, test):
    return np.full((len(test), training.n_classes), 1 / training.n_classes)
def wild(training, test):
    return np.random.default_rng().dirichlet(np.ones(training.n_classes), len(test))
def short(training, test):
    return np.ones((1, training.n_classes)) / training.n_classes
"""


_COLUMNS = ('probe = "even-odds"', 'probe = "own_probes:even", tuned = false')


def test_a_board_may_name_the_probes_of_plugins(cytobench, tmp_path: Path) -> None:
    (tmp_path / "own_probes.py").write_text(_PROBE)
    for kind, name, rest in (
        ("probes", "even-odds", 'function = "own_probes:even"\n'),
        (
            "leaderboards",
            "own-board",
            "columns = [" + ", ".join(f'{{ task = "cell-type-pbc", {probe} }}' for probe in _COLUMNS) + "]\n",
        ),
    ):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.toml").write_text(f'name = "{name}"\ntitle = "t"\n{rest}')
    ran = cytobench("check", tmp_path, "--json")
    found = {one["name"]: {f["question"]: f["mark"] for f in one["findings"]} for one in json.loads(ran.out)}
    assert ran.code == 0, ran.out
    assert found["own-board"]["columns"] == "pass"
    assert found["even-odds"] == {"function": "pass", "probabilities": "warn"}  # right by chance alone
    board = tmp_path / "leaderboards" / "own-board.toml"
    board.write_text(board.read_text().replace("cell-type-pbc", "aml-subtype-hehr"))
    (columns,) = [
        one
        for one in json.loads(cytobench("check", board, "--json").out)[0]["findings"]
        if one["question"] == "columns"
    ]
    assert columns["mark"] == "fail"
    assert "the probe is for cells, the task's unit is the bag" in " ".join(columns["cases"])


@pytest.mark.parametrize(
    ("function", "said"), [("wild", "twice"), ("short", "shape [1, 3]"), ("none", "no function 'none'")]
)
def test_a_probe_that_cannot_be_relied_on_fails(cytobench, tmp_path: Path, function: str, said: str) -> None:
    (tmp_path / "own_probes.py").write_text(_PROBE)
    (tmp_path / "probes").mkdir()
    card = tmp_path / "probes" / "p.toml"
    card.write_text(f'name = "p"\ntitle = "p"\nfunction = "own_probes:{function}"\n')
    ran = cytobench("check", card, "--json")
    assert ran.code == 1
    assert said in ran.out


def test_an_unreadable_card_of_a_folder_is_named(cytobench, tmp_path: Path) -> None:
    (tmp_path / "backbones").mkdir()
    (tmp_path / "backbones" / "bad.toml").write_text('name = "bad"\n')
    ran = cytobench("check", tmp_path)
    assert ran.code == 1
    assert "bad.toml" in ran.out


@pytest.mark.parametrize("how", ["--function", "--weights"])
def test_a_new_backbone_passes_check_at_once(cytobench, tmp_path: Path, how: str) -> None:
    from cytobench.registry import shipped_root

    file = [shipped_root() / "backbones" / "cytofm" / "model.safetensors"] if how == "--weights" else []
    made = cytobench("new", "backbone", "mine", how, *file, "--out", tmp_path)
    assert made.code == 0, made.err
    assert cytobench("check", tmp_path / "backbones" / "mine.toml").code == 0
    again = cytobench("new", "backbone", "mine", how, *file, "--out", tmp_path)
    assert again.code == 2
    assert "--force" in again.err


def test_a_new_task_fits_class_folders(cytobench, own_cells: Path) -> None:
    made = cytobench("new", "task", "fresh", "--folder", own_cells / "cells", "--out", own_cells)
    assert made.code == 0, made.err
    card = (own_cells / "tasks" / "fresh.toml").read_text()
    assert "size = 48" in card
    assert "accept_ungrouped = true" in card
    ran = cytobench("run", "--plugin", own_cells, "-t", "fresh", "-b", "colour-statistics", "-p", "knn")
    assert ran.code == 0, ran.err


def test_a_new_task_guesses_the_columns_of_a_table(cytobench, own_cells: Path) -> None:
    rows = ["file;Patient ID;kind"]
    rows += [f"cells/{kind}/{i}.png;p{i % 4};{kind}" for kind in ("round", "long") for i in range(12)]
    (own_cells / "cells.csv").write_text("\r\n".join(rows))
    made = cytobench("new", "task", "tabled", "--table", own_cells / "cells.csv", "--out", own_cells)
    assert made.code == 0, made.err
    card = (own_cells / "tasks" / "tabled.toml").read_text()
    assert 'group = "Patient ID"' in card
    assert 'label = "kind"' in card
    assert "folds = 4" in card


def test_a_new_task_needs_data_and_a_name(cytobench, tmp_path: Path) -> None:
    assert cytobench("new", "task", "x", "--out", tmp_path).code == 2
    assert cytobench("new", "backbone", "a/b", "--function", "--out", tmp_path).code == 2


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("faiss", "timm", "polars")]


@pytest.mark.parametrize("hidden", ["torch", *_SLOW])
def test_doctor_survives_a_missing_package(hidden: str, tmp_path: Path) -> None:
    code = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {hidden!r}:
            raise ImportError("hidden for the test")
sys.meta_path.insert(0, Hide())
sys.argv = ["cytobench", "doctor", "--json", "--home", {str(tmp_path)!r}]
from cytobench.cli import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    wrong = [finding for finding in json.loads(ran.stdout) if finding["mark"] == "fail"]
    assert any("hidden for the test" in " ".join([one["says"], *one["cases"]]) for one in wrong)


@pytest.mark.slow
def test_a_new_plugin_installs_and_its_own_test_passes(cytobench, tmp_path: Path) -> None:
    made = cytobench("new", "plugin", "my-lab", "--out", tmp_path)
    assert made.code == 0, made.err
    site, root = tmp_path / "site", tmp_path / "my-lab"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        site,
    ]
    subprocess.run([*map(str, pip), str(root)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests")]
    ran = subprocess.run(own, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    command = [sys.executable, "-m", "cytobench", "check", "my-lab-net", "my-lab-board", "--json"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
