"""Data sets of bags: oral brush samples, malaria patients, breast aspirates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cytobench.datasets import DataWarning, fnac_2019, malaria_bags, oral_cytology
from cytobench.errors import CardError, DataError


def plant_oral(root: Path, draw: Callable[..., Path]) -> Path:
    for part in oral_cytology.PARTS:
        for label, numbers in (("Cancer", (12, 36)), ("Healthy", ("03", "04"))):
            for number in numbers:
                for patch in ("r00c00", "r00c01", "r01c00"):
                    draw(root / part / label / f"slide{number}" / f"{patch}.png")
    return root


def test_oral_slides_keep_their_number_over_both_parts(tmp_path: Path, draw: Callable[..., Path]) -> None:
    table = oral_cytology.read(plant_oral(tmp_path, draw))
    assert len(table) == 24
    assert table["bag"].n_unique() == 8
    assert sorted(table["slide_number"].unique()) == ["03", "04", "12", "36"]
    row = table.filter(table["sample"] == "ds2_newsmear/Healthy/slide03/r01c00.png").row(0, named=True)
    assert (row["label"], row["slide"], row["bag"]) == ("Healthy", "ds2_03", "ds2_newsmear/slide03")


def test_oral_reads_one_part_and_refuses_others(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant_oral(tmp_path, draw)
    assert set(oral_cytology.read(root, part="ds1_oldsmear")["part"]) == {"ds1_oldsmear"}
    with pytest.raises(CardError, match="no part 'ds3'"):
        oral_cytology.read(root, part="ds3")


def test_oral_tells_all_odd_slides_and_repeated_patches(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant_oral(tmp_path, draw)
    slide = root / "ds1_oldsmear" / "Healthy" / "slide04"
    draw(slide / "r01c05.png", like="same")
    draw(slide / "r01c06.png", like="same")
    with pytest.warns(DataWarning, match="1 patch of ds1_oldsmear/slide04"):
        assert len(oral_cytology.read(root)) == 25
    draw(root / "ds2_newsmear" / "Cancer" / "slide04" / "r0.png")
    draw(root / "ds2_newsmear" / "Cancer" / "unknown" / "r0.png")
    with pytest.raises(
        DataError, match="unknown does not end in a slide number; slide number 04 stands under"
    ):
        oral_cytology.read(root)


@pytest.mark.filterwarnings("ignore::cytobench.datasets.DataWarning")
def test_the_real_oral_set_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    table = oral_cytology.read(real("oral-cytology"))
    counts = {(part, label): n for part, label, n in table.group_by("part", "label").len().rows()}
    assert counts == {
        ("ds1_oldsmear", "Cancer"): 400,
        ("ds1_oldsmear", "Healthy"): 600 - 1,  # r01c05 and r01c06 of slide 06 are one image
        ("ds2_newsmear", "Cancer"): 1024,
        ("ds2_newsmear", "Healthy"): 1536,
    }
    assert table["bag"].n_unique() == 20


def plant_malaria(root: Path, draw: Callable[..., Path]) -> Path:
    cells = {"C1": "uu", "C2": "pu", "C10": "uu", "C33": "pp"}
    for patient, kinds in cells.items():
        for index, kind in enumerate(kinds):
            folder = "parasitized" if kind == "p" else "uninfected"
            draw(root / patient / folder / f"{patient}P1thinF_IMG_cell_{index}.png")
    return root


def as_official(root: Path, bags: Path, draw: Callable[..., Path]) -> Path:
    for image in bags.glob("C*/*/*.png"):
        draw(root / "cell_images" / image.parent.name.capitalize() / image.name)
    (root / "cell_images" / "Parasitized" / "Thumbs.db").write_bytes(b"")
    return root


@pytest.mark.parametrize("official", [True, False])
def test_malaria_patients_are_bags_with_cell_truth_in_both_layouts(
    tmp_path: Path, draw: Callable[..., Path], official: bool
) -> None:
    root = plant_malaria(tmp_path / "bags", draw)
    root = as_official(tmp_path / "nih", root, draw) if official else root

    table = malaria_bags.read(root)

    assert len(table) == 8
    patients = table.select("patient", "label").unique().sort("patient").rows()
    assert patients == [("C1", "healthy"), ("C10", "healthy"), ("C2", "infected"), ("C33", "infected")]
    assert table["bag"].equals(table["patient"].alias("bag"))
    assert dict(table["instance_label"].value_counts().rows()) == {"parasitized": 3, "uninfected": 5}


def test_malaria_tells_all_contradictions_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant_malaria(tmp_path, draw)
    (root / "patients.csv").write_text("patient,label\nC1,infected\nC2,infected\nC7,healthy\n")
    with pytest.raises(DataError, match=r"without images: C7; patients\.csv and the folders disagree .* C1"):
        malaria_bags.read(root)


def test_malaria_refuses_folders_and_names_it_does_not_know(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    with pytest.raises(DataError, match="neither patient folders"):
        malaria_bags.read(tmp_path)
    root = as_official(tmp_path, plant_malaria(tmp_path / "bags", draw), draw)
    draw(root / "cell_images" / "Uninfected" / "cell.png")
    with pytest.raises(DataError, match=r"Uninfected/cell\.png does not start with a patient"):
        malaria_bags.read(root)


def test_the_real_malaria_bags_have_the_counts_of_their_readme(real: Callable[[str], Path]) -> None:
    table = malaria_bags.read(real("malaria-bags"))
    assert len(table) == 8000
    assert dict(table["instance_label"].value_counts().rows()) == {"parasitized": 2303, "uninfected": 5697}
    patients = table.group_by("patient").agg(pl.len().alias("n"), pl.col("label").first())
    assert set(patients["n"]) == {40}
    assert dict(patients["label"].value_counts().rows()) == {"infected": 150, "healthy": 50}


def plant_fnac(root: Path, draw: Callable[..., Path]) -> Path:
    for code, numbers in (("B", (1, 2, 3, 99)), ("M", (5, 12, 105))):
        for number in numbers:
            draw(root / code / f"{code} ({number}).jpg", size=(64, 48))
    return root


def test_fnac_fields_are_bags_with_the_published_split_as_an_option(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    root = plant_fnac(tmp_path, draw)
    assert "split" not in fnac_2019.read(root).columns
    table = fnac_2019.read(root, split="tct-infonce")
    assert table.sort("bag").select("bag", "label", "split").rows() == [
        ("B_1", "benign", "test"),
        ("B_2", "benign", "test"),
        ("B_3", "benign", "train"),
        ("B_99", "benign", "train"),
        ("M_105", "malignant", "test"),
        ("M_12", "malignant", "test"),
        ("M_5", "malignant", "train"),
    ]
    with pytest.raises(CardError, match="no split 'random'"):
        fnac_2019.read(root, split="random")


def test_the_published_fnac_split_tests_43_fields() -> None:
    assert {code: len(ids) for code, ids in fnac_2019.TCT_INFONCE_TEST.items()} == {"B": 18, "M": 25}


def test_fnac_tells_all_bad_names_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant_fnac(tmp_path, draw)
    draw(root / "B" / "B_01.jpg")
    draw(root / "M" / "new.jpg")
    with pytest.raises(
        DataError, match=r"B \(1\)\.jpg and B/B_01\.jpg have the same number; M/new\.jpg has no number"
    ):
        fnac_2019.read(root)
