"""Results travel between labs as bundles; whatever was changed on the way is found."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from cytobench.errors import DataError
from cytobench.evaluation.run import RunRequest, benchmark
from cytobench.interchange.bundle import MANIFEST, Manifest, opened, sealed, sha256
from cytobench.interchange.bundle_check import Bundle, check_bundle, differences
from cytobench.interchange.bundle_export import Chosen, pack
from cytobench.leaderboard.collect import StoredRuns
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import backbone
from tests.interchange.slide_folders import SLIDES, project

QUIET = SilentReporter()
BOARD = """
name = "slide-board"
title = "Slides"
columns = [{ task = "slides", probe = "mean-linear", tuned = false }]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with its plugin folder `my` and its results in `home`."""
    root = tmp_path_factory.mktemp("lab")
    own = project(root / "my")
    (own / "leaderboards").mkdir()
    (own / "leaderboards" / "slide-board.toml").write_text(BOARD)
    outcomes = benchmark(
        RunRequest(**_cards(own), home=root / "home", tuned=(False,), probes=["mean-linear"])
    )
    assert all(outcome.result for outcome in outcomes)
    return root


def _cards(own: Path) -> dict[str, Any]:
    names = ("uni-h5", "phikon-h5")
    backbones = [read_card(BackboneCard, own / "backbones" / f"{name}.toml") for name in names]
    task = read_card(TaskCard, own / "tasks" / "slides.toml")
    return {"tasks": [task], "backbones": [*backbones, backbone("majority")]}


def _packed(lab: Path, *, salt: str | None = None, name: str = "north") -> bytes:
    cards = _cards(lab / "my")
    chosen = Chosen(
        runs=StoredRuns(lab / "home", QUIET).runs,
        tasks={card.name: card for card in cards["tasks"]},
        backbones={card.name: card for card in cards["backbones"]},
        boards=[read_card(LeaderboardCard, lab / "my" / "leaderboards" / "slide-board.toml")],
    )
    return pack(chosen, lab / "home", lab=name, note="", salt=salt, reporter=QUIET).content


@pytest.fixture
def bundle(lab: Path, tmp_path: Path) -> Path:
    path = tmp_path / "north.cytobench.zip"
    path.write_bytes(_packed(lab))
    return path


def _forge(path: Path, change: Callable[[dict[str, bytes]], None]) -> Bundle:
    """Change members, compute all digests of the manifest anew as a forger would, and check the bundle."""
    manifest, bodies, _ = opened(path)
    change(bodies)
    path.write_bytes(sealed(manifest, bodies))
    return check_bundle(path, QUIET)


def _one(bodies: dict[str, bytes], ending: str, holding: str = "uni-h5") -> str:
    """Return the name of a member of the run of the backbone `holding`."""
    found = [
        name.rpartition("/")[0]
        for name, body in bodies.items()
        if name.endswith("result.json") and json.loads(body)["backbone"] == holding
    ]
    return f"{found[0]}/{ending}"


def _edit(bodies: dict[str, bytes], name: str, **changes: Any) -> None:
    bodies[name] = json.dumps(json.loads(bodies[name]) | changes).encode()


def _predictions(
    bodies: dict[str, bytes], change: Callable[[pl.DataFrame], pl.DataFrame], *, restate: bool = False
) -> None:
    """Replace the predictions of a run and their digest; with `restate` every number of the result too."""
    from cytobench.evaluation.results import RunResult
    from cytobench.interchange.bundle_check import restated

    name = _one(bodies, "predictions.parquet")
    table = change(pl.read_parquet(io.BytesIO(bodies[name])))
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    bodies[name] = buffer.getvalue()
    result = _one(bodies, "result.json")
    _edit(bodies, result, predictions_sha256=sha256(bodies[name]))
    if restate:
        stated = restated(RunResult.model_validate_json(bodies[result]), table)
        bodies[result] = stated.model_dump_json().encode()


def test_equal_results_give_equal_bytes_and_check_out(lab: Path, bundle: Path) -> None:
    assert bundle.read_bytes() == _packed(lab)
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


def test_a_changed_byte_is_found(bundle: Path) -> None:
    manifest, bodies, _ = opened(bundle)
    name = _one(bodies, "predictions.parquet")
    with zipfile.ZipFile(bundle) as archive:
        kept = {entry: archive.read(entry) for entry in archive.namelist()}
    kept[name] = kept[name].replace(b"PAR1", b"PAR2", 1)
    with zipfile.ZipFile(bundle, "w") as archive:
        for entry, body in kept.items():
            archive.writestr(entry, body)
    with pytest.raises(DataError, match="has other bytes than listed"):
        opened(bundle)
    assert manifest.members[name].sha256 != sha256(kept[name])


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("../../evil.py", "a member is named"),
        ("/etc/passwd", "a member is named"),
        ("runs/x/evil.sh", "a member is named"),
        (f"runs/{'0' * 64}/result.json", "is there and not listed"),
    ],
)
def test_members_that_do_not_belong_are_refused(bundle: Path, extra: str, said: str) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr(extra, b"{}")
    with pytest.raises(DataError, match=said):
        opened(bundle)


def test_a_huge_member_is_refused_unread(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cytobench.interchange.bundle.MOST_BYTES", 2**20)
    with zipfile.ZipFile(bundle, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"folds/{'1' * 64}.parquet", bytes(2**21))
    with pytest.raises(DataError, match="is larger than 1 MiB"):
        opened(bundle)


def test_a_member_twice_a_member_lost_and_no_zip_are_refused(bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    shutil.copy(bundle, again)
    with zipfile.ZipFile(again, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("tasks/slides.json", b"{}")
    with pytest.raises(DataError, match="is there twice"):
        opened(again)
    manifest, bodies, _ = opened(bundle)
    bodies.pop("tasks/slides.json")
    lost = tmp_path / "lost.zip"
    with zipfile.ZipFile(lost, "w") as archive:
        archive.writestr(MANIFEST, manifest.model_dump_json())
        for name, body in bodies.items():
            archive.writestr(name, body)
    with pytest.raises(DataError, match=r"tasks/slides\.json is listed and absent"):
        opened(lost)
    lost.write_bytes(bundle.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read as a bundle"):
        opened(lost)


def _better(bodies: dict[str, bytes]) -> None:
    name = _one(bodies, "result.json", "majority")
    metrics = json.loads(bodies[name])["metrics"] | {"balanced_accuracy": 0.99}
    _edit(bodies, name, metrics=metrics)


def _narrower(bodies: dict[str, bytes]) -> None:
    name = _one(bodies, "result.json")
    intervals = json.loads(bodies[name])["intervals"]
    intervals["accuracy"]["low"] = 0.9
    _edit(bodies, name, intervals=intervals)


def _renamed(bodies: dict[str, bytes]) -> None:
    name = _one(bodies, "result.json")
    for member in [one for one in bodies if one.startswith(name[:70])]:
        bodies[f"runs/{'a' * 64}/{member.rpartition('/')[2]}"] = bodies.pop(member)
    _edit(bodies, f"runs/{'a' * 64}/result.json", run_id="a" * 64)


def _another_key(bodies: dict[str, bytes]) -> None:
    _edit(bodies, _one(bodies, "key.json"), seed=7)


def _noise(bodies: dict[str, bytes]) -> None:
    name = _one(bodies, "predictions.parquet")
    bodies[name] = bodies[name][:60] + bytes(40) + bodies[name][100:]
    _edit(bodies, _one(bodies, "result.json"), predictions_sha256=sha256(bodies[name]))


def _other_task(bodies: dict[str, bytes]) -> None:
    _edit(bodies, "tasks/slides.json", metric="accuracy")


def _swapped(bodies: dict[str, bytes]) -> None:
    _predictions(
        bodies, lambda table: table.with_columns(pl.col("label").reverse().alias("label")), restate=True
    )


def _all_right(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(
        pl.col("label").alias("predicted"),
        *((pl.col("label") == name).cast(pl.Float64).alias(f"p:{name}") for name in ("benign", "malignant")),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_better, "metrics.balanced_accuracy is said to be 0.99 and is 0.5"),
        (_narrower, "intervals.accuracy.low"),
        (_renamed, "its id does not follow from what it says it is"),
        (_another_key, "its id does not follow"),
        (_noise, "its predictions cannot be read as Parquet"),
        (
            lambda bodies: _edit(bodies, _one(bodies, "result.json"), metric="accuracy"),
            "its primary metric is not that of the task's card",
        ),
        (lambda bodies: _edit(bodies, _one(bodies, "key.json"), probe=".."), "not of our kind (probe"),
        (lambda bodies: bodies.update({"tasks/slides.json": b"[" * 100_000}), "tasks/slides.json is no card"),
        (_other_task, "not the card whose digest stands in the manifest"),
        (_swapped, "its labels are not those of the other runs on the same rows"),
        (
            lambda bodies: _edit(bodies, _one(bodies, "result.json"), space_id="f" * 64),
            "result and key differ in space",
        ),
        (
            lambda bodies: _edit(bodies, _one(bodies, "result.json"), protocol=99),
            "it was made under protocol 99",
        ),
        (
            lambda bodies: _edit(bodies, _one(bodies, "result.json"), comment="x"),
            "not of our kind",
        ),
        (
            lambda bodies: _edit(bodies, _one(bodies, "result.json"), unit="cell"),
            "unit or group are not those of the task",
        ),
        (lambda bodies: bodies.pop("backbones/uni-h5.json"), "the card backbones/uni-h5 is absent"),
        (
            lambda bodies: bodies.pop(next(name for name in bodies if name.startswith("folds/"))),
            "its folds are not in the bundle",
        ),
        (
            lambda bodies: _predictions(bodies, lambda table: table[1:]),
            "1 samples of its folds have no prediction",
        ),
        (
            lambda bodies: _predictions(bodies, lambda table: pl.concat([table, table[:1]])),
            "predicts some samples twice",
        ),
        (
            lambda bodies: _predictions(bodies, lambda t: t.with_columns(pl.col("p:benign") * float("nan"))),
            "not finite",
        ),
        (
            lambda bodies: _predictions(bodies, lambda t: t.with_columns(pl.col("p:benign") + 0.5)),
            "do not sum to 1",
        ),
        (
            lambda bodies: _predictions(bodies, lambda t: t.with_columns(predicted=pl.lit("benign"))),
            "not those of the highest probability",
        ),
        (
            lambda bodies: _predictions(bodies, lambda t: t.with_columns(group=pl.lit("one"))),
            "other groups or folds than its split",
        ),
        (
            lambda bodies: _predictions(
                bodies, lambda t: t.with_columns(fold=(2 - pl.col("fold")).cast(pl.Int16))
            ),
            "other groups or folds than its split",
        ),
        (lambda bodies: _predictions(bodies, _all_right), "do not follow from its predictions"),
    ],
)
def test_tampering_is_found_even_with_new_digests(bundle: Path, change, said: str) -> None:
    assert any(said in problem for problem in _forge(bundle, change).problems)


def test_other_folds_under_the_same_digest_are_found(bundle: Path) -> None:
    def move(bodies: dict[str, bytes]) -> None:
        (name,) = [one for one in bodies if one.startswith("folds/")]
        table = pl.read_parquet(io.BytesIO(bodies[name]))
        buffer = io.BytesIO()
        table.with_columns(fold=(2 - pl.col("fold")).cast(pl.Int16)).write_parquet(buffer)
        bodies[name] = buffer.getvalue()

    problems = _forge(bundle, move).problems
    assert any("its folds are not those of its split digest" in one for one in problems)


def test_rounding_is_no_tampering() -> None:
    assert not differences({"a": [0.1, None, True]}, {"a": [0.1 + 1e-9, None, True]})
    assert differences({"a": 0.1}, {"a": 0.1001})
    assert differences({"a": 1}, {"a": True})
    assert differences({"a": 1.0}, {"b": 1.0})


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
    _forge(bundle, lambda bodies: _predictions(bodies, _all_right, restate=True))
    home = shutil.copytree(lab / "home", tmp_path / "south")
    (own,) = home.glob("results/slides/uni-h5/mean-linear/*")
    call = _commands(cytobench, lab, home)
    assert call("bundle", "import", bundle).code == 0
    flipped = pl.read_parquet(own / "predictions.parquet")
    assert not flipped.equals(_all_right(flipped))
    board = call("leaderboard", "slide-board")
    assert "uni-h5@north" in board.out
    assert "made the same run (slides, mean-linear) and differ" in board.out


def test_a_forger_of_labels_is_found_by_who_has_the_task(
    cytobench, lab: Path, bundle: Path, tmp_path: Path
) -> None:
    def swap_everywhere(bodies: dict[str, bytes]) -> None:
        for name in ("majority", "phikon-h5"):
            for member in [one for one in bodies if one.startswith(_one(bodies, "", name))]:
                bodies.pop(member)
        _swapped(bodies)

    found = _forge(bundle, swap_everywhere)
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
    path.write_bytes(_packed(lab, salt="between us"))
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
    _forge(out, lambda bodies: _edit(bodies, _one(bodies, "result.json"), n=99))
    broken = cytobench("bundle", "show", out, "--home", tmp_path / "x")
    assert broken.code == 1
    assert "n is said to be 99 and is 12" in broken.out


def test_a_lab_that_contradicts_itself_is_asked_which_is_right(
    cytobench, bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "south"
    assert cytobench("bundle", "import", bundle, "--home", home).code == 0
    _forge(bundle, lambda bodies: _predictions(bodies, _all_right, restate=True))
    refused = cytobench("bundle", "import", bundle, "--home", home)
    assert refused.code == 1
    assert "north has sent other numbers" in refused.err
    assert (
        "3 runs of north imported" in cytobench("bundle", "import", bundle, "--replace", "--home", home).out
    )


def test_a_run_whose_card_has_changed_since_is_left_out_and_said(lab: Path) -> None:
    cards = _cards(lab / "my")
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
