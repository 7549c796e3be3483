"""Leukaemia: single cells of the LMU with second looks, and the patients of Hehr et al."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DATASETS, DataWarning, aml_hehr, aml_lmu
from cytobench.datasets.task import load_task
from cytobench.errors import DataError
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.registry import Registry

Draw = Callable[..., Path]
CODES = tuple(aml_lmu.CELL_TYPES)
HEADER = "patient_id,sex_1f_2m,age,bag_label,instance_count,leucocytes_per_\xacl,pb_myeloblast"


def plant_cells(root: Path, draw: Draw) -> Path:
    for code in CODES:
        for number in (1, 2):
            draw(root / "AML-Cytomorphology_LMU" / code / f"{code}_{number:04d}.tiff")
    lines = [f"{code}/{code}_{number:04d}.tiff {code} nan nan" for code in CODES for number in (1, 2)]
    lines[0] = "BAS/BAS_0001.tiff BAS BAS EOS"
    (root / "annotations.dat").write_text("\r\n".join(lines) + "\r\n")
    return root


@pytest.mark.filterwarnings("error")
def test_cells_carry_what_a_second_look_said(tmp_path: Path, draw: Draw) -> None:
    table = aml_lmu.read(plant_cells(tmp_path / "aml-lmu", draw))
    first = table.row(0, named=True)
    assert first["sample"] == "AML-Cytomorphology_LMU/BAS/BAS_0001.tiff"
    assert (first["label"], first["first_relabel"], first["second_relabel"]) == ("basophil", "BAS", "EOS")
    assert table["first_relabel"].null_count() == len(table) - 1
    assert set(table["label"]) == set(DATASETS["aml-lmu"].counts)
    assert sum(DATASETS["aml-lmu"].counts.values()) == 18_365


def test_without_annotations_there_are_no_second_looks(tmp_path: Path, draw: Draw) -> None:
    root = plant_cells(tmp_path, draw)
    (root / "annotations.dat").unlink()
    assert "first_relabel" not in aml_lmu.read(root / "AML-Cytomorphology_LMU").columns


def test_annotations_that_contradict_the_folders_are_told_all_at_once(tmp_path: Path, draw: Draw) -> None:
    root = plant_cells(tmp_path, draw)
    text = (root / "annotations.dat").read_text()
    changed = text.replace("EOS/EOS_0001.tiff EOS", "EOS/EOS_0001.tiff BAS").replace(
        "KSC/KSC_0002.tiff KSC nan nan", "KSC/KSC_0002.tiff,KSC,nan,nan"
    )
    (root / "annotations.dat").write_text(changed + "MYO/MYO_0009.tiff MYO nan nan\n")
    (root / "AML-Cytomorphology_LMU" / "PMO" / "PMO_0001.tiff").unlink()
    with pytest.raises(DataError) as caught:
        aml_lmu.read(root)
    message = str(caught.value)
    assert "1 line of annotations.dat not '<CODE>/<file> <label> <first> <second>': line 8" in message
    assert "gives 1 image another label than the folder: EOS/EOS_0001.tiff (BAS)" in message
    assert "names 2 images that are not here: PMO/PMO_0001.tiff, MYO/MYO_0009.tiff" in message
    assert "1 image is not in annotations.dat: KSC/KSC_0002.tiff" in message


def test_images_without_a_line_are_told(tmp_path: Path, draw: Draw) -> None:
    root = plant_cells(tmp_path, draw)
    draw(root / "AML-Cytomorphology_LMU" / "PMO" / "PMO_0003.tiff")
    with pytest.warns(DataWarning, match=r"1 image is not in annotations\.dat: PMO/PMO_0003\.tiff"):
        assert len(aml_lmu.read(root)) == 31


def plant_patients(root: Path, draw: Draw, *, patients: int = 2, cells: int = 2) -> Path:
    package = root / "PKG - AML-Cytomorphology_MLL_Helmholtz_v1"
    lines = [HEADER]
    for i, subtype in enumerate(aml_hehr.SUBTYPES):
        for k in range(patients):
            name = "AB" + "CDEFG"[i] + "HIJKLMN"[k]
            for cell in range(cells):
                draw(package / "data" / subtype / name / f"image_{cell}.tif")
            lines.append(f"{name},{1 + k % 2},{40 + k},{subtype},{cells},5.2,0.1")
    (package / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return root


@pytest.mark.filterwarnings("error")
def test_a_patient_is_a_bag_and_a_group(tmp_path: Path, draw: Draw) -> None:
    table = aml_hehr.read(plant_patients(tmp_path / "aml-hehr", draw))
    assert len(table) == 5 * 2 * 2
    assert table["bag"].equals(table["group"].alias("bag"))
    assert set(table["disease"]) == {"leukaemia", "control"}
    row = table.filter(table["patient"] == "ABDI").row(0, named=True)
    assert (row["label"], row["age"], row["sex"]) == ("NPM1", 41.0, "male")
    assert row["sample"] == "NPM1/ABDI/image_0.tif"


def test_the_card_splits_by_patient(tmp_path: Path, draw: Draw) -> None:
    plant_patients(tmp_path / "aml-hehr", draw, patients=5)
    card = Registry.load(entry_points=False).tasks["aml-subtype-hehr"]
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    examples = examples_of(data.table, data.classes, "bag")
    assert len(examples) == 25
    assert len(outer_folds(examples, card.split)) == 5


def test_patients_that_are_not_whole_are_told_all_at_once(tmp_path: Path, draw: Draw) -> None:
    root = plant_patients(tmp_path, draw)
    data = root / "PKG - AML-Cytomorphology_MLL_Helmholtz_v1" / "data"
    (data / "control" / "ABGH" / "image_1.tif").unlink()
    (data / "NPM1" / "ABDH").rename(data / "NPM1" / "XYZ")
    draw(data / "NPM1" / "image_0.tif")
    draw(data / "PML_RARA" / "ABGI" / "image_9.tif")
    with pytest.raises(DataError) as caught:
        aml_hehr.read(root)
    message = str(caught.value)
    assert "1 cell lies in no patient's folder: NPM1/image_0.tif" in message
    assert "1 patient stands under two subtypes: ABGI (PML_RARA, control)" in message
    assert "names 1 patient without images: ABDH" in message
    assert "fewer images than it counts: ABGH (1 of 2)" in message
    assert "1 patient is not in metadata.csv: XYZ" in message


def test_a_table_with_another_separator_is_said(tmp_path: Path, draw: Draw) -> None:
    root = plant_patients(tmp_path, draw)
    path = root / "PKG - AML-Cytomorphology_MLL_Helmholtz_v1" / "metadata.csv"
    path.write_text(path.read_text(encoding="latin-1").replace(",", ";"), encoding="latin-1")
    with pytest.raises(
        DataError, match="no column patient_id, bag_label, instance_count: it must be separated"
    ):
        aml_hehr.read(root)
