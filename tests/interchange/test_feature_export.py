"""Stored features leave as files that need no CytoBench, and come back with the same scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard, TaskCard
from cytobench.evaluation.run import RunRequest, benchmark
from cytobench.features.store import FeatureStore
from cytobench.interchange.feature_export import why_not_shared
from tests.evaluation.toy_benchmark import backbone, write_cells

CARDS = {
    "toy": """
name = "toy"
title = "Toy cells"
dataset = { format = "table", path = "../cells.csv" }
label = "cell_type"
group = "patient"
split = { folds = 3 }
view = { kind = "box" }
""",
    "toy-bags": """
name = "toy-bags"
title = "Toy patients \\"as bags\\""
dataset = { format = "table", path = "../cells.csv" }
unit = "bag"
bag = "patient"
label = "diagnosis"
group = "patient"
split = { folds = 2 }
view = { kind = "box" }
probes = ["mean-linear"]
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy cells in a plugin folder `my`, and the features of a shipped backbone for them in `home`."""
    root = tmp_path_factory.mktemp("lab")
    write_cells(root / "my", classes=("blast", "lymphocyte"))
    (root / "my" / "tasks").mkdir()
    for name, text in CARDS.items():
        (root / "my" / "tasks" / f"{name}.toml").write_text(text)
    request = RunRequest(
        tasks=[read_card(TaskCard, root / "my" / "tasks" / f"{name}.toml") for name in CARDS],
        backbones=[_colour()],
        home=root / "home",
        probes=["mean-linear", "prototype"],
        tuned=(False,),
        workers=1,
    )
    assert all(outcome.result for outcome in benchmark(request))
    return root


def _colour() -> BackboneCard:
    from cytobench.registry import Registry

    return Registry.load(entry_points=False).backbones["colour-statistics"]


def _export(cytobench, lab: Path, task: str, style: str, out: Path, *more: str):
    options = ("--home", lab / "home", "--plugin", lab / "my", "--format", style, "--out", out)
    return cytobench("cache", "export", "-b", "colour-statistics", "-t", task, *options, *more)


def _stored(lab: Path, about: dict[str, str]) -> np.ndarray:
    from cytobench.cards import View
    from cytobench.datasets.task import load_task
    from cytobench.digests import FileDigests
    from cytobench.features.items import items_of

    card = read_card(TaskCard, lab / "my" / "tasks" / f"{about['task']}.toml")
    table = load_task(card, data_dirs=[], home=lab / "home").table
    items = items_of(table, View(kind="box"), FileDigests(lab / "home"))
    return FeatureStore(lab / "home" / "features").space(about["space_id"]).load(items.ids)


def test_h5_holds_features_names_folds_and_where_they_come_from(cytobench, lab: Path, tmp_path: Path) -> None:
    ran = _export(cytobench, lab, "toy", "h5", tmp_path / "toy.h5")
    assert ran.code == 0, ran.err
    with h5py.File(tmp_path / "toy.h5") as file:
        about = {key: str(value) for key, value in file.attrs.items()}
        assert file["features"].dtype == np.float16
        np.testing.assert_array_equal(file["features"][:], _stored(lab, about).astype(np.float16))
        samples = [name.decode() for name in file["sample"][:]]
        folds = dict(zip(samples, file["fold"][:].tolist(), strict=True))
        assert set(file) == {"features", "sample", "label", "group", "fold"}
    (run,) = (lab / "home" / "results" / "toy").glob("colour-statistics/prototype/*/predictions.parquet")
    assert dict(pl.read_parquet(run).select("sample", "fold").iter_rows()) == folds
    result = json.loads((run.parent / "result.json").read_text())
    assert about["space_id"] == result["space_id"]
    assert about["manifest_digest"] == result["manifest_digest"]
    assert about["split_digest"] == result["split"]["digest"]
    assert len(about["backbone_card_digest"]) == 64
    assert about["licence"]


def test_parquet_and_npz_hold_the_same(cytobench, lab: Path, tmp_path: Path) -> None:
    for style in ("parquet", "npz"):
        ran = _export(cytobench, lab, "toy-bags", style, tmp_path / f"toy.{style}", "--float32")
        assert ran.code == 0, ran.err
    table = pl.read_parquet(tmp_path / "toy.parquet")
    about = pl.read_parquet_metadata(tmp_path / "toy.parquet")
    loaded = np.load(tmp_path / "toy.npz", allow_pickle=False)
    assert json.loads(str(loaded["about"]))["space_id"] == about["space_id"]
    np.testing.assert_array_equal(table["features"].to_numpy(), loaded["features"])
    np.testing.assert_array_equal(loaded["features"], _stored(lab, about))
    assert table.columns[:-1] == ["sample", "label", "group", "bag", "fold"]
    for name in table.columns[:-1]:
        assert table[name].to_list() == loaded[name].tolist()
    assert table.group_by("bag").agg(pl.col("fold").n_unique())["fold"].to_list() == [1] * 8


def test_bags_come_back_with_the_same_scores(cytobench, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "slides"
    ran = _export(cytobench, lab, "toy-bags", "slides", out)
    assert ran.code == 0, ran.err
    with h5py.File(next((out / "features").glob("*.h5"))) as file:
        assert file["features"].shape[0] == file["coords"].shape[0] == 6
    moved = shutil.move(out, tmp_path / "another-lab")
    request = RunRequest(
        tasks=[read_card(TaskCard, Path(moved) / "tasks" / "task.toml")],
        backbones=[read_card(BackboneCard, Path(moved) / "backbones" / "backbone.toml")],
        home=tmp_path / "home2",
        tuned=(False,),
    )
    (outcome,) = benchmark(request)
    assert outcome.result is not None, outcome.reason
    (run,) = (lab / "home" / "results" / "toy-bags").glob("colour-statistics/mean-linear/*")
    before = json.loads((run / "result.json").read_text())
    assert outcome.result.metrics == pytest.approx(before["metrics"], abs=1e-6)
    assert outcome.result.split.digest == before["split"]["digest"]
    assert outcome.backbone == "colour-statistics-features"
    again = _export(cytobench, lab, "toy-bags", "slides", Path(moved))
    assert again.code == 2
    assert "is not empty" in again.err


def test_a_task_over_cells_has_no_bags_to_write(cytobench, lab: Path, tmp_path: Path) -> None:
    ran = _export(cytobench, lab, "toy", "slides", tmp_path / "slides")
    assert ran.code == 2
    assert "is no task over bags" in ran.err


def test_features_that_are_not_stored_are_not_made_up(cytobench, lab: Path, tmp_path: Path) -> None:
    ran = cytobench(
        "cache", "export", "-b", "majority", "-t", "toy", "-o", tmp_path / "x.h5", "--plugin", lab / "my"
    )
    assert "sees no image" in ran.err
    ran = cytobench(
        *("cache", "export", "-b", "morphology", "-t", "toy", "-o", tmp_path / "x.h5"),
        *("--plugin", lab / "my", "--home", lab / "home"),
    )
    assert ran.code != 0
    assert "Traceback" not in ran.err
    assert not (tmp_path / "x.h5").exists()


def test_licences_that_forbid_sharing_are_told(cytobench, lab: Path, tmp_path: Path) -> None:
    assert why_not_shared(backbone("colour")) == ""
    assert "agreement" in why_not_shared(backbone("x", gated=True, licence="MIT"))
    assert "no derivatives" in why_not_shared(backbone("x", licence="CC-BY-NC-ND-4.0"))
    assert why_not_shared(backbone("x", licence="CC-BY-4.0")) == ""
    refused = cytobench(
        "cache", "export", "-b", "uni", "-t", "toy", "-o", tmp_path / "x.h5", "--plugin", lab / "my"
    )
    assert refused.code == 2
    assert "--own-use" in refused.err
