"""Pretraining never reads what evaluation uses: by content, by group, by the card's word."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from asked import SEALED, Heard, own_task, write_table
from conftest import Draw

from cytobench.cards import TaskCard
from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError
from cytobench.pretraining.examine import examine
from cytobench.pretraining.guard import Guard
from cytobench.pretraining.opened import labelled_rows
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import list_folder, list_manifest
from cytobench.progress import SilentReporter
from cytobench.registry import Registry

QUIET = SilentReporter()
DATA = Data(side=32)


@pytest.fixture
def cells(tmp_path: Path, draw_cells: Draw) -> Path:
    """Forty labelled cells of eight patients in a folder with a table."""
    folder = draw_cells(tmp_path / "set", 40)
    write_table(folder)
    return folder


def examined(cells: Path, *cards: TaskCard, reporter: SilentReporter = QUIET) -> Guard:
    registry = Registry({}, {card.name: card for card in cards}, {})
    return examine(registry, data_dirs=(), home=cells.parent / "home", reporter=reporter)


def filtered(cells: Path, guarded: Guard, folder: Path) -> tuple[list[str], dict[str, int]]:
    checked = guarded.filter(list_folder(folder, DATA), FileDigests(cells.parent / "home"), QUIET)
    return [piece.image.name for piece in checked.listed.pieces], dict(checked.closed)


def test_a_copied_folder_is_no_way_round(cells: Path) -> None:
    """Renamed copies of scored cells are known by their bytes; sealed ones may be read, and are known too."""
    guarded = examined(cells, own_task(cells, "scored", **SEALED))
    copy = cells.parent / "mine"
    copy.mkdir()
    for number, path in enumerate(sorted(cells.glob("*.png"))):
        shutil.copy(path, copy / f"renamed-{number:02d}.png")
    kept, lost = filtered(cells, guarded, copy)
    assert kept == [f"renamed-{i:02d}.png" for i in range(40) if i // 5 % 2 == 0]
    assert lost == {"evaluation images": 20}
    checked = guarded.filter(list_folder(copy, DATA), FileDigests(cells.parent / "home"), QUIET)
    assert checked.datasets == ("scored",)


def test_a_task_that_scores_a_cell_closes_it_whatever_another_task_seals(
    cells: Path, draw_cells: Draw
) -> None:
    """The refusal names the tasks concerned and no other."""
    other = own_task(cells, "other", pretrain="sealed", sealed={"column": "parity", "values": ["odd"]})
    apart = draw_cells(cells.parent / "apart", 40, seed=5)
    write_table(apart)
    guarded = examined(cells, own_task(cells, "scored", **SEALED), other, own_task(apart, "unconcerned"))
    with pytest.raises(DataError, match=r"'set' belongs to evaluation \(tasks other, scored\)"):
        filtered(cells, guarded, cells)


def table_of(folder: Path, rows: dict[str, str], column: str = "patient") -> Path:
    lines = [f"image,{column}", *(f"{image},{group}" for image, group in rows.items())]
    (folder / "new.csv").write_text("\n".join(lines))
    return folder / "new.csv"


@pytest.mark.parametrize("column", ["patient", "donor"])
def test_images_of_a_scored_patient_are_left_out_by_group(cells: Path, draw_cells: Draw, column: str) -> None:
    """New pictures of a patient whose other cells are scored are closed, whatever the card calls patients."""
    text = (cells / "cells.csv").read_text()
    (cells / "cells.csv").write_text(text.replace("label,patient", f"label,{column}"))
    guarded = examined(cells, own_task(cells, "scored", **{**SEALED, "group": column}))
    new = draw_cells(cells.parent / "new", 4, seed=9)
    names = ["patient0", "patient1", "patient3", "somebody"]
    table = table_of(new, {f"cell-{i:04d}.png": name for i, name in enumerate(names)}, column)
    listed, read = list_manifest(table, DATA)
    checked = guarded.filter(listed, FileDigests(cells.parent / "home"), QUIET, read)
    assert [piece.image.name for piece in checked.listed.pieces] == ["cell-0000.png", "cell-0003.png"]
    assert checked.closed == {"images of evaluation groups": 2}
    assert checked.by_group
    assert not guarded.filter(list_folder(new, DATA), FileDigests(cells.parent), QUIET).by_group


def test_labelled_cells_come_from_the_sealed_share_alone(cells: Path) -> None:
    rows, classes = labelled_rows(own_task(cells, "scored", **SEALED), data_dirs=(), home=cells.parent)
    assert classes == ("a", "b")
    assert set(rows["patient"]) == {"patient0", "patient2", "patient4", "patient6"}
    with pytest.raises(UsageError, match="has no sealed share"):
        labelled_rows(own_task(cells, "closed"), data_dirs=(), home=cells.parent)


def test_boxes_of_one_field_are_closed_together(cells: Path) -> None:
    """The file is the unit: a sealed box in a field that holds a scored one is not read."""
    table = pl.read_csv(cells / "cells.csv").with_columns(pl.lit("cell-0000.png").alias("image"))
    table.with_columns(x=pl.lit(10), y=pl.lit(10)).write_csv(cells / "cells.csv")
    guarded = examined(cells, own_task(cells, "scored", **SEALED))
    assert FileDigests(cells.parent / "home").sha256(cells / "cell-0000.png") in guarded.closed


def test_images_that_cannot_be_read_stop_no_comparison(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the evaluated ones a warning tells; of a source's own the packer will."""
    whole = FileDigests._hash

    def hashed(self: FileDigests, path: Path) -> str:
        if path.name in ("cell-0005.png", "locked.png"):
            raise PermissionError(13, "Permission denied")
        return whole(self, path)

    monkeypatch.setattr(FileDigests, "_hash", hashed)
    reporter = Heard()
    guarded = examined(cells, own_task(cells, "scored", **SEALED), reporter=reporter)
    assert len(guarded.closed) == 19
    (warning,) = reporter.warned
    assert "1 image of evaluation data cannot be read" in warning
    assert "cell-0005.png" in warning
    shutil.copy(cells / "cell-0000.png", cells / "locked.png")
    kept, lost = filtered(cells, guarded, cells)
    assert {"locked.png", "cell-0005.png"} <= set(kept)
    assert lost == {"evaluation images": 19}
