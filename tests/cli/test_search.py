"""`cytobench search` and `cytobench index` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from tests.cli.shell import HOSTILE, TOY_CARD, Command
from tests.evaluation.toy_benchmark import write_cells


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A plugin folder with toy cells, one class of which has a hostile name, and one hostile file name."""
    root = tmp_path / "my"
    write_cells(root, classes=("blast", "lymphocyte", HOSTILE))
    odd = root / "p0" / "<script>alert(2)<script>.png"
    (root / "p0" / "0.png").rename(odd)
    table = pl.read_csv(root / "cells.csv")
    renamed = pl.col("image").replace({"p0/0.png": f"p0/{odd.name}"})
    table.with_columns(renamed).write_csv(root / "cells.csv")
    (root / "tasks").mkdir()
    for name, more in (("toy", ""), ("secret", "show_images = false")):
        (root / "tasks" / f"{name}.toml").write_text(
            TOY_CARD.format(name=name, label="cell_type", folds=3, more=more)
        )
    return root


@pytest.fixture
def search(cytobench: Command, cells: Path) -> Command:
    """Search the toy cells under `colour-statistics`."""
    fixed = ("-b", "colour-statistics", "--plugin", cells)
    return lambda *arguments: cytobench("search", *arguments, *fixed)


def test_neighbours_are_shown_as_a_table(search: Command, cells: Path) -> None:
    shown = search(cells / "p1" / "2.png", "-d", "toy", "-k", 4)
    assert shown.code == 0, shown.err
    assert "of 4 neighbours are" in shown.out
    assert "the query itself is left out" in shown.out
    assert "p1/2.png" not in shown.out.split("similarity")[1].split("48 cells")[0]
    assert "Index of toy under colour-statistics: 48 cells, exact." in shown.err


def test_json_says_everything(search: Command, cells: Path) -> None:
    shown = search(cells / "p1" / "2.png", cells / "p4", "-d", "toy", "-k", 3, "--exclude-group", "--json")
    record = json.loads(shown.out)
    assert record["cells"] == 48
    assert len(record["queries"]) == 1 + 6
    first = record["queries"][0]
    assert [one["rank"] for one in first["neighbours"]] == [1, 2, 3]
    assert {one["group"] for one in first["neighbours"]}.isdisjoint({"p1"})
    assert set(first["neighbours"][0]) == {"rank", "similarity", "sample", "label", "group", "file", "box"}


def test_hostile_names_are_text_in_the_page_and_the_sheet(
    search: Command, cells: Path, tmp_path: Path
) -> None:
    files = ("--html", tmp_path / "a" / "near.html", "--png", tmp_path / "near.png")
    shown = search(cells / "p0", "-d", "toy", "-k", 47, *files)
    assert shown.code == 0, shown.err
    page = (tmp_path / "a" / "near.html").read_text()
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "&lt;script&gt;alert(2)&lt;script&gt;.png" in page
    assert page.count("data:image/webp;base64,") == 6 * 48
    assert str(tmp_path) not in page
    assert Image.open(tmp_path / "near.png").size[0] > 700
    assert HOSTILE in shown.out


def test_a_licence_that_forbids_pictures_forbids_only_pictures(
    search: Command, cells: Path, tmp_path: Path
) -> None:
    query = cells / "p1" / "2.png"
    for option in ("--png", "--html"):
        refused = search(query, "-d", "secret", option, tmp_path / "x")
        assert refused.code == 2
        assert "show_images = false" in refused.err
        assert not (tmp_path / "x").exists()
    assert search(query, "-d", "secret").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nowhere.png", "-d", "toy"), 2, "neither a file nor a sample 'nowhere.png' in toy"),
        (("@p1/2.png", "-d", "toi"), 2, "no data set or task 'toi'; did you mean toy?"),
        (("@p1/2.png", "-d", "toy", "--box", "1,2,3"), 2, "give four whole numbers"),
        (("@p1/2.png", "-d", "toy", "--box", "20,2,9,9"), 2, "does not lie in the image"),
        (("@p1", "-d", "toy", "--box", "0,0,9,9"), 2, "--box belongs to one image file"),
        (("@p1/2.png", "-d", "toy", "--group", "p9"), 2, "has no group 'p9'"),
        (("@tasks", "-d", "toy"), 2, "holds no image"),
        (("@cells.csv", "-d", "toy"), 1, "is not an image of a known format"),
    ],
)
def test_bad_input_gets_a_sentence(
    search: Command, cells: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    ran = search(*(str(cells / a[1:]) if a.startswith("@") else a for a in arguments))
    assert ran.code == code
    assert sentence in ran.err
    assert "Traceback" not in ran.err


def test_an_index_is_built_listed_and_extended(cytobench: Command, cells: Path) -> None:
    fixed = ("-b", "colour-statistics", "-d", "toy", "--plugin", cells)
    assert "There is no index" in cytobench("index", "info").out
    refused = cytobench("index", "add", *fixed)
    assert refused.code == 1
    assert "cytobench index build --dataset toy --backbone colour-statistics" in refused.err
    whole = (cells / "cells.csv").read_bytes()
    pl.read_csv(cells / "cells.csv").head(40).write_csv(cells / "cells.csv")
    assert "40 cells, exact" in cytobench("index", "build", *fixed).err
    (cells / "cells.csv").write_bytes(whole)
    assert "8 cells were added" in cytobench("index", "add", *fixed).out
    assert "Nothing to add" in cytobench("index", "add", *fixed).out
    listed = cytobench("index", "info").out
    assert "the first 40" in listed
    assert "colour-statistics" in listed


@pytest.mark.slow
def test_cells_of_real_smears_find_their_kind(cytobench: Command, shared_data: Path) -> None:
    sample = "Dataset/102.jpg#78"  # a spherocyte, whose neighbours were looked at
    fixed = ("-b", "morphology", "-d", "chula-rbc12", "--data", shared_data, "--json")
    shown = cytobench("search", sample, *fixed, "-k", 6, "--exclude-group")
    (query,) = json.loads(shown.out)["queries"]
    assert query["label"] == "spherocyte"
    assert sum(one["label"] == "spherocyte" for one in query["neighbours"]) >= 4
