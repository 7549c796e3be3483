"""Two microscopes: train on one, test on the same or on the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DATASETS, DataWarning, raabin_wbc
from cytobench.datasets.task import load_task
from cytobench.errors import CardError, DataError
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.registry import Registry

Draw = Callable[..., Path]
TWO = ("Lymphocyte", "Neutrophil")


def plant(root: Path, draw: Draw) -> Path:
    for part, classes in (("Train", raabin_wbc.CLASSES), ("TestA", raabin_wbc.CLASSES), ("TestB", TWO)):
        for name in classes:
            for number in range(3):
                draw(root / part / name / f"95-5-1-1_{number}_{name[:2]}.jpg")
        (root / part / "Thumbs.db").write_bytes(b"left behind")
    return root


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("test", "n_test"), [("TestA", 15), ("TestB", 6)])
def test_the_official_split_and_the_other_microscope(
    tmp_path: Path, draw: Draw, test: str, n_test: int
) -> None:
    table = raabin_wbc.read(plant(tmp_path, draw), test=test)
    assert dict(table["split"].value_counts().rows()) == {"train": 15, "test": n_test}
    scanners = set(table.filter(table["split"] == "test")["scanner"])
    assert scanners == {"first microscope" if test == "TestA" else "second microscope"}
    assert table["sample"][0].startswith(f"{test}/")
    assert set(table["label"]) == set(DATASETS["raabin-wbc"].counts)


def test_published_counts_are_those_of_train_and_the_first_test() -> None:
    assert sum(DATASETS["raabin-wbc"].counts.values()) == 10_175 + 4_339


@pytest.mark.parametrize(("name", "tested"), [("cell-type-raabin", 15), ("cell-type-raabin-shift", 6)])
def test_the_cards_train_on_five_types(tmp_path: Path, draw: Draw, name: str, tested: int) -> None:
    plant(tmp_path / "raabin-wbc", draw)
    card = Registry.load(entry_points=False).tasks[name]
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    examples = examples_of(data.table, data.classes, "cell")
    folds = outer_folds(examples, card.split)
    assert len(data.classes) == 5
    assert set(examples.labels[folds.train(0)]) == set(range(5))
    assert len(folds.test(0)) == tested


def test_parts_may_lie_one_folder_deeper_and_be_spelled_otherwise(tmp_path: Path, draw: Draw) -> None:
    expected = raabin_wbc.read(plant(tmp_path, draw), test="TestB").drop("image")
    (tmp_path / "TestB").rename(tmp_path / "inner")
    (tmp_path / "test-b").mkdir()
    (tmp_path / "inner").rename(tmp_path / "test-b" / "TestB")
    (tmp_path / "test-b" / "TestB" / "Neutrophil").rename(tmp_path / "test-b" / "TestB" / "neutrophil")
    assert raabin_wbc.read(tmp_path, test="TestB").drop("image").equals(expected)


def test_what_is_missing_of_both_parts_is_told_at_once(tmp_path: Path, draw: Draw) -> None:
    root = plant(tmp_path, draw)
    (root / "Train" / "Monocyte").rename(root / "Train" / "Mono")
    (root / "TestA" / "Basophil").rename(root / "TestA" / "Baso")
    with pytest.raises(DataError) as caught:
        raabin_wbc.read(root)
    message = str(caught.value)
    assert "Train: the class folders Monocyte are missing (and Mono are no classes: renamed?)" in message
    assert "TestA: the class folders Basophil are missing (and Baso are no classes: renamed?)" in message


def test_a_part_that_is_not_unpacked_names_its_archive(tmp_path: Path, draw: Draw) -> None:
    for name in raabin_wbc.CLASSES:
        draw(tmp_path / "Train" / name / "1.jpg")
    with pytest.raises(DataError, match=r"the parts TestB are missing: unpack TestB\.zip here"):
        raabin_wbc.read(tmp_path, test="TestB")
    with pytest.raises(CardError, match='not "TestC"'):
        raabin_wbc.read(tmp_path, test="TestC")


def test_only_classes_of_the_second_test_may_be_missing(tmp_path: Path, draw: Draw) -> None:
    root = plant(tmp_path, draw)
    draw(root / "TestB" / "Artifact" / "1.jpg")
    with pytest.warns(DataWarning, match="TestB: the folders Artifact are no class of this set"):
        raabin_wbc.read(root, test="TestB")
    (root / "TestB" / "Lymphocyte").rename(root / "TestB" / "Small Lymph")
    with pytest.raises(DataError, match="TestB: the class folders Lymphocyte are missing"):
        raabin_wbc.read(root, test="TestB")
