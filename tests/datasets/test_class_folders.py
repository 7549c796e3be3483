"""What is said about folders named by classes: everything wrong at once, nothing left out in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DataWarning
from cytobench.datasets.class_folders import (
    find_folder,
    misnamed,
    repeated_names,
    sort_out,
    sort_out_below,
)
from cytobench.errors import DataError

Draw = Callable[..., Path]
CLASSES = ("BLA", "EOS", "LYT")


@pytest.fixture
def tree(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "download" / "set"
    for name in ("BLA/0001-1000/BLA_00002.jpg", "BLA/1001-1002/BLA_01001.JPG", "EOS/EOS_00001.tiff"):
        draw(root / name)
    draw(root / "LYT" / "LYT_00001.png")
    return root


def test_images_are_listed_by_class_and_path_in_any_case_of_suffix(tree: Path) -> None:
    images = sort_out(tree, CLASSES).checked(tree)
    assert [(image.label, image.below) for image in images] == [
        ("BLA", "0001-1000/BLA_00002.jpg"),
        ("BLA", "1001-1002/BLA_01001.JPG"),
        ("EOS", "EOS_00001.tiff"),
        ("LYT", "LYT_00001.png"),
    ]
    assert all(Path(image.path).is_file() and Path(image.path).is_absolute() for image in images)
    assert images[0].name == "BLA_00002.jpg"


@pytest.mark.filterwarnings("error")
def test_leavings_of_operating_systems_do_not_count(tree: Path) -> None:
    expected = sort_out(tree, CLASSES).images
    for name in ("BLA/._BLA_00002.jpg", "EOS/Thumbs.db", "LYT/desktop.ini", "BLA/.DS_Store", ".hidden/x.jpg"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"left behind")
    (tree / "__MACOSX" / "BLA").mkdir(parents=True)
    assert sort_out(tree, CLASSES).checked(tree) == expected


def test_case_of_folder_names_does_not_count_but_two_folders_of_a_class_do(tree: Path, draw: Draw) -> None:
    (tree / "LYT").rename(tree / "lyt")
    image = sort_out(tree, CLASSES).checked(tree)[-1]
    assert (image.label, Path(image.path).parent.name) == ("LYT", "lyt")
    draw(tree / "Lyt" / "LYT_00002.png")
    with pytest.raises(DataError, match="the class LYT has two folders, Lyt and lyt"):
        sort_out(tree, CLASSES).checked(tree)


def test_all_problems_are_told_at_once(tree: Path, draw: Draw) -> None:
    (tree / "EOS").rename(tree / "Eosinophils")
    (tree / "LYT" / "LYT_00001.png").unlink()
    (tree / "BLA" / "BLA_00003.jpg.aspera-ckpt").write_bytes(b"")
    (tree / "BLA" / "notes.txt").write_text("by me")
    (tree / "BLA" / "BLA_00009.jpg").symlink_to(tree / "nowhere.jpg")
    (tree / "EOS.zip").write_bytes(b"")
    draw(tree / "BLA" / "Lyt" / "LYT_00001.png")
    draw(tree / "loose.jpg")
    with pytest.raises(DataError) as caught:
        sort_out(tree, CLASSES).checked(tree)
    message = str(caught.value)
    for part in (
        "the class folders EOS are missing (and Eosinophils are no classes: renamed?) (unpack EOS.zip first)",
        "class folders lie in that of another class: BLA/Lyt",
        "the class folder LYT holds no image",
        "downloads were broken off: BLA/BLA_00003.jpg.aspera-ckpt",
        "links lead nowhere: BLA/BLA_00009.jpg",
        "left out: 1 image in no class folder: loose.jpg",
        "1 file is no image: BLA/notes.txt",
    ):
        assert part in message


def test_what_is_only_left_out_is_told_in_one_warning(tree: Path, draw: Draw) -> None:
    draw(tree / "extra" / "x.jpg")
    draw(tree / "loose.jpg")
    (tree / "BLA" / "notes.txt").write_text("by me")
    with pytest.warns(DataWarning, match=r"extra are no class.*loose\.jpg.*no image: BLA/notes\.txt") as said:
        images = sort_out(tree, CLASSES).checked(tree)
    assert len(said) == 1
    assert len(images) == 4


def test_classes_that_may_be_missing_are_not_missed(tree: Path) -> None:
    found = sort_out(tree, (*CLASSES, "ABE"), optional=("ABE",))
    assert not found.problems
    assert len(found.images) == 4


def test_links_are_followed_but_never_in_circles(tree: Path, tmp_path: Path, draw: Draw) -> None:
    elsewhere = tmp_path / "elsewhere"
    draw(elsewhere / "LYT_00007.png")
    (tree / "LYT" / "more").symlink_to(elsewhere)
    assert sort_out(tree, CLASSES).images[-1].below == "more/LYT_00007.png"
    (elsewhere / "back").symlink_to(tree / "LYT")
    with pytest.raises(DataError, match="leads back to a folder above it"):
        sort_out(tree, CLASSES).checked(tree)


def test_names_that_contradict_their_folder_and_copies_are_named(tree: Path, draw: Draw) -> None:
    draw(tree / "LYT" / "BLA_00004.jpg")
    draw(tree / "BLA" / "BLA_00002.jpg")
    images = sort_out(tree, CLASSES).images
    assert misnamed(images) == [
        "1 image carries another class in the name than that of the folder: LYT/BLA_00004.jpg"
    ]
    assert repeated_names(images) == ["1 image is there twice: BLA/BLA_00002.jpg; keep one copy"]


def test_the_folder_with_the_classes_is_found_below(tree: Path) -> None:
    assert find_folder(tree, CLASSES) == tree
    assert find_folder(tree.parent, CLASSES, depth=1) == tree


def test_no_class_folder_and_two_copies_are_said_precisely(tree: Path, tmp_path: Path, draw: Draw) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "data.rar").write_bytes(b"")
    with pytest.raises(DataError, match=r"no folder named BLA, EOS, LYT in it \(unpack data\.rar first\)"):
        find_folder(empty, CLASSES)
    for copy in ("a", "b"):
        draw(empty / copy / "BLA" / "BLA_1.jpg")
    with pytest.raises(DataError, match="two copies of the data lie here, a, b: keep one"):
        find_folder(empty, CLASSES)


SPELLINGS = {"healthy": "healthy", "sick": "sick", "ill": "sick"}


def test_classes_below_any_folder_are_listed_under_any_spelling(tmp_path: Path, draw: Draw) -> None:
    for name in ("train/Healthy/a.png", "train/s_i.ck/slide 1/b.png", "test/ILL/c.png", "test/healthy/d.png"):
        draw(tmp_path / name)
    (tmp_path / "__MACOSX" / "odd").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "odd" / "._a.png").write_bytes(b"")
    images = sort_out_below(tmp_path, SPELLINGS).checked(tmp_path)
    assert [(image.label, image.folder, image.below) for image in images] == [
        ("healthy", "train/Healthy", "a.png"),
        ("healthy", "test/healthy", "d.png"),
        ("sick", "test/ILL", "c.png"),
        ("sick", "train/s_i.ck", "slide 1/b.png"),
    ]


def test_what_is_wrong_below_any_folder_is_told_at_once(tmp_path: Path, draw: Draw) -> None:
    for name in ("a/healthy/1.png", "a/Health_y/2.png", "a/healthy/ill/3.png", "a/odd/4.png", "loose.png"):
        draw(tmp_path / name)
    (tmp_path / "a" / "healthy" / "5.png.crdownload").write_bytes(b"")
    (tmp_path / "a" / "healthy" / "notes.txt").write_text("by me")
    (tmp_path / "a" / "healthy" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "a" / "healthy" / "round").symlink_to("../..")
    (tmp_path / "sick.zip").write_bytes(b"")
    (tmp_path / "b" / "Healthy").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        sort_out_below(tmp_path, SPELLINGS).checked(tmp_path)
    for part in (
        "the class folders sick are missing (and a/odd are no classes: renamed?) (unpack sick.zip first)",
        "class folders lie in that of another class: a/healthy/ill",
        "the class healthy has two folders, a/Health_y and a/healthy: keep one",
        "the class folder b/Healthy holds no image",
        "links lead nowhere: a/healthy/gone.png",
        "a/healthy/round leads back to a folder above it",
        "downloads were broken off: a/healthy/5.png.crdownload",
        "folders that hold images but are no class: a/odd",
        "left out: 1 image in no class folder: loose.png",
        "1 file is no image: a/healthy/notes.txt",
    ):
        assert part in str(caught.value)


def test_half_written_images_are_unfinished_and_other_temporary_files_are_not(tree: Path, draw: Draw) -> None:
    (tree / "BLA" / "list.tmp").write_bytes(b"")
    assert not sort_out(tree, CLASSES).problems
    (tree / "BLA" / "BLA_00007.jpg.tmp").write_bytes(b"")
    assert sort_out(tree, CLASSES).problems == [
        "downloads were broken off: BLA/BLA_00007.jpg.tmp; fetch them again"
    ]
