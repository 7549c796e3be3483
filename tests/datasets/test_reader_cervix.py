"""Herlev cells and Mendeley LBC fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import herlev, mendeley_lbc
from cytobench.errors import CardError, DataError

HERLEV = (*herlev.NORMAL, *herlev.ABNORMAL)


@pytest.mark.parametrize("inside", ["New database pictures", "smear2005/New database pictures"])
def test_herlev_skips_masks_and_groups_by_acquisition(
    tmp_path: Path, draw: Callable[..., Path], inside: str
) -> None:
    for index, name in enumerate(HERLEV):
        draw(tmp_path / inside / name / f"1491433{index}-149143378-001.BMP")
        draw(tmp_path / inside / name / f"1491433{index}-149143378-001-d.bmp")
    draw(tmp_path / inside / "light_dysplastic" / "14914334-149143378-002.BMP")

    table = herlev.read(tmp_path)

    assert len(table) == len(HERLEV) + 1
    assert not any("-d" in sample for sample in table["sample"])
    assert table["sample"][0].startswith("New database pictures/carcinoma_in_situ/")
    normal = table.filter(table["diagnosis"] == "normal")
    assert set(normal["label"]) == set(herlev.NORMAL)
    assert table.filter(table["group"] == "14914334-149143378").height == 2
    assert table["group"].n_unique() == len(HERLEV)


def test_herlev_names_every_missing_class(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "New database pictures" / "normal_columnar" / "1-2-3.BMP")
    with pytest.raises(DataError, match="carcinoma_in_situ, light_dysplastic, moderate_dysplastic"):
        herlev.read(tmp_path)


def test_the_real_herlev_subset_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    table = herlev.read(real("herlev"))
    counts = dict(table["label"].value_counts().rows())
    assert counts.pop("normal_intermediate") == counts.pop("normal_superficiel") == 18
    assert set(counts.values()) == {45}
    assert table["group"].n_unique() == 221
    assert table.select("group", "label").unique().height == 221
    assert dict(table["diagnosis"].value_counts().rows()) == {"normal": 81, "abnormal": 180}


@pytest.mark.parametrize(
    "names",
    [
        {"HSIL": "HSIL", "LSIL": "LSIL", "NL": "NL", "SCC": "SCC"},
        {
            "HSIL": "High squamous intra-epithelial lesion",
            "LSIL": "Low squamous intra-epithelial lesion",
            "NL": "Negative for Intraepithelial malignancy",
            "SCC": "Squamous cell carcinoma",
        },
    ],
)
def test_mendeley_folder_names_become_class_codes(
    tmp_path: Path, draw: Callable[..., Path], names: dict[str, str]
) -> None:
    for code, folder in names.items():
        draw(tmp_path / folder / f"{code}_1_012.jpg")
        draw(tmp_path / folder / f"{code}_01 (3).jpg")
        draw(tmp_path / folder / f"{code}_12_001.jpg")
    (tmp_path / "notes").mkdir()

    table = mendeley_lbc.read(tmp_path)

    assert dict(table["label"].value_counts().rows()) == dict.fromkeys(mendeley_lbc.CODES, 3)
    assert set(table["group"]) == {f"{code}_{n}" for code in names for n in (1, 12)}
    assert table["box"].null_count() == 12


def test_mendeley_centre_is_the_same_share_of_either_size(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for code in mendeley_lbc.CODES:
        size = (2048, 1536) if code == "SCC" else (512, 512)
        draw(tmp_path / code / f"{code}_1_001.jpg", size=size)
    table = mendeley_lbc.read(tmp_path, centre=0.875)
    boxes = dict(table.select("label", "box").rows())
    assert boxes["NL"] == [32, 32, 448, 448]
    assert boxes["SCC"] == [352, 96, 1344, 1344]
    with pytest.raises(CardError, match="centre"):
        mendeley_lbc.read(tmp_path, centre=1.5)


def test_mendeley_tells_all_odd_names_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for code in ("HSIL", "LSIL", "NL"):
        draw(tmp_path / code / f"{code}_1_001.jpg")
    draw(tmp_path / "NL" / "holiday.jpg")
    with pytest.raises(DataError, match=r"no folder of class SCC; NL/holiday\.jpg has no slide number"):
        mendeley_lbc.read(tmp_path)


def test_the_real_mendeley_subset_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    table = mendeley_lbc.read(real("mendeley-lbc"))
    assert dict(table["label"].value_counts().rows()) == dict.fromkeys(mendeley_lbc.CODES, 60)
    groups = table.select("label", "group").unique()["label"].value_counts().rows()
    assert dict(groups) == {"NL": 33, "HSIL": 10, "LSIL": 4, "SCC": 4}
