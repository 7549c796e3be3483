"""The command line as a user meets it: exit codes, one-sentence errors, listings, a user's own cells."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from cytobench import __version__
from cytobench.cli import console
from tests.cli.shell import OWN_CARD


def test_version_and_help(cytobench) -> None:
    assert cytobench("--version").out.strip() == f"cytobench {__version__}"
    helped = cytobench("run", "--help")
    assert helped.code == 0
    assert "cytobench run --backbone uni --task cell-type-pbc" in helped.out


def test_help_names_the_variables_that_stand_for_options(cytobench) -> None:
    helped = cytobench("run", "--help").out
    assert "CYTOBENCH_DATA" in helped
    assert "CYTOBENCH_HOME" in helped


@pytest.mark.parametrize("kind", ["backbones", "tasks", "datasets", "probes", "leaderboards"])
def test_everything_can_be_listed(cytobench, kind: str) -> None:
    listed = cytobench("list", kind)
    assert listed.code == 0
    expected = {
        "backbones": "cytofm-ucla",
        "tasks": "cell-type-pbc",
        "datasets": "chula-rbc12",
        "probes": "linear",
        "leaderboards": "cytology",
    }
    assert expected[kind] in listed.out


@pytest.mark.parametrize("name", ["uni", "cell-type-pbc", "bccd", "knn", "cytology"])
def test_everything_can_be_shown(cytobench, name: str) -> None:
    shown = cytobench("show", name)
    assert shown.code == 0
    assert "title" in shown.out


def test_a_list_of_tasks_says_whose_data_are_here(cytobench, own_cells: Path, tmp_path: Path) -> None:
    (tmp_path / "pbc").mkdir()
    (own_cells / "tasks" / "read.toml").write_text(
        OWN_CARD.replace("my-cells", "read").replace(
            '{ format = "folder", path = "../cells" }', '"code:read"'
        )
    )
    (own_cells / "tasks" / "lost.toml").write_text(
        OWN_CARD.replace("my-cells", "lost").replace('cells"', 'no"')
    )
    (tmp_path / "read").mkdir()
    listed = cytobench("list", "tasks", "--plugin", own_cells, "--data", tmp_path).out.splitlines()
    here = {line.split()[0]: "not here" not in line for line in listed if line.strip()}
    expected = {"my-cells": True, "read": True, "lost": False, "cell-type-pbc": True, "bccd-cell-type": False}
    assert {name: here[name] for name in expected} == expected


def test_square_brackets_in_a_users_own_words_are_shown_as_written(cytobench, own_cells: Path) -> None:
    card = own_cells / "tasks" / "my-cells.toml"
    card.write_text(OWN_CARD.replace("My cells", "My [red] and [/old] cells"))
    for arguments in (["list", "tasks"], ["show", "my-cells"]):
        shown = cytobench(*arguments, "--plugin", own_cells)
        assert shown.code == 0, shown.err
        assert "My [red] and [/old] cells" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "unii"], 2, "did you mean uni"),
        (["show", "uni@north"], 2, "has none of that lab; import it with `cytobench bundle import FILE`"),
        (["check", "uni@north"], 2, "`cytobench bundle show FILE` examines such a bundle"),
        (["run", "-t", "synthetic-cell-type", "-b", "uni@north"], 2, "the backbone itself is 'uni'"),
        (["list", "tasks", "--data", __file__], 2, "is a file; name the folder that holds the data sets"),
        (["run"], 2, "--backbone"),
        (["run", "-b", "morphologi", "-t", "cell-type-pbc"], 2, "did you mean 'morphology'"),
        (["run", "-b", "morphology", "-t", "no-such-thing-at-all"], 2, "cytobench list tasks"),
        (["run", "-b", "morphology", "--data", "no/such/folder"], 2, "no/such/folder"),
        (["run", "-b", "morphology", "--plugin", "no/plugin"], 2, "no/plugin"),
        (["run", "-b", "morphology", "--folds", "1"], 2, "folds"),
        (
            ["run", "-b", "majority", "-t", "cell-type-pbc", "-p", "knn", "-p", "lnear"],
            2,
            "did you mean 'linear'",
        ),
        (
            ["run", "-b", "majority", "-t", "synthetic-cell-type", "-p", "mean-linear"],
            1,
            "use knn or linear or prototype or retrieval.",
        ),
        (["leaderboard", "cytologi"], 2, "did you mean 'cytology'"),
        (["leaderboard", "demo", "-o", "no/such/folder/x.md"], 1, "choose another place with --out"),
        (["cache", "gc", "--remove", "abcdef"], 1, "No space in"),
    ],
)
def test_a_mistake_gets_one_sentence_and_the_right_exit_code(
    cytobench,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    ran = cytobench(*arguments)
    assert ran.code == code
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_data_that_is_not_here_is_said_with_the_folder_and_the_download(cytobench, tmp_path: Path) -> None:
    ran = cytobench("run", "-b", "colour-statistics", "-t", "cell-type-pbc", "--data", tmp_path)
    assert ran.code == 1
    assert str(tmp_path) in ran.out + ran.err
    assert "mendeley" in ran.out + ran.err


def test_own_cells_run_resume_and_enter_a_leaderboard(cytobench, own_cells: Path, tmp_path: Path) -> None:
    arguments = ["run", "-b", "morphology", "-b", "majority", "-t", "my-cells", "--plugin", own_cells]
    first = cytobench(*arguments)
    assert first.code == 0, first.err
    assert "8 computed" in first.err
    again = cytobench(*arguments)
    assert "8 answered from the caches" in again.err
    assert first.out == again.out
    (own_cells / "leaderboards").mkdir()
    (own_cells / "leaderboards" / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nbackbones = ["morphology", "majority", "uni"]\n'
        'columns = [{ task = "my-cells", probe = "linear", tuned = false }]\n'
    )
    board = tmp_path / "board.parquet"
    made = cytobench("leaderboard", "mine", "--plugin", own_cells, "--format", "parquet", "--out", board)
    assert made.code == 0, made.err
    table = pl.read_parquet(board)
    status = dict(zip(table["backbone"], table["status"], strict=True))
    assert status == {"morphology": "done", "majority": "done", "uni": "not run"}
    assert table.filter(pl.col("backbone") == "morphology")["value"].item() > 0.9
    for style in ("table", "markdown", "csv", "latex", "json"):
        assert "morphology" in cytobench("leaderboard", "mine", "--plugin", own_cells, "--format", style).out
    assert "24" in cytobench("cache", "ls").out
    assert "Nothing is wrong" in cytobench("cache", "verify").out
    assert cytobench("cache", "gc").code == 0


def test_backbones_are_compared_stressed_and_shown_few_cells(cytobench, own_cells: Path, home: Path) -> None:
    task = ["-t", "my-cells", "--plugin", own_cells]
    storage = f"sqlite:///{home.parent / 'studies.db'}"
    ran = cytobench(
        *["run", "-b", "morphology", "-b", "colour-statistics", "-p", "knn", *task],
        *["--shots", "1,2", "--shot-seeds", "2", "--stress", "--storage", storage],
    )
    assert ran.code == 0, ran.err
    assert "few labelled cells of each class" in ran.out
    assert "under stress" in ran.out
    folder = home / "extras" / "my-cells"
    assert {path.name for path in folder.iterdir()} == {
        "shots.parquet",
        "shots.png",
        "stress.parquet",
        "stress-knn.png",
    }
    assert cytobench("run", "-b", "majority", "-p", "knn", *task, "--shots", "1").code == 0
    assert set(pl.read_parquet(folder / "shots.parquet")["backbone"]) == {"morphology", "colour-statistics"}
    again = cytobench("run", "-b", "morphology", "-p", "knn", *task, "--shots", "1", "--shot-seeds", "2")
    assert again.code == 0, again.err
    kept = pl.read_parquet(folder / "shots.parquet")
    assert set(kept.filter(pl.col("backbone") == "colour-statistics")["shots"]) == {1, 2}
    assert set(kept.filter(pl.col("backbone") == "morphology")["shots"]) == {1}
    import optuna

    names = optuna.get_all_study_names(storage)
    assert len(names) == 6  # two backbones, three folds, one tuned grid each
    compared = cytobench("compare", "morphology", "colour-statistics", *task)
    assert compared.code == 0, compared.err
    assert "corrected for the 2 pairs shown" in compared.out
    told = json.loads(cytobench("compare", "morphology", "colour-statistics", *task, "--json").out)
    assert {one["tuned"] for one in told} == {False, True}
    assert told[0]["groups"] == 24
    assert "exit" not in compared.err
    assert cytobench("compare", "morphology", "morphology", *task).code == 2
    assert "cytobench run -b morphology -b uni" in cytobench("compare", "morphology", "uni", *task).err
    assert "write --shots 1,2,4" in cytobench("run", "-b", "morphology", *task, "--shots", "few").err
    lost = cytobench("run", "-b", "morphology", *task, "--storage", "nonsense://x", "--force", "-p", "knn")
    assert "no address of an Optuna storage" in lost.out + lost.err


def test_results_of_another_seed_never_enter_a_leaderboard(cytobench, own_cells: Path) -> None:
    cytobench(
        "run", "-b", "majority", "-t", "my-cells", "--plugin", own_cells, "--seed", "7", "--trials", "0"
    )
    (own_cells / "leaderboards").mkdir()
    (own_cells / "leaderboards" / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nbackbones = ["majority"]\n'
        'columns = [{ task = "my-cells", probe = "knn", tuned = false }]\n'
    )
    assert '"not run"' in cytobench("leaderboard", "mine", "--plugin", own_cells, "--format", "json").out


def test_a_leaderboard_shows_one_set_of_rows_the_one_most_backbones_ran_on(
    cytobench, own_cells: Path
) -> None:
    def run(*backbones: str) -> None:
        names = [part for backbone in backbones for part in ("-b", backbone)]
        cytobench("run", *names, "-t", "my-cells", "--plugin", own_cells, "-p", "knn", "--trials", "0")

    run("majority", "colour-statistics")
    extra = own_cells / "cells" / "round" / "extra.png"
    extra.write_bytes((own_cells / "cells" / "round" / "0.png").read_bytes())
    run("majority")
    extra.unlink()
    (own_cells / "leaderboards").mkdir()
    (own_cells / "leaderboards" / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nbackbones = ["majority", "colour-statistics"]\n'
        'columns = [{ task = "my-cells", probe = "knn", tuned = false }]\n'
    )
    shown = json.loads(cytobench("leaderboard", "mine", "--plugin", own_cells, "--format", "json").out)
    assert [(one["status"], one["n"]) for one in shown] == [("done", 24), ("done", 24)]


def test_two_cards_of_one_name_are_not_silently_one(cytobench, own_cells: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(OWN_CARD.replace("../cells", str(own_cells / "cells")).replace("size = 48", "size = 40"))
    card = own_cells / "tasks" / "my-cells.toml"
    ran = cytobench("run", "-b", "majority", "-t", card, "-t", other)
    assert ran.code == 2
    assert "other.toml" in ran.err


def test_an_interrupted_command_says_how_to_go_on(own_cells: Path, home: Path) -> None:
    command = [sys.executable, "-m", "cytobench", "run", "-b", "random-vit-tiny", "-t", "my-cells"]
    child = subprocess.Popen(
        [*command, "--plugin", str(own_cells), "--home", str(home)], stderr=subprocess.PIPE, text=True
    )
    while not (home / "features").exists() and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said


def test_a_table_that_points_outside_its_folder_is_refused(
    cytobench, own_cells: Path, tmp_path: Path
) -> None:
    (own_cells / "cells" / "cells.csv").write_text("image,label\nround/0.png,round\n../../secret.png,long\n")
    card = own_cells / "tasks" / "my-cells.toml"
    card.write_text(OWN_CARD.replace('"folder", path = "../cells"', '"table", path = "../cells/cells.csv"'))
    ran = cytobench("run", "-b", "majority", "-t", "my-cells", "--plugin", own_cells)
    assert ran.code == 1
    assert "secret.png" in ran.out + ran.err


def test_a_card_whose_data_lie_outside_its_plugin_is_refused(cytobench, own_cells: Path) -> None:
    card = own_cells / "tasks" / "my-cells.toml"
    card.write_text(OWN_CARD.replace("../cells", "../../elsewhere"))
    ran = cytobench("run", "-b", "majority", "-t", "my-cells", "--plugin", own_cells)
    assert ran.code == 1
    assert "leaves" in ran.out + ran.err


def test_a_traceback_is_shown_only_when_asked_for(own_cells: Path, home: Path) -> None:
    command = [sys.executable, "-m", "cytobench", "run", "-b", "nothing-like-it", "--home", str(home)]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert (plain.returncode, "Traceback" in plain.stderr) == (2, False)
    assert "Traceback" in debug.stderr


def test_extract_fills_the_store_and_run_finds_it(cytobench, own_cells: Path) -> None:
    extracted = cytobench("extract", "-b", "colour-statistics", "-t", "my-cells", "--plugin", own_cells)
    assert extracted.code == 0, extracted.err
    assert "The features of colour-statistics are stored" in extracted.err
    assert "24" in cytobench("cache", "ls").out


def test_a_demo_without_any_score_says_why_and_writes_no_tables(cytobench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    ran = cytobench("demo", "--home", tmp_path / "file", "--out", tmp_path / "out")
    assert ran.code == 1
    assert "cannot be written to" in ran.err
    assert not (tmp_path / "out").exists()


def test_progress_in_a_log_is_one_line_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0.0)
    log = io.StringIO()
    reporter = console.ConsoleReporter(Console(file=log, width=40))
    with reporter.task("features of a backbone with a [long] name and more", 10) as step:
        step.advance(4)
        monkeypatch.setattr(console, "_QUIET_SECONDS", 60.0)
        step.advance(6)
    line, last = log.getvalue().splitlines()
    assert line.startswith("features of a backbone with a [long] name and more: 4 of 10 (")
    assert " s left)" in line
    assert ": 10 of 10 (" in last


def test_the_last_line_of_progress_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0.0)
    log = io.StringIO()
    with console.ConsoleReporter(Console(file=log, width=40)).task("cells", 3) as step:
        step.advance(3)
    assert log.getvalue().count("3 of 3") == 1


def test_what_weakens_a_score_is_said_below_it(cytobench, own_cells: Path) -> None:
    ran = cytobench("run", "-t", "my-cells", "-b", "colour-statistics", "-p", "knn", "--plugin", own_cells)
    assert "my-cells: cells, not patients, are split: scores are optimistic" in ran.out
