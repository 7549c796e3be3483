"""Peripheral blood cells and their attributes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DataWarning, pbc, pbc_unlabelled
from cytobench.errors import DataError

HEADER = ",".join(("img_name", "label", *pbc.ATTRIBUTES))


def plant(root: Path, draw: Callable[..., Path]) -> Path:
    for index, name in enumerate(pbc.CLASSES):
        draw(root / pbc.FOLDER / name / f"X{index}_100.jpg")
        draw(root / pbc.FOLDER / name / f"Y{index}_9.jpg")
    (root / pbc.FOLDER / "neutrophil" / ".DS_169665.jpg").write_bytes(b"no image")
    (root / pbc.FOLDER / "neutrophil" / "._X6_100.jpg").write_bytes(b"no image")
    (root / "__MACOSX" / pbc.FOLDER / "basophil").mkdir(parents=True)
    return root


def test_a_row_a_cell_sorted_without_hidden_files(tmp_path: Path, draw: Callable[..., Path]) -> None:
    table = pbc.read(plant(tmp_path / "pbc", draw))

    assert table["sample"].to_list() == sorted(table["sample"])
    assert table["sample"][0] == "PBC_dataset_normal_DIB/basophil/X0_100.jpg"
    assert len(table) == 2 * len(pbc.CLASSES)
    assert table["label"].equals(table["cell_type"].alias("label"))
    assert set(table["subtype"]) == {f"{letter}{index}" for letter in "XY" for index in range(8)}
    assert all(Path(path).is_absolute() for path in table["image"])


def test_the_manifest_is_the_same_wherever_the_download_is_unpacked(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    root = plant(tmp_path / "here", draw)
    expected = pbc.read(root).drop("image")
    moved = root.rename(tmp_path / "there")
    assert pbc.read(moved).drop("image").equals(expected)
    assert pbc.read(moved / pbc.FOLDER).drop("image").equals(expected)


@pytest.mark.parametrize("official", [True, False])
def test_attributes_are_joined_by_image_name(
    tmp_path: Path, draw: Callable[..., Path], official: bool
) -> None:
    root = plant(tmp_path, draw)
    row = "X0_100.jpg,Basophil," + ",".join(f"v{index}" for index in range(11))
    if official:
        (root / "pbc_attr_v1_train.csv").write_text(HEADER + ",path\n" + row + ",PBC/x.jpg\n")
        (root / "pbc_attr_v1_test.csv").write_text(HEADER + ",path\n" + row.replace("X0", "X1") + ",x\n")
    else:
        (root / "wbcatt_attributes.csv").write_text(f"{HEADER},wbcatt_split\n{row},train\n")

    table = pbc.read(root)

    described = table.filter(table["cell_size"].is_not_null())
    assert len(described) == (2 if official else 1)
    assert described["granularity"][0] == "v10"
    assert described["wbcatt_split"].to_list() == (["train", "test"] if official else ["train"])


def test_repeated_images_are_left_out_and_contradictory_ones_altogether(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    root = plant(tmp_path, draw) / pbc.FOLDER
    for name in ("ig/X3_100.jpg", "ig/Z_twin.jpg", "neutrophil/BNE_1.jpg", "eosinophil/EO_1.jpg"):
        draw(root / name, like="twin" if name.startswith("ig") else "contradiction")

    with pytest.warns(DataWarning, match="3 of 19 .*1 under two classes"):
        table = pbc.read(tmp_path)

    samples = {Path(sample).name for sample in table["sample"]}
    assert "X3_100.jpg" in samples
    assert not samples & {"Z_twin.jpg", "BNE_1.jpg", "EO_1.jpg"}


def test_every_missing_class_folder_is_named_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / pbc.FOLDER / "basophil" / "BA_1.jpg")
    with pytest.raises(DataError, match="eosinophil, erythroblast, ig, lymphocyte"):
        pbc.read(tmp_path)
    with pytest.raises(DataError, match="no folder PBC_dataset_normal_DIB/basophil"):
        pbc.read(tmp_path / pbc.FOLDER / "basophil")


def test_what_the_download_does_not_hold_is_told(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw)
    draw(root / pbc.FOLDER / "blast" / "X_1.jpg")
    (root / pbc.FOLDER / "ig" / "notes.txt").write_text("by me")
    with pytest.warns(DataWarning, match=r"blast are no class of this set .* no image: ig/notes\.txt"):
        assert len(pbc.read(root)) == 2 * len(pbc.CLASSES)


def test_damaged_attribute_files_are_refused_by_name(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw)
    path = root / "wbcatt_attributes.csv"
    path.write_text("img_name,cell_size\nX0_100.jpg,big\n")
    with pytest.raises(DataError, match=r"wbcatt_attributes\.csv: the columns cell_shape, nucleus_shape"):
        pbc.read(root)
    row = "X0_100.jpg,Basophil" + ",v" * 11
    path.write_text(f"{HEADER}\n{row}\n{row}\n")
    with pytest.raises(DataError, match=r"more than once: X0_100\.jpg"):
        pbc.read(root)


def test_the_real_subset_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    table = pbc.read(real("pbc"))
    assert set(table["label"].value_counts().rows()) == {(name, 300) for name in pbc.CLASSES}
    assert dict(table["subtype"].value_counts().rows())["SNE"] == 140
    assert table["cell_size"].drop_nulls().len() == 1500


def test_unlabelled_cells_have_no_label(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "000002.jpg")
    draw(tmp_path / "000001.jpg")
    table = pbc_unlabelled.read(tmp_path)
    assert table["sample"].to_list() == ["000001.jpg", "000002.jpg"]
    assert table["label"].null_count() == 2
    with pytest.raises(DataError, match="no image"):
        pbc_unlabelled.read(tmp_path.parent)
