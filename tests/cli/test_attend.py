"""`cytobench attend` as a user meets it: images, cells, bags, outputs, defaults, refusals in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench import cli as command_line
from cytobench.inspection.bag_attention import FILE
from tests.evaluation.toy_benchmark import write_cells

CARD = """
name = "{name}"
title = "Toy cells"
dataset = {{ format = "table", path = "../cells.csv" }}
label = "{label}"
group = "patient"
split = {{ folds = 2 }}
view = {{ kind = "box" }}
{more}
"""
BAGS = 'unit = "bag"\nbag = "patient"\nprobes = ["abmil", "mean-linear"]'
HOSTILE = "<img src=x onerror=alert(1)> [red]"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def cytobench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> Command:
    """Run a command in this process, in a folder of its own, with the toy tasks known."""
    monkeypatch.setenv("CYTOBENCH_HOME", str(home))
    monkeypatch.delenv("CYTOBENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    _toy(tmp_path / "my")

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cytobench", *map(str, arguments), "--plugin", "my"])
        try:
            command_line.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call


def _toy(root: Path) -> None:
    write_cells(root, classes=("blast", "lymphocyte", HOSTILE))
    table = pl.read_csv(root / "cells.csv")
    ill = pl.col("diagnosis") != "blast"
    bad = ill & (pl.int_range(pl.len()) % 3 == 0)
    table.with_columns(
        pl.when(ill).then(pl.lit("ill")).otherwise(pl.lit("healthy")).alias("verdict"),
        pl.when(bad).then(pl.lit("bad")).otherwise(pl.lit("good")).alias("instance_label"),
    ).write_csv(root / "cells.csv")
    (root / "tasks").mkdir()
    for name, label, more in (
        ("toy", "cell_type", ""),
        ("toy-bags", "verdict", BAGS),
        ("hidden", "cell_type", "show_images = false"),
        ("hidden-bags", "verdict", BAGS + "\nshow_images = false"),
    ):
        text = CARD.format(name=name, label=label, more=more)
        (root / "tasks" / f"{name}.toml").write_text(text, encoding="utf-8")


def _picture(path: Path, width: int = 90, height: int = 80) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_an_image_without_options_becomes_a_picture_that_is_named(cytobench: Command, tmp_path: Path) -> None:
    ran = cytobench("attend", _picture(tmp_path / "cell.png"), "-b", "cytofm")
    assert ran.code == 0, ran.err
    assert "attend-cell.png" in ran.err
    with Image.open("attend-cell.png") as sheet:
        assert sheet.width > 800
    assert "5 x 5" in ran.out


def test_json_holds_maps_that_sum_to_1(cytobench: Command, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        _picture(folder / name)
    ran = cytobench("attend", folder, "-b", "cytofm", "--json")
    record = json.loads(ran.out)
    assert [one["name"] for one in record["images"]] == ["a.png", "b.png"]
    for one in record["images"]:
        heads = np.array(one["heads"])
        assert heads.shape == (3, 5, 5)
        np.testing.assert_allclose(heads.sum((1, 2)) + one["to_prefix"], 1, atol=1e-5)
        assert np.sum(one["rollout"]) + one["rollout_to_prefix"] == pytest.approx(1, abs=1e-5)
    assert not list(tmp_path.glob("*.png"))


def test_a_box_is_cut_as_the_task_cuts_it(cytobench: Command, tmp_path: Path) -> None:
    path = _picture(tmp_path / "field.png")
    alone = json.loads(cytobench("attend", path, "-b", "cytofm", "--box", "10,20,40,40", "--json").out)
    Image.open(path).crop((10, 20, 50, 60)).save(tmp_path / "cut.png")
    cut = json.loads(cytobench("attend", tmp_path / "cut.png", "-b", "cytofm", "--json").out)
    assert alone["images"][0]["heads"] == cut["images"][0]["heads"]
    task = cytobench(
        "attend", path, "-b", "cytofm", "-t", "synthetic-cell-type", "--box", "30,20,20,40", "--json"
    )
    assert json.loads(task.out)["images"][0]["on_cell"]["area"] == pytest.approx(20 * 40 / 128**2, abs=0.01)


def test_cells_of_a_task_become_a_page_that_escapes_their_names(cytobench: Command) -> None:
    ran = cytobench("attend", "toy", "-b", "cytofm", "-n", 1, "--html", "a.html", "--png", "a.png")
    assert ran.code == 0, ran.err
    page = Path("a.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert page.count("<figure") == 3 * 3 + 2
    assert "http" not in page.replace("http-equiv", "")


def test_bags_show_weights_and_keep_the_figures_against_truth(cytobench: Command, home: Path) -> None:
    refused = cytobench("attend", "toy-bags", "-b", "colour-statistics", "--untuned")
    assert refused.code == 2
    assert "cytobench run -b colour-statistics -t toy-bags -p abmil" in refused.err
    assert cytobench("run", "-b", "colour-statistics", "-t", "toy-bags").code == 0
    ran = cytobench("attend", "toy-bags", "-b", "colour-statistics", "--untuned", "--json")
    record = json.loads(ran.out)
    assert {one["label"] for one in record["bags"]} == {"healthy", "ill"}
    for bag in record["bags"]:
        assert sum(one["weight"] for one in bag["instances"]) == pytest.approx(1)
    (kept,) = home.glob(f"results/toy-bags/*/abmil/*/{FILE}")
    stored = json.loads(kept.read_text(encoding="utf-8"))
    assert stored["auroc"] == record["truth"]["auroc"]
    assert stored["run_id"] == kept.parent.name
    shown = cytobench(
        "attend", "toy-bags", "-b", "colour-statistics", "--untuned", "--bag", "p1", "--html", "b.html"
    )
    assert "AUROC" in shown.out
    assert "chance 0.5" in shown.out
    assert "p1: is ill" in Path("b.html").read_text(encoding="utf-8")
    mean = cytobench("attend", "toy-bags", "-b", "colour-statistics", "--untuned", "-p", "mean-linear")
    assert mean.code == 2
    assert "weighs no instances" in mean.err


def test_a_licence_that_forbids_pictures_leaves_the_figures(cytobench: Command, tmp_path: Path) -> None:
    ran = cytobench("attend", "hidden", "-b", "cytofm")
    assert ran.code == 0
    assert "No picture is written" in ran.err
    assert "lymphocyte" in ran.out
    assert not list(tmp_path.glob("*.png"))
    assert cytobench("attend", "hidden", "-b", "cytofm", "--html", "a.html").code == 2
    assert cytobench("run", "-b", "colour-statistics", "-t", "hidden-bags", "-p", "abmil").code == 0
    bags = cytobench("attend", "hidden-bags", "-b", "colour-statistics", "--untuned")
    assert bags.code == 0, bags.err
    assert "AUROC" in bags.out
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["toy", "-b", "morphology"], 2, "handcrafted features and has no attention"),
        (["toy", "-b", "majority"], 2, "predicts without looking"),
        (["absent.png", "-b", "cytofm"], 2, "no task, image or folder named"),
        (["tooy", "-b", "cytofm"], 2, "did you mean 'toy'"),
        (["tooy", "-b", "cytofm"], 2, "Nor is there an image"),
        (["toy-bags", "-b", "majority"], 2, "predicts without looking"),
        (["toy-bags", "-b", "cytofm", "--run-seed", "3"], 2, "-p abmil --seed 3"),
        (["cell.png", "toy", "-b", "cytofm"], 2, "toy is a task: name it alone"),
        (["cell.png", "-b", "cytofm", "--box", "1,2,3"], 2, "is not X,Y,W,H"),
        (["cell.png", "-b", "cytofm", "--box", "80,70,30,30"], 2, "not inside"),
        (["cell.png", "-b", "cytofm", "--box", "5,5,0,0"], 1, "has no area"),
        (["cell.png", "-b", "cytofm", "--bag", "p1"], 2, "--bag has no effect here"),
        (["toy", "-b", "cytofm", "--box", "1,2,3,4"], 2, "--box has no effect here"),
        (["cell.png", "-b", "cytofm", "--png", "a.jpg"], 2, "should end in .png"),
        (["dot.png", "-b", "cytofm"], 1, "too few to attend"),
        (["text.png", "-b", "cytofm"], 1, "not an image"),
    ],
)
def test_what_cannot_be_done_is_said(
    cytobench: Command, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    _picture(tmp_path / "cell.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    ran = cytobench("attend", *arguments)
    assert said in " ".join(ran.err.split())
    assert ran.code == code
    assert "Traceback" not in ran.err
    assert not list(tmp_path.glob("attend-*"))
