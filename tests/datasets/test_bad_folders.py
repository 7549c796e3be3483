"""Everything that goes wrong with a folder of one's own cells, planted together: one message names it all."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.cards import TaskCard
from cytobench.datasets import DataWarning, folder
from cytobench.datasets.listing import RefusedError, unexpected
from cytobench.datasets.task import load_task
from cytobench.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "Präparat") for form in ("NFC", "NFD"))


def card(cells: Path, **changes: object) -> TaskCard:
    raw: dict[str, object] = {
        "name": "mine",
        "title": "Mine",
        "dataset": {"format": "folder", "path": str(cells)},
        "group": "none",
        "accept_ungrouped": True,
        "view": {"kind": "box"},
    }
    return TaskCard(**raw | changes)


@pytest.fixture
def cells(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """A folder as it arrives from three colleagues, two systems and a download that broke off."""
    root = tmp_path / "cells"
    for index in range(3):
        draw(root / "benign" / f"{index}.png")
        draw(root / "Benign" / f"{index}.png")
        draw(root / "Maligne" / f"ü{index}.jpg")
    draw(root / "rare" / "only.png")
    draw(root / "loose.png")
    (root / "empty class").mkdir()
    (root / "benign" / "zero.png").write_bytes(b"")
    whole = (root / "Maligne" / "ü0.jpg").read_bytes()
    (root / "Maligne" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "benign" / "4.png.crdownload").write_bytes(b"\0" * 10)
    (root / "benign" / "gone.png").symlink_to("nowhere.png")
    (root / "benign" / "round").symlink_to(".")
    for leftover in ("benign/._0.png", "benign/.DS_Store", "Thumbs.db", "rare/desktop.ini"):
        (root / leftover).write_bytes(b"x")
    draw(root / "__MACOSX" / "benign" / "0.png")
    (root / ".cache").mkdir()
    (root / "notes.txt").write_text("hello")
    return root


def test_all_faults_of_a_folder_are_named_in_one_message(cells: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_task(card(cells, classes=["benign", "Malignant"]), data_dirs=[], home=cells)
    message = str(caught.value)
    for part in (
        f"{cells}: ",
        "loose.png lies in no class folder",
        "the class folder empty class holds no image",
        "the class folders 'Benign' and 'benign' differ only in case",
        "links lead nowhere: benign/gone.png",
        "benign/round leads back to a folder above it",
        "downloads were broken off: benign/4.png.crdownload",
        "1 image file is empty: benign/zero.png",
        "1 image file is cut off or damaged: Maligne/half.jpg",
        "no row is labelled Malignant (did you mean 'Maligne'?)",
        "5 files that macOS or Windows left behind were left out: Thumbs.db, __MACOSX/benign/0.png, ",
        "1 file whose name begins with a dot was left out: .cache",
        "1 file of a kind that is not read was left out: notes.txt",
    ):
        assert part in message
    with pytest.raises(DataError, match="only one cell is labelled 'rare', which cannot be both trained on"):
        load_task(card(cells), data_dirs=[], home=cells)


def test_once_mended_what_was_left_out_is_still_said(cells: Path) -> None:
    for fault in ("loose.png", "benign/zero.png", "Maligne/half.jpg", "benign/4.png.crdownload"):
        (cells / fault).unlink()
    (cells / "benign" / "gone.png").unlink()
    (cells / "benign" / "round").unlink()
    (cells / "empty class").rmdir()
    (cells / "Benign").rename(cells / "normal")
    data = load_task(card(cells, classes=["benign", "Maligne"]), data_dirs=[], home=cells)
    said = " ".join(data.warnings)
    assert "5 files that macOS or Windows left behind were left out" in said
    assert "left out: 4 rows of normal, rare, which the card's classes do not name" in said
    assert set(data.table["label"]) == {"benign", "Maligne"}


def test_a_folder_from_macos_gives_the_same_samples_as_from_linux(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    tables = []
    for system, name in (("linux", NFC), ("macos", NFD)):
        draw(tmp_path / system / name / f"{name} 1.png", like="one")
        draw(tmp_path / system / "other" / "2.png", like="two")
        tables.append(folder.read(tmp_path / system).drop("image"))
    assert tables[0].equals(tables[1])
    draw(tmp_path / "linux" / NFD / "3.png")
    with pytest.raises(RefusedError, match="differ only in case, spaces or how accents are written"):
        folder.read(tmp_path / "linux")


def test_folders_of_a_split_are_not_taken_for_classes(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for part in ("train", "test"):
        draw(tmp_path / part / "benign" / "1.png")
    with pytest.raises(DataError, match="test, train are parts of a split, not classes"):
        folder.read(tmp_path)


def test_whole_pictures_with_something_behind_their_end_are_not_called_damaged(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    for suffix in ("png", "jpg"):
        path = draw(tmp_path / "a" / f"1.{suffix}")
        path.write_bytes(path.read_bytes() + b"\0" * 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert len(folder.read(tmp_path)) == 2


def test_an_official_folder_says_what_was_renamed_is_missing_or_is_not_its_own(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    for name in ("Basophile", "eosinophil", NFD, "thumbnails", "__MACOSX"):
        draw(tmp_path / name / "1.png")
    assert unexpected(tmp_path, ["basophil", "eosinophil", "monocyte", NFC]) == [
        "the folder Basophile should be called basophil: rename it back",
        "1 of 4 folders missing: monocyte",
        "folders that are not part of the download: thumbnails",
    ]
