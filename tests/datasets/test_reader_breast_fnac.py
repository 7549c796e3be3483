"""Breast FNAC C1 to C5 in the layout of breast-cytology-main.zip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cervix_and_breast_trees import breast_tree

from cytobench.datasets import DATASETS, DataWarning, breast_fnac
from cytobench.errors import DataError

Draw = Callable[..., Path]


@pytest.mark.parametrize(("inside", "end"), [("breast-cytology-main", "\n"), ("", "\r\n")])
def test_patches_know_their_patient_category_and_scale(
    tmp_path: Path, draw: Draw, inside: str, end: str
) -> None:
    breast_tree(tmp_path / inside, draw, end=end)
    table = breast_fnac.read(tmp_path)
    assert len(table) == 12
    assert set(table["label"]) == set(DATASETS["breast-fnac"].counts) == {"C1", "C2", "C3", "C4", "C5"}
    assert table["bag"].n_unique() == 5
    assert set(table.filter(table["patient"] == "P0")["stain"]) == {"PAP", "MGG"}
    assert dict(table.select("patient", "patient_label").unique().rows())["P4"] == "cancerous"
    assert set(table["mpp"]) == {0.25}
    assert set(table["site"]) == {"Centre A"}


def test_slides_go_by_the_other_names_of_the_authors_scripts(tmp_path: Path, draw: Draw) -> None:
    breast_tree(tmp_path, draw)
    old = tmp_path / "metadata" / "master_metadata.csv"
    text = old.read_text(encoding="utf-8-sig")
    text = (
        text.replace("patient_id", "Case ID")
        .replace("wsi_file_stem", "WSI ID")
        .replace("P,PAP", "P.ndpi,PAP")
    )
    (tmp_path / "metadata" / "slide_metadata.csv").write_text(text)
    old.unlink()
    assert breast_fnac.read(tmp_path)["patient"].n_unique() == 5


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path, draw: Draw) -> None:
    breast_tree(tmp_path, draw)
    draw(tmp_path / "patches" / "99Z" / "II" / "99Z_x0_y0.png")
    draw(tmp_path / "patches" / "11B1P" / "VI" / "11B1P_x0_y0.png")
    draw(tmp_path / "patches" / "11B2P" / "loose.png")
    with (tmp_path / "metadata" / "master_metadata.csv").open("a") as file:
        file.write("P1,70,70P,PAP,Centre A,Cancerous,C5\n")
        file.write(",71,71P,PAP,Centre A,Cancerous,C5\n")
    with pytest.raises(DataError) as told:
        breast_fnac.read(tmp_path)
    for part in (
        "no line in the metadata: 99Z", "11B1P holds the folders VI", "loose.png",
        "patients with two diagnoses: P1", "the slide 71P has no patient",
    ):  # fmt: skip
        assert part in str(told.value)


def test_slides_without_patches_are_told_and_half_a_download_is_refused(tmp_path: Path, draw: Draw) -> None:
    breast_tree(tmp_path, draw)
    with (tmp_path / "metadata" / "master_metadata.csv").open("a") as file:
        file.write("P9,80,80P,PAP,Centre A,Cancerous,C5\n")
    with pytest.warns(DataWarning, match="1 slide of the metadata without a patch: 80P"):
        assert len(breast_fnac.read(tmp_path)) == 12
    (tmp_path / "metadata" / "master_metadata.csv").unlink()
    with pytest.raises(DataError, match=r"metadata/master_metadata\.csv is missing"):
        breast_fnac.read(tmp_path)
    (tmp_path / "metadata" / "master_metadata.csv").write_text("a;b\n1;2\n")
    with pytest.raises(DataError, match="lacks the columns patient_id or"):
        breast_fnac.read(tmp_path)
