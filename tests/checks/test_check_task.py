"""A task's check finds what was planted, says all of it at once, and finds nothing on clean cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytobench.cards import TaskCard
from cytobench.checks.task import check_task
from cytobench.findings import Finding, failed
from cytobench.progress import SilentReporter
from tests.checks.planted_cells import Planted, draw_cell


def checked(card: TaskCard, home: Path) -> dict[str, Finding]:
    found = check_task(card, data_dirs=[], home=home, reporter=SilentReporter())
    assert len({one.question for one in found}) == len(found)
    return {one.question: one for one in found}


def test_clean_cells_pass(planted: Planted, home: Path) -> None:
    planted.fill()
    found = checked(planted.card(), home)
    assert not failed(found.values())
    wanted = ("files", "groups", "leakage of groups", "classes per fold", "copies", "contradicting labels")
    assert {found[name].mark for name in wanted} == {"pass"}
    assert all(
        found[f"label from {what}"].mark == "pass" for what in ("file size", "image size", "sharpness")
    )


def test_copies_are_told_across_and_within_folds(planted: Planted, home: Path) -> None:
    planted.fill()
    planted.add(planted.pixels("000.png"), "benign", "p0", name="again.png")
    planted.add(planted.pixels("006.png"), "benign", "p4", name="recompressed.jpg", quality=70)
    brighter = np.clip(planted.pixels("012.png").astype(int) + 18, 0, 255).astype(np.uint8)
    planted.add(brighter, "malignant", "p2", name="brighter.png")
    found = checked(planted.card(split={"kind": "leave-one-group-out"}), home)
    across, within = found["copies across folds"], found["copies within folds"]
    assert (across.mark, within.mark) == ("fail", "warn")
    assert len(across.cases) == 1
    assert "recompressed.jpg" in across.cases[0]
    assert "006.png" in across.cases[0]
    assert {name for name in ("again.png", "brighter.png") if any(name in case for case in within.cases)} == {
        "again.png",
        "brighter.png",
    }
    contradicting = found["contradicting labels"]
    assert contradicting.mark == "fail"
    assert [("012.png" in case, "brighter.png" in case) for case in contradicting.cases] == [(True, True)]


def test_every_broken_file_is_named_at_once(planted: Planted, home: Path) -> None:
    planted.fill()
    for name in ("003.png", "011.png", "020.png"):
        (planted.root / name).write_bytes((planted.root / name).read_bytes()[:200])
    found = checked(planted.card(), home)
    files = found["files"]
    assert files.mark == "fail"
    assert all(any(name in case for case in files.cases) for name in ("003.png", "011.png", "020.png"))
    assert found["label from colour"].mark in ("pass", "warn")


def test_every_missing_file_is_named_at_once(planted: Planted, home: Path) -> None:
    planted.fill()
    card = planted.card()
    lost = [f"{number:03d}.png" for number in range(0, 48, 6)]
    for name in lost:
        (planted.root / name).unlink()
    data = checked(card, home)["data"]
    assert data.mark == "fail"
    told = data.says + " ".join(data.cases)
    assert all(name in told for name in lost[:5])


def test_images_without_labels_are_named(planted: Planted, home: Path) -> None:
    planted.fill()
    planted.add(None, "benign", "p0", name="no-row.png")
    planted.rows.pop()
    found = checked(planted.card(), home)["images without labels"]
    assert found.mark == "warn"
    assert [Path(case).name for case in found.cases] == ["no-row.png"]


def test_a_class_with_one_cell_is_named(planted: Planted, home: Path) -> None:
    planted.fill()
    planted.add(None, "rare", "p0")
    found = check_task(planted.card(), data_dirs=[], home=home, reporter=SilentReporter())
    assert any("rare" in one.says and one.question == "folds" and one.mark == "fail" for one in found)
    assert any("rare (1)" in one.cases for one in found)


def test_a_group_on_two_sides_is_a_leak(planted: Planted, home: Path) -> None:
    for number in range(40):
        split = "test" if number % 4 == 0 else "train"
        planted.add(None, ("a", "b")[number // 2 % 2], f"p{number // 4}", split=split)
    found = check_task(
        planted.card(split={"kind": "official"}), data_dirs=[], home=home, reporter=SilentReporter()
    )
    assert failed(found)
    assert "p0" in " ".join([one.says + " ".join(one.cases) for one in found if one.mark == "fail"])


def test_names_that_may_be_patients_are_pointed_out(planted: Planted, home: Path) -> None:
    for number in range(48):
        planted.add(None, ("a", "b")[number % 2], "", name=f"patient{number // 4}_{number:02d}.png")
    groups = checked(planted.card(group="none", accept_ungrouped=True), home)["groups"]
    assert groups.mark == "warn"
    assert "'patient" in groups.says


def test_a_label_that_goes_along_with_files_is_told(planted: Planted, home: Path) -> None:
    for group in range(12):
        for cell in range(4):
            sick = cell % 2 == 1
            pixels = draw_cell(planted.rng, side=96 if sick else 64)
            planted.add(pixels, "sick" if sick else "well", f"p{group}")
    found = checked(planted.card(), home)
    assert (found["label from image size"].mark, found["label from file size"].mark) == ("warn", "warn")
    assert "balanced accuracy 1.00" in found["label from image size"].says


def test_thin_classes_and_twin_names_are_told(planted: Planted, home: Path) -> None:
    planted.fill(labels=("Benign", "benign "))
    assert checked(planted.card(), home)["labels"].mark == "warn"


def test_expected_noise_shrinks_with_more_patients(tmp_path: Path, home: Path) -> None:
    widths = []
    for groups in (10, 20):
        root = tmp_path / str(groups)
        root.mkdir()
        cells = Planted(root)
        cells.fill(groups=groups, each=4)
        says = checked(cells.card(), home)["expected noise"].says
        widths.append(float(says.split("± ")[1].split()[0]))
    assert widths[1] < widths[0]


def test_a_second_check_decodes_nothing(
    planted: Planted, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.fill()
    card = planted.card()
    first = checked(card, home)
    monkeypatch.setattr("cytobench.images.decode", None)
    assert checked(card, home) == first
