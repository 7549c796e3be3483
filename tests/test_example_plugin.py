"""The example package: installed by pip, found by its entry point, listed with its origin, run, ranked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "cytobench-example"
Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run Python with the example installed, in a folder and a home of its own."""
    if not EXAMPLE.is_dir():
        pytest.skip("the examples are not here: they belong to the checkout, not to the wheel")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    target = ["--no-build-isolation", "--target", str(folder / "site"), str(source)]
    subprocess.run([*pip, *target], check=True, capture_output=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder / "site"), str(ROOT))),
        "CYTOBENCH_HOME": str(folder / "home"),
        "COLUMNS": "200",
    }
    environment.pop("CYTOBENCH_DATA", None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("backbones", "example-ripples"),
        ("tasks", "example-lobes"),
        ("probes", "shrunken-centroids"),
        ("leaderboards", "example"),
    ],
)
def test_it_is_listed_with_its_origin(python: Python, kind: str, name: str) -> None:
    listed = python("-m", "cytobench", "list", kind)
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if line.split()[:1] == [name]]
    assert "example (cytobench-example 0.1.0)" in line
    assert "Left out" not in listed.stderr


def test_a_fact_sheet_says_where_a_card_is_from(python: Python) -> None:
    shown = python("-m", "cytobench", "show", "shrunken-centroids")
    assert "plugin example (cytobench-example 0.1.0)" in shown.stdout
    assert "cytobench_example.shrunken:fit_and_predict" in shown.stdout


def test_check_knows_it_by_the_name_of_its_package(python: Python) -> None:
    checked = python("-m", "cytobench", "check", "cytobench-example", "--json", "--device", "cpu")
    subjects = {one["name"]: one["findings"] for one in json.loads(checked.stdout)}
    assert subjects["cytobench-example"][0]["says"] == "4 cards can be read."
    assert {"example-ripples", "example-lobes", "shrunken-centroids", "example"} < set(subjects)
    assert all(found["mark"] != "fail" for findings in subjects.values() for found in findings)


@pytest.mark.slow
def test_its_task_is_run_with_its_backbone_and_probe_and_ranked(python: Python) -> None:
    names = ["-t", "example-lobes", "-b", "example-ripples", "-b", "colour-statistics", "-b", "majority"]
    ran = python("-m", "cytobench", "run", *names, "--device", "cpu")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "12 computed" in ran.stderr
    board = python("-m", "cytobench", "leaderboard", "example", "--format", "csv")
    assert board.returncode == 0, board.stderr
    assert board.stdout.count("example-lobes,shrunken-centroids") == 6
    table = python("-m", "cytobench", "leaderboard", "example")
    assert "shrunken-centroids" in table.stdout
    again = python("-m", "cytobench", "run", *names, "--device", "cpu")
    assert "12 answered from the caches" in again.stderr
    bare = [
        "-p",
        "cytobench_example.shrunken:fit_and_predict",
        "-t",
        "example-lobes",
        "-b",
        "example-ripples",
    ]
    by_function = python("-m", "cytobench", "run", *bare, "--device", "cpu")
    assert by_function.returncode == 0, by_function.stdout + by_function.stderr
    assert "shrunken:fit_and_predict" in by_function.stdout


@pytest.mark.slow
def test_its_probe_is_compared_stressed_shown_and_sent_as_any_other(python: Python, tmp_path: Path) -> None:
    def cytobench(*arguments: str) -> str:
        ran = python("-m", "cytobench", *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    names = ["-t", "example-lobes", "-b", "example-ripples", "-b", "colour-statistics", "-b", "majority"]
    ran = cytobench("run", *names, "--device", "cpu", "--stress", "--shots", "1,4", "--shot-seeds", "2")
    stressed, few = ran.split("under stress")[1].split("few labelled cells")
    assert "shrunken-centroids" in stressed
    assert "shrunken-centroids" in few
    assert "…" not in stressed.splitlines()[2]  # no heading is cut short
    compared = cytobench("compare", "example-ripples", "colour-statistics", "--task", "example-lobes")
    assert "shrunken-centroids tuned" in compared
    cytobench("leaderboard", "example", "--site", str(tmp_path / "site"))
    page = (tmp_path / "site" / "task-example-lobes.html").read_text()
    assert "Under stress, shrunken-centroids" in page
    assert "cells of each class" in page
    assert (tmp_path / "site" / "backbone-example-ripples.html").is_file()
    cytobench("bundle", "export", "example", "--lab", "north", "--out", str(tmp_path / "north.zip"))
    elsewhere = ("--home", str(tmp_path / "elsewhere"))
    cytobench("bundle", "import", str(tmp_path / "north.zip"), *elsewhere)
    merged = cytobench("leaderboard", "example", *elsewhere)
    assert "example-ripples@north" in merged
    assert "shrunken-centroids tuned" in merged


def test_its_own_tests_pass(python: Python) -> None:
    ran = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"), "-c", os.devnull)
    assert ran.returncode == 0, ran.stdout
