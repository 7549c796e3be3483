"""A user's own images in class folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import folder
from cytobench.errors import CardError, DataError


def test_class_folders_become_labels_whatever_lies_around(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "benign" / "p2_a.PNG")
    draw(tmp_path / "benign" / "clinic 1" / "p1_ä.jpg")
    draw(tmp_path / "malignant" / "p3_a.tif")
    draw(tmp_path / "malignant" / "__MACOSX" / "p3_a.tif")
    (tmp_path / "malignant" / "._p3_a.tif").write_bytes(b"")
    (tmp_path / "malignant" / "notes.txt").write_text("hello")
    (tmp_path / ".git").mkdir()

    table = folder.read(tmp_path)

    assert table.select("sample", "label", "subfolder").rows() == [
        ("benign/clinic 1/p1_ä.jpg", "benign", "clinic 1"),
        ("benign/p2_a.PNG", "benign", None),
        ("malignant/p3_a.tif", "malignant", None),
    ]


def test_a_pattern_takes_the_group_from_the_path(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "a" / "patient7_1.png")
    draw(tmp_path / "b" / "patient12_1.png")
    assert folder.read(tmp_path, group_pattern=r"patient(\d+)_")["group"].to_list() == ["7", "12"]
    with pytest.raises(DataError, match=r"does not match b/patient12_1\.png"):
        folder.read(tmp_path, group_pattern=r"patient(7)_")
    with pytest.raises(CardError, match="exactly one group"):
        folder.read(tmp_path, group_pattern="patient")
    with pytest.raises(CardError, match="no regular expression"):
        folder.read(tmp_path, group_pattern="(")


def test_everything_out_of_place_is_told_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "loose.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"loose\.png lies in no class folder: .*; the class folder empty holds no"
    ):
        folder.read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        folder.read(tmp_path / "nowhere")


def test_links_are_followed_to_data_that_lie_elsewhere(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "big disk" / "deep" / "1.png")
    single = draw(tmp_path / "big disk" / "2.png")
    (tmp_path / "cells" / "b").mkdir(parents=True)
    (tmp_path / "cells" / "a").symlink_to(tmp_path / "big disk")
    (tmp_path / "cells" / "b" / "linked.png").symlink_to(single)
    assert folder.read(tmp_path / "cells")["sample"].to_list() == ["a/2.png", "a/deep/1.png", "b/linked.png"]


@pytest.mark.parametrize(
    ("links", "reason"),
    [
        ({"a/gone.png": "nowhere.png"}, r"lead nowhere: a/gone\.png"),
        ({"gone": "nowhere"}, "lead nowhere: gone"),
        ({"a/round": "."}, "round leads back to"),
        ({"a/over": "../b", "b/over": "../a"}, "over leads back to"),
    ],
)
def test_links_that_lead_nowhere_or_in_circles_are_told(
    tmp_path: Path, draw: Callable[..., Path], links: dict[str, str], reason: str
) -> None:
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "b" / "2.png")
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    with pytest.raises(DataError, match=reason):
        folder.read(tmp_path)
