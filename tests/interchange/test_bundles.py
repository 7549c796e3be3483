"""Results travel between labs as bundles and stand beside each other in tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cytobench.interchange.bundle import Manifest, opened
from cytobench.interchange.bundle_check import check_bundle
from cytobench.interchange.bundle_export import Chosen, pack
from cytobench.leaderboard.collect import StoredRuns
from tests.interchange.lab_bundles import (
    QUIET,
    all_right,
    cards_of,
    change_predictions,
    edit,
    forged,
    member_of,
    packed,
    swapped,
)
from tests.interchange.slide_folders import SLIDES


def test_equal_results_give_equal_bytes_and_check_out(lab: Path, bundle: Path) -> None:
    assert bundle.read_bytes() == packed(lab)
    found = check_bundle(bundle, QUIET)
    assert found.problems == ()
    assert {run.result.backbone for run in found.runs} == {"uni-h5", "phikon-h5", "majority"}
    assert found.manifest.lab == "north"


def test_a_bundle_holds_no_place_of_its_machine(lab: Path, bundle: Path) -> None:
    _, bodies, _ = opened(bundle)
    for name, body in bodies.items():
        assert str(lab).encode() not in body, name
        assert b"features_uni_v1" not in body, name


def test_what_looks_like_a_path_leaves_the_warnings() -> None:
    from cytobench.interchange.bundle_export import without_paths

    said = without_paths(["3 rows of /home/me/data/x.csv lack a label", "12 cells/field stay"])
    assert said == ["3 rows of … lack a label", "12 cells/field stay"]


def _commands(cytobench, lab: Path, home: Path) -> Callable[..., Any]:
    return lambda *arguments: cytobench(*arguments, "--home", home, "--plugin", lab / "my")


def test_a_lab_without_the_task_keeps_it_as_foreign(cytobench, bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "south"
    ran = cytobench("bundle", "import", bundle, "--home", home)
    assert ran.code == 0, ran.err
    assert "3 runs of north imported" in ran.out
    assert "Tasks only north has, kept as theirs: slides" in ran.err
    board = cytobench("leaderboard", "slide-board", "--home", home)
    assert "uni-h5@north" in board.out, board.err
    assert "computed by other labs: north" in board.out
    again = cytobench("bundle", "import", bundle, "--home", home)
    assert "0 runs of north imported, 3 were here" in again.out
    shown = cytobench("show", "uni-h5@north", "--home", home)
    assert "uni-h5@north" in shown.out, shown.err
    tried = cytobench("run", "-b", "uni-h5@north", "-t", "slides", "--home", home)
    assert tried.code != 0
    assert "Traceback" not in tried.err


def test_equal_runs_of_two_labs_are_one_row(cytobench, lab: Path, bundle: Path, tmp_path: Path) -> None:
    home = shutil.copytree(lab / "home", tmp_path / "south")
    call = _commands(cytobench, lab, home)
    ran = call("bundle", "import", bundle)
    assert ran.code == 0, ran.err
    board = call("leaderboard", "slide-board")
    assert "uni-h5@north" not in board.out
    assert "north has the same numbers as we for majority, phikon-h5, uni-h5: one row for both" in board.out
    duel = call("compare", "uni-h5", "phikon-h5@north", "--task", "slides")
    assert duel.code == 0, duel.err
    assert "phikon-h5@north" in duel.out


def test_different_numbers_for_one_run_are_both_shown(
    cytobench, lab: Path, bundle: Path, tmp_path: Path
) -> None:
    forged(bundle, lambda bodies: change_predictions(bodies, all_right, restate=True))
    home = shutil.copytree(lab / "home", tmp_path / "south")
    (own,) = home.glob("results/slides/uni-h5/mean-linear/*")
    call = _commands(cytobench, lab, home)
    assert call("bundle", "import", bundle).code == 0
    flipped = pl.read_parquet(own / "predictions.parquet")
    assert not flipped.equals(all_right(flipped))
    board = call("leaderboard", "slide-board")
    assert "uni-h5@north" in board.out
    assert "made the same run (slides, mean-linear) and differ" in board.out


def test_a_forger_of_labels_is_found_by_who_has_the_task(
    cytobench, lab: Path, bundle: Path, tmp_path: Path
) -> None:
    def swap_everywhere(bodies: dict[str, bytes]) -> None:
        for name in ("majority", "phikon-h5"):
            for member in [one for one in bodies if one.startswith(member_of(bodies, "", name))]:
                bodies.pop(member)
        swapped(bodies)

    found = forged(bundle, swap_everywhere)
    assert len(found.runs) == 1
    assert found.problems == ()  # in itself it is coherent
    home = shutil.copytree(lab / "home", tmp_path / "south")
    refused = _commands(cytobench, lab, home)("bundle", "import", bundle)
    assert refused.code == 1
    assert "its labels are not those of our data" in refused.err
    shutil.copytree(lab / "my", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "features_uni_v1")  # results here, data not
    refused = cytobench("bundle", "import", bundle, "--home", home, "--plugin", tmp_path / "elsewhere")
    assert "its labels are not those of our own runs" in refused.err
    assert not (home / "imported").exists()


def test_a_task_of_the_same_name_that_is_another_one_is_refused(
    cytobench, lab: Path, bundle: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(lab / "my", tmp_path / "my")
    card = other / "tasks" / "slides.toml"
    card.write_text(card.read_text().replace("folds = 3", "folds = 2"))
    refused = cytobench("bundle", "import", bundle, "--home", tmp_path / "home2", "--plugin", other)
    assert refused.code == 1
    assert "the task slides is not ours: split.folds is said to be 3 and is 2" in refused.err
    card.write_text((lab / "my" / "tasks" / "slides.toml").read_text())
    labels = other / "slides.csv"
    labels.write_text(labels.read_text().replace("malignant;patient1", "benign;patient1"))
    refused = cytobench("bundle", "import", bundle, "--home", tmp_path / "home2", "--plugin", other)
    assert "its rows are not those of our data" in refused.err


def test_names_of_samples_can_be_coded(cytobench, lab: Path, tmp_path: Path) -> None:
    path = tmp_path / "coded.zip"
    path.write_bytes(packed(lab, salt="between us"))
    for body in opened(path)[1].values():
        assert SLIDES[0].encode() not in body
        assert b"patient3" not in body
    home = shutil.copytree(lab / "home", tmp_path / "south")
    call = _commands(cytobench, lab, home)
    assert "give the --salt" in call("bundle", "import", path).err
    assert "coded with another salt" in call("bundle", "import", path, "--salt", "guess").err
    ran = call("bundle", "import", path, "--salt", "between us")
    assert ran.code == 0, ran.err
    (own,) = home.glob("results/slides/uni-h5/mean-linear/*")
    (theirs,) = home.glob("results/slides/uni-h5_north-*/mean-linear/*")
    assert pl.read_parquet(own / "predictions.parquet").equals(
        pl.read_parquet(theirs / "predictions.parquet")
    )
    stranger = cytobench("bundle", "import", path, "--salt", "between us", "--home", tmp_path / "empty")
    assert "no run of ours has these folds" in stranger.err


def test_the_commands_pack_show_and_expect(cytobench, lab: Path, tmp_path: Path) -> None:
    call = _commands(cytobench, lab, lab / "home")
    out = tmp_path / "results.cytobench.zip"
    packed = call("bundle", "export", "slide-board", "--lab", "north", "--out", out, "-b", "uni-h5")
    assert packed.code == 0, packed.err
    line = packed.out.splitlines()[-1]
    assert line.startswith("cytobench-bundle sha256:")
    shown = cytobench("bundle", "show", out, "--home", tmp_path / "x")
    assert shown.code == 0
    assert line in shown.out
    assert "uni-h5" in shown.out
    assert "computed again and is as stated" in shown.out
    digest = line.split()[1]
    wrong = cytobench("bundle", "import", out, "--expect", "sha256:" + "0" * 64, "--home", tmp_path / "x")
    assert "is not the bundle that was published" in wrong.err
    assert cytobench("bundle", "import", out, "--expect", digest, "--home", tmp_path / "x").code == 0
    assert call("bundle", "export", "slides", "--lab", "a lab", "--out", out).code == 2
    forged(out, lambda bodies: edit(bodies, member_of(bodies, "result.json"), n=99))
    broken = cytobench("bundle", "show", out, "--home", tmp_path / "x")
    assert broken.code == 1
    assert "n is said to be 99 and is 12" in broken.out


def test_a_lab_that_contradicts_itself_is_asked_which_is_right(
    cytobench, bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "south"
    assert cytobench("bundle", "import", bundle, "--home", home).code == 0
    forged(bundle, lambda bodies: change_predictions(bodies, all_right, restate=True))
    refused = cytobench("bundle", "import", bundle, "--home", home)
    assert refused.code == 1
    assert "north has sent other numbers" in refused.err
    assert (
        "3 runs of north imported" in cytobench("bundle", "import", bundle, "--replace", "--home", home).out
    )


def test_a_run_whose_card_has_changed_since_is_left_out_and_said(lab: Path) -> None:
    cards = cards_of(lab / "my")
    changed = cards["tasks"][0].model_copy(update={"metric": "accuracy"})
    chosen = Chosen(
        runs=StoredRuns(lab / "home", QUIET).runs,
        tasks={"slides": changed},
        backbones={card.name: card for card in cards["backbones"]},
    )
    with pytest.raises(Exception, match="no longer the one it was made with; run it again"):
        pack(chosen, lab / "home", lab="north", note="", salt=None, reporter=QUIET)


def test_the_manifest_refuses_names_that_would_be_paths() -> None:
    with pytest.raises(ValueError):
        Manifest(lab="../evil", versions={}, cards={}, members={})
