"""Labelled cells to watch a run by: never evaluated ones, whole ones, and those that were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from asked import SEALED, around, heard, own_task, request, write_table
from conftest import Draw

from cytobench.errors import DataError, UsageError
from cytobench.pretraining.labelled import labelled_of
from cytobench.pretraining.supply import find_or_make_pool


def known(folder: Path, name: str = "known.csv") -> Path:
    """A table of all cells in a folder, two classes, two cells a group."""
    names = sorted(path.name for path in folder.glob("*.png"))
    rows = [f"{image},{'ab'[i % 2]},{i // 2}" for i, image in enumerate(names)]
    (folder / name).write_text("\n".join(["image,label,group", *rows]))
    return folder / name


@pytest.fixture
def cells(tmp_path: Path, draw_cells: Draw) -> Path:
    return draw_cells(tmp_path / "cells", 8)


def test_labelled_cells_lie_beside_the_pool_and_travel_with_it(tmp_path: Path, cells: Path) -> None:
    asked, here = request(cells, labelled=(known(cells),)), around(tmp_path)
    pool = find_or_make_pool(tmp_path / "run", asked, here)
    (labelled,) = labelled_of(pool, request(tmp_path / "run"), here)
    assert (labelled.name, labelled.classes, labelled.pixels.shape) == ("known", ("a", "b"), (8, 32, 32, 3))
    assert labelled.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert "watching by the labelled cells beside the pool: known" in heard(here).said
    with pytest.raises(UsageError, match="are not of 16 px"):
        labelled_of(pool, request(tmp_path / "run", crops={"global_size": 16}), here)


def test_labelled_cells_without_two_classes_or_a_label_are_refused(tmp_path: Path, cells: Path) -> None:
    names = sorted(path.name for path in cells.glob("*.png"))
    for label, sentence in (("a", "one class only"), ("", "have no label")):
        rows = [f"{name},{label if i else 'b' if not label else 'a'}" for i, name in enumerate(names)]
        (cells / "bad.csv").write_text("\n".join(["image,label", *rows]))
        with pytest.raises(DataError, match=sentence):
            find_or_make_pool(
                tmp_path / "run", request(cells, labelled=(cells / "bad.csv",)), around(tmp_path)
            )


def test_labelled_cells_are_whole_where_the_images_are_cut_into_tiles(tmp_path: Path, cells: Path) -> None:
    asked = request(cells, labelled=(known(cells),), data={"tile": 24, "side": 32})
    pool = find_or_make_pool(tmp_path / "run", asked, around(tmp_path))
    assert len(pool) > 8
    (labelled,) = labelled_of(pool, asked, around(tmp_path))
    assert len(labelled.labels) == 8


def test_only_the_labelled_cells_that_are_asked_for_watch_a_run(
    tmp_path: Path, cells: Path, draw_cells: Draw
) -> None:
    """Two tables of one name stay two; what a packed pool does not hold is named with what it holds."""
    other = known(draw_cells(tmp_path / "other", 6, seed=2))
    third = known(cells, "third.csv")
    asked = request(cells, labelled=(known(cells), other, third))
    pool, here = find_or_make_pool(tmp_path / "run", asked, around(tmp_path)), around(tmp_path)
    found = labelled_of(pool, asked, here)
    assert [(one.name, len(one.labels)) for one in found] == [("known", 8), ("known-2", 6), ("third", 8)]
    (one,) = labelled_of(pool, request(tmp_path / "run", labelled=(third,)), here)
    assert (one.name, heard(here).said) == ("third", [])
    with pytest.raises(
        UsageError, match=r"no labelled cells named absent \(it holds known, known-2, third\).*--knn"
    ):
        labelled_of(pool, request(tmp_path / "run", labelled=("absent.csv", third)), here)


def test_a_score_on_evaluated_cells_may_not_choose_the_weights(tmp_path: Path, draw_cells: Draw) -> None:
    """A table with scored cells, by content or by group, and sealed cells that another task scores."""
    mine, cells = draw_cells(tmp_path / "mine", 40), draw_cells(tmp_path / "cells", 5, seed=3)
    write_table(mine)
    scored = own_task(mine, "scored", **SEALED)
    here = around(tmp_path, tasks=(scored,))
    with pytest.raises(
        UsageError, match=r"20 images of the table 'known' belong to evaluation \(tasks scored"
    ):
        find_or_make_pool(tmp_path / "run", request(cells, labelled=(known(mine),)), here)
    new = draw_cells(tmp_path / "new", 2, seed=9)
    (new / "new.csv").write_text("image,label,patient\ncell-0000.png,a,patient1\ncell-0001.png,b,nobody\n")
    with pytest.raises(UsageError, match="1 image of the table 'new' belongs to evaluation"):
        find_or_make_pool(tmp_path / "run", request(cells, labelled=(new / "new.csv",)), here)
    alone = request(cells, labelled=("scored",))
    assert labelled_of(find_or_make_pool(tmp_path / "run", alone, here), alone, here)
    other = own_task(mine, "other", pretrain="sealed", sealed={"column": "parity", "values": ["odd"]})
    here = around(tmp_path, tasks=(scored, other))
    with pytest.raises(UsageError, match=r"20 images sealed by the task 'scored'.*\(tasks other\)"):
        find_or_make_pool(tmp_path / "run2", alone, here)
