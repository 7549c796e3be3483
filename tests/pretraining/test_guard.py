"""Pretraining never reads what evaluation uses: by content, by group, by the card's word."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from conftest import Draw

from cytobench.cards import TaskCard, parse_card
from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError
from cytobench.pretraining import guard
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import list_folder, list_manifest
from cytobench.progress import SilentReporter
from cytobench.registry import Registry

QUIET = SilentReporter()
DATA = Data(side=32)


class _Registry:
    """Only the tasks a test made."""

    def __init__(self, *cards: TaskCard) -> None:
        self.tasks = {card.name: card for card in cards}


def card(folder: Path, name: str, **keys: object) -> TaskCard:
    """A task over a table of cells with patients, its card lying beside them."""
    raw = {
        "name": name,
        "title": name,
        "dataset": {"format": "table", "path": "cells.csv"},
        "group": "patient",
        "view": {"kind": "window", "size": 32},
        **keys,
    }
    return parse_card(TaskCard, raw, source=folder / f"{name}.toml")


@pytest.fixture
def cells(tmp_path: Path, draw_cells: Draw) -> Path:
    """Forty labelled cells of eight patients in a folder with a table."""
    folder = draw_cells(tmp_path / "set", 40)
    rows = [
        f"cell-{i:04d}.png,{'ab'[i % 2]},patient{i // 5},{'even' if i // 5 % 2 == 0 else 'odd'}"
        for i in range(40)
    ]
    (folder / "cells.csv").write_text("\n".join(["image,label,patient,parity", *rows]))
    return folder


SEALED = {"pretrain": "sealed", "sealed": {"column": "parity", "values": ["even"]}}


def examined(cells: Path, *cards: TaskCard) -> guard.Guard:
    registry: Registry = _Registry(*cards)  # type: ignore[assignment]
    return guard.examine(registry, data_dirs=(), home=cells.parent / "home", reporter=QUIET)


def filtered(cells: Path, guarded: guard.Guard, folder: Path) -> tuple[list[str], dict[str, int]]:
    listed, lost = guarded.filter(list_folder(folder, DATA), FileDigests(cells.parent / "home"), QUIET)
    return [piece.image.name for piece in listed.pieces], lost


def test_a_copied_folder_is_no_way_round(cells: Path) -> None:
    """Renamed copies of scored cells are known by their bytes; the sealed ones may be read."""
    guarded = examined(cells, card(cells, "scored", **SEALED))
    copy = cells.parent / "mine"
    copy.mkdir()
    for number, path in enumerate(sorted(cells.glob("*.png"))):
        shutil.copy(path, copy / f"renamed-{number:02d}.png")
    kept, lost = filtered(cells, guarded, copy)
    assert kept == [f"renamed-{i:02d}.png" for i in range(40) if i // 5 % 2 == 0]
    assert lost == {"evaluation images": 20}


def test_a_task_that_scores_a_cell_closes_it_whatever_another_task_seals(cells: Path) -> None:
    other = card(cells, "other", pretrain="sealed", sealed={"column": "parity", "values": ["odd"]})
    guarded = examined(cells, card(cells, "scored", **SEALED), other)
    with pytest.raises(DataError, match="Every image of 'set' belongs to evaluation"):
        filtered(cells, guarded, cells)


def test_images_of_a_scored_patient_are_left_out_by_group(cells: Path, draw_cells: Draw) -> None:
    """New pictures of a patient whose other cells are scored are closed too."""
    guarded = examined(cells, card(cells, "scored", **SEALED))
    new = draw_cells(cells.parent / "new", 4, seed=9)
    table = new / "new.csv"
    names = ["patient0", "patient1", "patient3", "somebody"]
    rows = [f"cell-{i:04d}.png,{name}" for i, name in enumerate(names)]
    table.write_text("\n".join(["image,patient", *rows]))
    listed, read = list_manifest(table, DATA)
    kept, lost = guarded.filter(listed, FileDigests(cells.parent / "home"), QUIET, read)
    assert [piece.image.name for piece in kept.pieces] == ["cell-0000.png", "cell-0003.png"]
    assert lost == {"images of evaluation groups": 2}


def test_labelled_cells_come_from_the_sealed_share_alone(cells: Path) -> None:
    rows, classes = guard.labelled_rows(card(cells, "scored", **SEALED), data_dirs=(), home=cells.parent)
    assert classes == ("a", "b")
    assert set(rows["patient"]) == {"patient0", "patient2", "patient4", "patient6"}
    with pytest.raises(UsageError, match="has no sealed share"):
        guard.labelled_rows(card(cells, "closed"), data_dirs=(), home=cells.parent)


def _shared_data() -> Path:
    named = os.environ.get("CYTOBENCH_DATA", "").split(os.pathsep)[0]
    if not named or not (Path(named) / "chula-rbc12").is_dir():
        pytest.skip("the real images are not here: set CYTOBENCH_DATA to the folder that holds them")
    return Path(named)


def test_real_data_sets_open_what_their_cards_say(tmp_path: Path) -> None:
    data, registry = _shared_data(), Registry.load(entry_points=False)
    keys = {"data_dirs": (data,), "home": tmp_path, "reporter": QUIET}
    chula = guard.open_rows("chula-rbc12", registry, **keys)
    assert set(chula.rows["block_parity"]) == {"even"}
    assert chula.window == 80
    bccd = guard.open_rows("bccd", registry, **keys)
    assert set(bccd.rows["split"]) == {"train"}
    assert len(guard.open_rows("pbc-unlabelled", registry, **keys).rows) == 5800
    for closed in ("oral-cytology", "malaria-bags", "herlev", "mendeley-lbc"):
        with pytest.raises(UsageError, match="never for pretraining"):
            guard.open_rows(closed, registry, **keys)


@pytest.mark.slow
def test_real_folders_are_held_to_what_their_cards_say(tmp_path: Path) -> None:
    """Of the Chula fields as a plain folder those of even blocks come through; closed sets are refused."""
    data, registry = _shared_data(), Registry.load(entry_points=False)
    guarded = guard.examine(registry, data_dirs=(data,), home=tmp_path, reporter=QUIET)
    fields = list_folder(data / "chula-rbc12" / "Dataset", DATA)
    kept, _ = guarded.filter(fields, FileDigests(tmp_path), QUIET)
    ids = [int(piece.image.stem) for piece in kept.pieces]
    assert len(ids) > 100
    assert {i // 20 % 2 for i in ids} == {0}
    with pytest.raises(UsageError, match="never for pretraining"):
        guarded.refuse_folder(data / "oral-cytology" / "ds1_oldsmear")
    pbc, lost = guarded.filter(list_folder(data / "pbc", DATA), FileDigests(tmp_path), QUIET)
    assert (len(pbc.pieces), lost) == (482, {"evaluation images": 1918})


def test_boxes_of_one_field_are_closed_together(cells: Path) -> None:
    """The file is the unit: a sealed box in a field that holds a scored one is not read."""
    table = pl.read_csv(cells / "cells.csv").with_columns(pl.lit("cell-0000.png").alias("image"))
    table.with_columns(x=pl.lit(10), y=pl.lit(10)).write_csv(cells / "cells.csv")
    guarded = examined(cells, card(cells, "scored", **SEALED))
    digest = FileDigests(cells.parent / "home").sha256(cells / "cell-0000.png")
    assert digest in guarded.digests
