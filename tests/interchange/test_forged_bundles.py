"""Whatever was changed in a bundle on its way is found."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

from cytobench.errors import DataError
from cytobench.interchange.bundle import MANIFEST, opened, sha256
from cytobench.interchange.bundle_check import differences
from tests.interchange.lab_bundles import all_right, change_predictions, edit, forged, member_of, swapped


def test_a_changed_byte_is_found(bundle: Path) -> None:
    manifest, bodies, _ = opened(bundle)
    name = member_of(bodies, "predictions.parquet")
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
    name = member_of(bodies, "result.json", "majority")
    metrics = json.loads(bodies[name])["metrics"] | {"balanced_accuracy": 0.99}
    edit(bodies, name, metrics=metrics)


def _narrower(bodies: dict[str, bytes]) -> None:
    name = member_of(bodies, "result.json")
    intervals = json.loads(bodies[name])["intervals"]
    intervals["accuracy"]["low"] = 0.9
    edit(bodies, name, intervals=intervals)


def _renamed(bodies: dict[str, bytes]) -> None:
    name = member_of(bodies, "result.json")
    for member in [one for one in bodies if one.startswith(name[:70])]:
        bodies[f"runs/{'a' * 64}/{member.rpartition('/')[2]}"] = bodies.pop(member)
    edit(bodies, f"runs/{'a' * 64}/result.json", run_id="a" * 64)


def _another_key(bodies: dict[str, bytes]) -> None:
    edit(bodies, member_of(bodies, "key.json"), seed=7)


def _noise(bodies: dict[str, bytes]) -> None:
    name = member_of(bodies, "predictions.parquet")
    bodies[name] = bodies[name][:60] + bytes(40) + bodies[name][100:]
    edit(bodies, member_of(bodies, "result.json"), predictions_sha256=sha256(bodies[name]))


def _other_task(bodies: dict[str, bytes]) -> None:
    edit(bodies, "tasks/slides.json", metric="accuracy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_better, "metrics.balanced_accuracy is said to be 0.99 and is 0.5"),
        (_narrower, "intervals.accuracy.low"),
        (_renamed, "its id does not follow from what it says it is"),
        (_another_key, "its id does not follow"),
        (_noise, "its predictions cannot be read as Parquet"),
        (
            lambda bodies: edit(bodies, member_of(bodies, "result.json"), metric="accuracy"),
            "its primary metric is not that of the task's card",
        ),
        (lambda bodies: edit(bodies, member_of(bodies, "key.json"), probe=".."), "not of our kind (probe"),
        (lambda bodies: bodies.update({"tasks/slides.json": b"[" * 100_000}), "tasks/slides.json is no card"),
        (_other_task, "not the card whose digest stands in the manifest"),
        (swapped, "its labels are not those of the other runs on the same rows"),
        (
            lambda bodies: edit(bodies, member_of(bodies, "result.json"), space_id="f" * 64),
            "result and key differ in space",
        ),
        (
            lambda bodies: edit(bodies, member_of(bodies, "result.json"), protocol=99),
            "it was made under protocol 99",
        ),
        (
            lambda bodies: edit(bodies, member_of(bodies, "result.json"), comment="x"),
            "not of our kind",
        ),
        (
            lambda bodies: edit(bodies, member_of(bodies, "result.json"), unit="cell"),
            "unit or group are not those of the task",
        ),
        (lambda bodies: bodies.pop("backbones/uni-h5.json"), "the card backbones/uni-h5 is absent"),
        (
            lambda bodies: bodies.pop(next(name for name in bodies if name.startswith("folds/"))),
            "its folds are not in the bundle",
        ),
        (
            lambda bodies: change_predictions(bodies, lambda table: table[1:]),
            "1 samples of its folds have no prediction",
        ),
        (
            lambda bodies: change_predictions(bodies, lambda table: pl.concat([table, table[:1]])),
            "predicts some samples twice",
        ),
        (
            lambda bodies: change_predictions(
                bodies, lambda t: t.with_columns(pl.col("p:benign") * float("nan"))
            ),
            "not finite",
        ),
        (
            lambda bodies: change_predictions(bodies, lambda t: t.with_columns(pl.col("p:benign") + 0.5)),
            "do not sum to 1",
        ),
        (
            lambda bodies: change_predictions(bodies, lambda t: t.with_columns(predicted=pl.lit("benign"))),
            "not those of the highest probability",
        ),
        (
            lambda bodies: change_predictions(bodies, lambda t: t.with_columns(group=pl.lit("one"))),
            "other groups or folds than its split",
        ),
        (
            lambda bodies: change_predictions(
                bodies, lambda t: t.with_columns(fold=(2 - pl.col("fold")).cast(pl.Int16))
            ),
            "other groups or folds than its split",
        ),
        (lambda bodies: change_predictions(bodies, all_right), "do not follow from its predictions"),
    ],
)
def test_tampering_is_found_even_with_new_digests(bundle: Path, change, said: str) -> None:
    assert any(said in problem for problem in forged(bundle, change).problems)


def test_other_folds_under_the_same_digest_are_found(bundle: Path) -> None:
    def move(bodies: dict[str, bytes]) -> None:
        (name,) = [one for one in bodies if one.startswith("folds/")]
        table = pl.read_parquet(io.BytesIO(bodies[name]))
        buffer = io.BytesIO()
        table.with_columns(fold=(2 - pl.col("fold")).cast(pl.Int16)).write_parquet(buffer)
        bodies[name] = buffer.getvalue()

    problems = forged(bundle, move).problems
    assert any("its folds are not those of its split digest" in one for one in problems)


def test_rounding_is_no_tampering() -> None:
    assert not differences({"a": [0.1, None, True]}, {"a": [0.1 + 1e-9, None, True]})
    assert differences({"a": 0.1}, {"a": 0.1001})
    assert differences({"a": 1}, {"a": True})
    assert differences({"a": 1.0}, {"b": 1.0})
