"""Bone marrow cells in folders of a thousand, or flat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DATASETS, DataWarning, mll_bone_marrow
from cytobench.datasets.task import load_task
from cytobench.errors import CardError, DataError
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.registry import Registry

Draw = Callable[..., Path]
CODES = tuple(mll_bone_marrow.CELL_TYPES)


def plant(root: Path, draw: Draw, *, folder: str = "BM_cytomorphology_data", nested: bool = True) -> Path:
    """Two cells a class; blasts in two folders whose names promise how many they hold."""
    for code in CODES:
        if code == "BLA":
            continue
        for number in (1, 2):
            draw(root / folder / code / f"{code}_{number:05d}.jpg")
    for number, inner in ((1, "0001-0001"), (2, "0002-0003"), (3, "0002-0003")):
        draw(root / folder / "BLA" / (inner if nested else "") / f"BLA_{number:05d}.jpg")
    return root


@pytest.mark.filterwarnings("error")
def test_both_published_layouts_give_the_same_cells(tmp_path: Path, draw: Draw) -> None:
    nested = mll_bone_marrow.read(plant(tmp_path / "tcia", draw))
    flat = mll_bone_marrow.read(
        plant(tmp_path / "kaggle", draw, folder="bone_marrow_cell_dataset", nested=False)
    )
    assert nested.drop("image").equals(flat.drop("image"))
    assert nested["sample"].to_list() == sorted(nested["sample"])
    assert nested.filter(nested["code"] == "BLA")["sample"].to_list() == [
        "BLA/BLA_00001.jpg",
        "BLA/BLA_00002.jpg",
        "BLA/BLA_00003.jpg",
    ]
    assert set(nested["label"]) == set(DATASETS["mll-bone-marrow"].counts)
    assert all(Path(path).is_file() for path in nested["image"])


def test_the_published_counts_are_those_of_the_paper() -> None:
    assert sum(DATASETS["mll-bone-marrow"].counts.values()) == 171_374


def test_every_missing_or_renamed_class_is_named_at_once(tmp_path: Path, draw: Draw) -> None:
    folder = plant(tmp_path, draw) / "BM_cytomorphology_data"
    (folder / "LYT").rename(folder / "Lymphocytes")
    (folder / "ABE" / "ABE_00001.jpg").rename(folder / "ABE" / "ART_00007.jpg")
    for path in (folder / "KSC").iterdir():
        path.unlink()
    (folder / "KSC").rmdir()
    with pytest.raises(DataError) as caught:
        mll_bone_marrow.read(tmp_path)
    message = str(caught.value)
    assert "the class folders KSC, LYT are missing (and Lymphocytes are no classes: renamed?)" in message
    assert "another class in the name than that of the folder: ABE/ART_00007.jpg" in message


def test_a_folder_with_fewer_cells_than_its_name_says_is_told(tmp_path: Path, draw: Draw) -> None:
    root = plant(tmp_path, draw)
    (root / "BM_cytomorphology_data" / "BLA" / "0002-0003" / "BLA_00003.jpg").unlink()
    with pytest.warns(DataWarning, match=r"fewer cells than the name says: BLA/0002-0003 \(1 of 2\)"):
        mll_bone_marrow.read(root)


def test_both_layouts_in_one_class_are_refused(tmp_path: Path, draw: Draw) -> None:
    root = plant(tmp_path, draw)
    draw(root / "BM_cytomorphology_data" / "BLA" / "BLA_00002.jpg")
    with pytest.raises(DataError, match=r"1 image is there twice: BLA/BLA_00002\.jpg"):
        mll_bone_marrow.read(root)


def test_fewer_cells_a_class_are_always_the_same(tmp_path: Path, draw: Draw) -> None:
    root = plant(tmp_path, draw)
    drawn = mll_bone_marrow.read(root, at_most=1)
    assert len(drawn) == len(CODES)
    draw(root / "BM_cytomorphology_data" / "KSC" / "KSC_00003.jpg")
    again = mll_bone_marrow.read(root, at_most=1)
    assert again.filter(again["code"] != "KSC").equals(drawn.filter(drawn["code"] != "KSC"))
    with pytest.raises(CardError, match="at_most = -1"):
        mll_bone_marrow.read(root, at_most=-1)


def test_the_card_leaves_out_the_class_that_cannot_be_scored(tmp_path: Path, draw: Draw) -> None:
    for code in CODES:
        for number in range(1, 6):
            draw(tmp_path / "mll-bone-marrow" / code / f"{code}_{number:05d}.jpg")
    card = Registry.load(entry_points=False).tasks["marrow-cell-type-mll"]
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    assert len(data.classes) == 20
    assert "abnormal eosinophil" not in data.classes
    examples = examples_of(data.table, data.classes, "cell")
    assert len(outer_folds(examples, card.split)) == 5
