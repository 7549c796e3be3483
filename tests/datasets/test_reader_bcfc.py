"""Body cavity fluids, wherever their two class folders lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import bcfc
from cytobench.datasets.task import load_task
from cytobench.errors import DataError
from cytobench.registry import Registry

Draw = Callable[..., Path]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("above", ["", "Body cavity fluid", "archive/images/data"])
def test_the_class_folders_are_found_in_any_spelling(tmp_path: Path, draw: Draw, above: str) -> None:
    for name in ("Benign/b 1.png", "Benign/b 2.PNG", "MALIGNANT/m (3).png"):
        draw(tmp_path / above / name)
    table = bcfc.read(tmp_path)
    assert table["sample"].to_list() == ["benign/b 1.png", "benign/b 2.PNG", "malignant/m (3).png"]
    assert table["label"].to_list() == ["benign", "benign", "malignant"]
    assert table["part"].null_count() == 3


def test_several_parts_are_kept_apart(tmp_path: Path, draw: Draw) -> None:
    for part in ("train", "test"):
        draw(tmp_path / part / "benign" / "1.png")
        draw(tmp_path / part / "malignant" / "1.png")
    table = bcfc.read(tmp_path)
    assert table["sample"][0] == "test/benign/1.png"
    assert set(table["part"]) == {"train", "test"}
    for path in (tmp_path / "train" / "malignant").iterdir():
        path.unlink()
    (tmp_path / "test" / "benign").rename(tmp_path / "test" / "normal")
    with pytest.raises(DataError) as caught:
        bcfc.read(tmp_path)
    assert "train: the class folder malignant holds no image" in str(caught.value)
    assert "test: the class folders benign are missing (and normal are no classes" in str(caught.value)


def test_a_folder_without_the_classes_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no folder named benign, malignant in it \(unpack archive\.zip first\)"
    ):
        bcfc.read(tmp_path)


def test_the_card_cuts_fields_into_tiles(tmp_path: Path, draw: Draw) -> None:
    for name in bcfc.CLASSES:
        for number in range(5):
            draw(tmp_path / "bcfc" / name / f"{number}.png", size=(520, 300))
    card = Registry.load(entry_points=False).tasks["effusion-bcfc"]
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    assert set(data.table["bag"].value_counts()["count"]) == {2}
    assert data.table["bag"].n_unique() == 10
