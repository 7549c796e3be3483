"""Which tasks close what: every copy at hand is read once, and what cannot be read stays closed."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from asked import SEALED, SHIPPED, Heard, own_task, write_table
from conftest import Draw

from cytobench.datasets import pbc
from cytobench.digests import FileDigests
from cytobench.errors import UsageError
from cytobench.pretraining.examine import examine, places_of
from cytobench.pretraining.guard import Guard
from cytobench.pretraining.opened import open_rows
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import list_folder
from cytobench.progress import SilentReporter
from cytobench.registry import BrokenPlugin, Registry

QUIET = SilentReporter()
DATA = Data(side=32)
PBC = Registry({}, {name: card for name, card in SHIPPED.tasks.items() if card.dataset == "pbc"}, {})


@pytest.fixture
def blood(tmp_path: Path, draw_cells: Draw) -> Path:
    """A data folder with PBC in its official layout, six cells a class, without WBCAtt's attributes."""
    for number, name in enumerate(pbc.CLASSES):
        draw_cells(tmp_path / "data" / "pbc" / pbc.FOLDER / name, 6, seed=number)
    return tmp_path / "data"


def examined(registry: Registry, home: Path, *data: Path) -> tuple[Guard, Heard]:
    reporter = Heard()
    return examine(registry, data_dirs=data, home=home, reporter=reporter, memory={}), reporter


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read, reads = pbc.read, []

    def counted(root: Path) -> pl.DataFrame:
        reads.append(root)
        return read(root)

    monkeypatch.setattr(pbc, "read", counted)
    return reads


def test_tasks_that_lack_their_labels_are_spoken_for_by_others_on_the_same_images(
    blood: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PBC without attributes: eleven tasks cannot be read, the twelfth says what is closed; one reading."""
    reads = count_reads(monkeypatch)
    guarded, reporter = examined(PBC, blood.parent, blood)
    assert reads == [blood / "pbc"]
    assert guarded.examined == ("cell-type-pbc",)
    assert len(guarded.closed) + len(guarded.opened) == 48
    assert set(guarded.opened.values()) == {("pbc",)}
    (remark,) = reporter.said
    assert "the tasks pbc-attribute-cell-shape" in remark
    assert not reporter.warned
    memory: dict[object, object] = {}
    keys = {"data_dirs": (blood,), "home": blood.parent, "reporter": QUIET, "memory": memory}
    opened = open_rows("pbc", PBC, **keys)  # type: ignore[arg-type]
    assert len(opened.rows) == len(guarded.opened)
    assert not opened.grouped


def test_what_no_task_can_read_is_closed_and_said(blood: Path) -> None:
    (blood / "pbc" / pbc.FOLDER / "ig").rename(blood / "pbc" / "elsewhere")
    guarded, reporter = examined(PBC, blood.parent, blood)
    assert (len(guarded.closed), len(guarded.opened)) == (48, 0)
    assert len(guarded.examined) == 12
    (warning,) = reporter.warned
    assert "every image in" in warning
    assert "the class folders ig are missing" in warning


def test_a_task_that_is_never_for_pretraining_closes_all_that_another_one_seals(blood: Path) -> None:
    sealed = PBC.tasks["cell-type-pbc"]
    never = sealed.model_copy(update={"name": "never-task", "pretrain": "never"})
    guarded, _ = examined(Registry({}, {"a": sealed, "b": never}, {}), blood.parent, blood)
    assert (len(guarded.closed), len(guarded.opened)) == (48, 0)
    with pytest.raises(UsageError, match="'never-task', which is never for pretraining"):
        guarded.refuse_folder(blood / "pbc" / pbc.FOLDER / "ig")


def test_every_copy_of_a_data_set_is_closed(blood: Path, draw_cells: Draw) -> None:
    """Two data folders hold other pictures under the data set's two folder names."""
    for number, name in enumerate(pbc.CLASSES):
        draw_cells(blood.parent / "more" / pbc.FOLDER / name, 3, seed=20 + number)
    guarded, _ = examined(PBC, blood.parent, blood, blood.parent / "more", blood)
    assert len(guarded.closed) + len(guarded.opened) == 48 + 24
    assert places_of("pbc", (blood, blood / "pbc", blood.parent / "more")) == [
        blood / "pbc",
        blood.parent / "more" / pbc.FOLDER,
    ]


def test_rows_reached_through_links_are_compared_where_they_lie(tmp_path: Path, draw_cells: Draw) -> None:
    """A sealed image that is a link to a scored one is not open."""
    folder = draw_cells(tmp_path / "data" / "pbc-unlabelled", 40)
    write_table(folder)
    (folder / "cell-0000.png").unlink()
    (folder / "cell-0000.png").symlink_to(folder / "cell-0005.png")
    cards = {}
    for name in ("scored", "again"):
        raw = own_task(folder, name, **SEALED).model_dump() | {"dataset": "pbc-unlabelled"}
        cards[name] = own_task(folder, name, **SEALED).model_validate(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cytobench.datasets.pbc_unlabelled.read", _read_table)
        opened = open_rows(
            "pbc-unlabelled",
            Registry({}, cards, {}),
            data_dirs=(tmp_path / "data",),
            home=tmp_path,
            reporter=QUIET,
        )
    assert len(opened.rows) == 19
    assert opened.grouped


def _read_table(root: Path) -> pl.DataFrame:
    from cytobench.datasets.table import read

    return read(root / "cells.csv")


def test_a_data_set_without_tasks_is_known_and_open(tmp_path: Path, draw_cells: Draw) -> None:
    draw_cells(tmp_path / "pbc-unlabelled", 3)
    guarded, _ = examined(SHIPPED, tmp_path, tmp_path)
    assert (guarded.closed, set(guarded.opened.values())) == ({}, {("pbc-unlabelled",)})


def test_a_plugin_that_cannot_be_read_is_said_to_be_unguarded(tmp_path: Path) -> None:
    registry = Registry({}, {}, {}, (BrokenPlugin("plugin theirs", "unknown key 'grup'"),))
    _, reporter = examined(registry, tmp_path)
    (warning,) = reporter.warned
    assert "tasks of plugin theirs" in warning
    assert "not kept out of pretraining" in warning
    assert "unknown key 'grup'" in warning


def test_links_that_lead_nowhere_close_the_rest_of_the_folder(tmp_path: Path, draw_cells: Draw) -> None:
    folder = draw_cells(tmp_path / "herlev" / "any", 3)
    (folder / "lost.png").symlink_to(tmp_path / "absent.png")
    guarded, reporter = examined(SHIPPED, tmp_path, tmp_path)
    assert len(guarded.closed) == 3
    assert "links lead nowhere" in reporter.warned[0]


@pytest.fixture
def real() -> Path:
    named = os.environ.get("CYTOBENCH_DATA", "").split(os.pathsep)[0]
    if not named or not (Path(named) / "chula-rbc12").is_dir():
        pytest.skip("the real images are not here: set CYTOBENCH_DATA to the folder that holds them")
    return Path(named)


def test_real_data_sets_open_what_their_cards_say(tmp_path: Path, real: Path) -> None:
    keys = {"data_dirs": (real,), "home": tmp_path, "reporter": QUIET}
    chula = open_rows("chula-rbc12", SHIPPED, **keys)
    assert set(chula.rows["block_parity"]) == {"even"}
    assert (chula.window, chula.grouped) == (80, True)
    bccd = open_rows("bccd", SHIPPED, **keys)
    assert set(bccd.rows["split"]) == {"train"}
    assert len(open_rows("pbc-unlabelled", SHIPPED, **keys).rows) == 5800
    for closed in ("oral-cytology", "malaria-bags", "herlev", "mendeley-lbc"):
        with pytest.raises(UsageError, match="never for pretraining"):
            open_rows(closed, SHIPPED, **keys)


@pytest.mark.slow
def test_real_folders_are_held_to_what_their_cards_say(tmp_path: Path, real: Path) -> None:
    """Of the Chula fields as a plain folder those of even blocks come through; closed sets are refused."""
    guarded, _ = examined(SHIPPED, tmp_path, real)
    checked = guarded.filter(
        list_folder(real / "chula-rbc12" / "Dataset", DATA), FileDigests(tmp_path), QUIET
    )
    ids = [int(piece.image.stem) for piece in checked.listed.pieces]
    assert len(ids) > 100
    assert {i // 20 % 2 for i in ids} == {0}
    assert checked.datasets == ("chula-rbc12",)
    with pytest.raises(UsageError, match="never for pretraining"):
        guarded.refuse_folder(real / "oral-cytology" / "ds1_oldsmear")
    pbc_cells = guarded.filter(list_folder(real / "pbc", DATA), FileDigests(tmp_path), QUIET)
    assert (len(pbc_cells.listed.pieces), pbc_cells.closed) == (482, {"evaluation images": 1918})
