"""APACC and BMT: folders named by classes, in any case and at any depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import apacc, bmt
from cytobench.errors import CardError, DataError

Draw = Callable[..., Path]


@pytest.mark.parametrize("parts", [("train", "test"), ("Train_Set", "APACC/Test")])
def test_apacc_reads_its_official_parts_in_any_case(
    tmp_path: Path, draw: Draw, parts: tuple[str, str]
) -> None:
    for part in parts:
        for name in ("healthy", "Unhealthy", "rubbish", "Both cells"):
            draw(tmp_path / part / name / "S12_x1_y2.png")
            (tmp_path / part / name / ".DS_Store").write_bytes(b"x")
    table = apacc.read(tmp_path)
    assert dict(table["split"].value_counts().rows()) == {"train": 4, "test": 4}
    assert set(table["label"]) == set(apacc.CLASSES)
    assert table["smear"].null_count() == 8
    assert set(apacc.read(tmp_path, smear=r"^(S\d+)_")["smear"]) == {"S12"}
    with pytest.raises(DataError, match=r"smear .* does not match S12_x1_y2\.png"):
        apacc.read(tmp_path, smear=r"^(W\d+)_")
    with pytest.raises(CardError, match="exactly one group"):
        apacc.read(tmp_path, smear="S12")
    with pytest.raises(CardError, match="no regular expression"):
        apacc.read(tmp_path, smear="(")


def test_apacc_names_all_that_is_wrong_at_once(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "train" / "healthy" / "a.png")
    draw(tmp_path / "train" / "sick" / "a.png")
    draw(tmp_path / "rubbish" / "b.png")
    with pytest.raises(DataError) as told:
        apacc.read(tmp_path)
    for part in (
        "the class folders unhealthy, bothcells are missing (and train/sick are no classes: renamed?)",
        "no class: train/sick",
        "no folder named train",
    ):
        assert part in str(told.value)


def test_apacc_misses_a_part_that_was_not_downloaded(tmp_path: Path, draw: Draw) -> None:
    for name in apacc.CLASSES:
        draw(tmp_path / "train" / name / "a.png")
    with pytest.raises(DataError, match="the part test has no cells"):
        apacc.read(tmp_path)


def test_bmt_fields_are_bags_and_their_names_may_tell_the_patient(tmp_path: Path, draw: Draw) -> None:
    for code, folder in (("NIL", "NIL"), ("LSIL", "lsil"), ("HSIL", "BMT/HSIL")):
        for number in range(3):
            draw(tmp_path / folder / f"{code}_{number // 2}_{number}.JPG")
    table = bmt.read(tmp_path)
    assert dict(table["label"].value_counts().rows()) == dict.fromkeys(bmt.CLASSES, 3)
    assert table["field"].n_unique() == 9
    assert table["patient"].null_count() == 9
    assert bmt.read(tmp_path, patient=r"_(\d+)_")["patient"].n_unique() == 2


def test_bmt_names_all_that_is_wrong_at_once(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "NIL" / "a.jpg")
    draw(tmp_path / "NIL" / "again" / "a.png")
    draw(tmp_path / "SCC" / "a.jpg")
    with pytest.raises(DataError) as told:
        bmt.read(tmp_path)
    for part in (
        "the class folders LSIL, HSIL are missing",
        "no class: SCC",
        "fields of one name in one class: NIL_a",
    ):
        assert part in str(told.value)
