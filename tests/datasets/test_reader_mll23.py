"""Routine smears of the MLL, a zip a class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DATASETS, mll23
from cytobench.datasets.task import load_task
from cytobench.errors import DataError
from cytobench.registry import Registry

Draw = Callable[..., Path]


def plant(root: Path, draw: Draw) -> Path:
    for name in mll23.CLASSES:
        for number in range(2):
            draw(root / name / f"{name}_{number}.TIF")
    (root / "__MACOSX" / "basophil").mkdir(parents=True)
    return root


@pytest.mark.filterwarnings("error")
def test_cells_have_their_class_and_their_scale(tmp_path: Path, draw: Draw) -> None:
    table = mll23.read(plant(tmp_path, draw))
    assert len(table) == 36
    assert set(table["label"]) == set(DATASETS["mll23"].counts)
    assert sum(DATASETS["mll23"].counts.values()) == 41_621
    assert set(table["mpp"]) == {25 / 288}


def test_the_card_shows_25_micrometres(tmp_path: Path, draw: Draw) -> None:
    plant(tmp_path / "mll23", draw)
    card = Registry.load(entry_points=False).tasks["cell-type-mll23"]
    assert len(load_task(card, data_dirs=[tmp_path], home=tmp_path).classes) == 18


def test_archives_that_are_not_unpacked_are_named(tmp_path: Path, draw: Draw) -> None:
    for name in mll23.CLASSES[2:]:
        draw(tmp_path / name / "1.TIF")
    with pytest.raises(DataError, match="the class folders basophil, eosinophil are missing"):
        mll23.read(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "basophil.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack basophil\.zip first"):
        mll23.read(other)
