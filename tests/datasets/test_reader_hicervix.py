"""HiCervix in the layout of its download, with what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cervix_and_breast_trees import hicervix_tree

from cytobench.datasets import DATASETS, DataWarning, hicervix
from cytobench.errors import DataError
from cytobench.evaluation.hierarchy import Hierarchy
from cytobench.registry import Registry

TASKS = Registry.load(entry_points=False).tasks

Draw = Callable[..., Path]


@pytest.mark.parametrize(("end", "separator"), [("\n", ","), ("\r\n", ","), ("\n", ";")])
def test_hicervix_has_its_levels_and_its_official_split(
    tmp_path: Path, draw: Draw, end: str, separator: str
) -> None:
    hicervix_tree(tmp_path, draw, end=end, separator=separator)
    (tmp_path / "__MACOSX").mkdir()
    table = hicervix.read(tmp_path)
    assert len(table) == 78
    assert dict(table["split"].value_counts().rows()) == dict.fromkeys(hicervix.SPLITS, 26)
    assert set(table["label"]) == set(DATASETS["hicervix"].counts)
    assert [table[f"level_{k}"].drop_nulls().n_unique() for k in (1, 2, 3)] == [4, 21, 23]
    one = dict(zip(table["class_name"], table.select("level_1", "level_2", "level_3").rows(), strict=True))
    assert one["Normal"] == ("negative", "Normal", "Normal")
    assert one["AGC"] == ("AGC", None, None)
    assert one["ADC"] == ("AGC", "ADC", None)
    assert one["ADC-EMC"] == ("AGC", "ADC", "ADC-EMC")


def test_hicervix_names_all_that_is_wrong_at_once(tmp_path: Path, draw: Draw) -> None:
    hicervix_tree(tmp_path, draw)
    (tmp_path / "train" / "train-03.jpg").unlink()
    (tmp_path / "val.csv").unlink()
    test = tmp_path / "test.csv"
    test.write_text(
        test.read_text().replace("HSIL,11,ASC,HSIL", "HSIL,11,AGC,HSIL").replace("TRI,", "TRICHO,", 1)
        + "test-00.jpg,Normal,0,negative,Normal,\n"
    )
    with pytest.raises(DataError) as told:
        hicervix.read(tmp_path)
    for part in (
        "1 image of train.csv not in train/: train-03.jpg", "val.csv is missing",
        "test.csv has the unknown classes TRICHO", "levels contradict the class", "listed twice: test-00.jpg",
    ):  # fmt: skip
        assert part in str(told.value)


def test_hicervix_tells_of_images_without_a_label(tmp_path: Path, draw: Draw) -> None:
    hicervix_tree(tmp_path, draw)
    draw(tmp_path / "val" / "stray.jpg")
    with pytest.warns(DataWarning, match=r"1 HiCervix images have no label: val/stray\.jpg"):
        assert len(hicervix.read(tmp_path)) == 78


def test_hicervix_says_what_a_csv_lacks(tmp_path: Path, draw: Draw) -> None:
    hicervix_tree(tmp_path, draw)
    (tmp_path / "train.csv").write_text("image_path,class_id\nx.jpg,1\n")
    (tmp_path / "test.csv").write_bytes("image_name,class_name\nä".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"train\.csv: lacks the columns image_name, class_name.*test\.csv: it is not UTF-8"
    ):
        hicervix.read(tmp_path)


def test_the_trees_of_the_hicervix_tasks_are_the_readers() -> None:
    for level in (2, 3):
        above = TASKS[f"hicervix-{level}"].hierarchy
        assert above is not None
        wanted = {name for cell in hicervix.TREE if (name := hicervix.level_of(cell, level)) is not None}
        assert set(above) == wanted
        tree = Hierarchy.of(tuple(above), above)
        for path, name in zip(tree.paths, above, strict=True):
            assert path == hicervix.TREE[name]
        assert tree.names(1) == ("AGC", "ASC", "microbe", "negative")
