"""CRIC in the layout of its download, with what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cervix_and_breast_trees import cric_tree

from cytobench.datasets import DATASETS, cric
from cytobench.errors import DataError

Draw = Callable[..., Path]


@pytest.mark.parametrize(("end", "images"), [("\n", "images"), ("\r\n", ""), ("\n", "base/fields")])
def test_cric_points_are_counted_from_nought_and_grouped_by_field(
    tmp_path: Path, draw: Draw, end: str, images: str
) -> None:
    cric_tree(tmp_path, draw, end=end, images=images)
    (tmp_path / "README.md").write_text("x")
    table = cric.read(tmp_path)
    assert len(table) == 36
    assert set(table["label"]) == set(DATASETS["cric"].counts)
    assert table["field"].n_unique() == 6
    boxes = dict(table.filter(table["field"] == table["field"][0]).select("label", "box").rows())
    assert boxes["NILM"] == [0, 0, 0, 0]
    assert boxes["ASC-US"] == [39, 29, 0, 0]
    assert set(table.filter(table["label"] == "NILM")["diagnosis"]) == {"normal"}


def test_cric_names_all_that_is_wrong_at_once(tmp_path: Path, draw: Draw) -> None:
    cric_tree(tmp_path, draw)
    (tmp_path / "images" / "1e04572adb6ff9d025fb5.png").unlink()
    with (tmp_path / "classifications.csv").open("a") as file:
        file.write("0,1e04572adb6ff9d025fb0.png,d,0,HSIL,5,5\n")
        file.write("0,1e04572adb6ff9d025fb0.png,d,900,HSIL,41,5\n")
        file.write("0,1e04572adb6ff9d025fb0.png,d,901,Unknown,4,5\n")
        file.write("0,1e04572adb6ff9d025fb0.png,d,902,SCC,4.5,5\n")
    with pytest.raises(DataError) as told:
        cric.read(tmp_path)
    for part in (
        "1 field of classifications.csv not there: 1e04572adb6ff9d025fb5.png", "unknown classes Unknown",
        "lists these cells twice: 0", "outside their field: 900", "no whole numbers for the cells 902",
    ):  # fmt: skip
        assert part in str(told.value)


def test_cric_without_its_csv_says_which_columns_it_needs(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "images" / "a.png")
    (tmp_path / "segmentations.csv").write_text("image_id,description_id,x,y,is_nucleus\n1,2,3,4,0\n")
    with pytest.raises(DataError, match=r"no CSV with the columns image_id, .*segmentations\.csv"):
        cric.read(tmp_path)
    cric_tree(tmp_path, draw)
    (tmp_path / "copy.csv").write_bytes((tmp_path / "classifications.csv").read_bytes())
    with pytest.raises(DataError, match="several CSV files hold cells"):
        cric.read(tmp_path)
