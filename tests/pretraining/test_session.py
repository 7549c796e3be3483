"""A run's folder and its request: gone on with, begun anew, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asked import around, recipe, request
from conftest import Draw

from cytobench.errors import DataError, StoreError, UsageError
from cytobench.pretraining import checkpoint
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.session import Request, open_run, record, recorded, tie_to_pool
from cytobench.pretraining.supply import find_or_make_pool


def begin(folder: Path, asked: Request) -> None:
    """Open a run and leave a checkpoint in it."""
    open_run(folder, asked)
    (folder / checkpoint.NAME).write_bytes(b"")


def test_a_run_goes_on_with_the_request_it_began_with_and_names_what_differs(tmp_path: Path) -> None:
    folder, first = tmp_path / "run", request(tmp_path / "cells")
    begin(folder, first)
    open_run(folder, first)
    open_run(folder, request(tmp_path / "cells", running={"log_steps": 7, "precision": "fp32"}))
    other = request("elsewhere", schedule={"lr": 0.5}, data={"batch": 8})
    with pytest.raises(UsageError, match=r"data\.batch, images, schedule\.lr differ"):
        open_run(folder, other)


def test_another_seed_would_draw_other_views_and_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "run", request("cells"))
    with pytest.raises(UsageError, match=r"\(running\.seed differ\)"):
        open_run(tmp_path / "run", request("cells", running={"seed": 1, "log_steps": 7}))


def test_a_run_without_a_checkpoint_takes_a_new_request(tmp_path: Path, draw_cells: Draw) -> None:
    """Its pool stays where it would be packed alike, and is packed anew where it would not."""
    folder, cells = tmp_path / "run", draw_cells(tmp_path / "cells", 6)
    here = around(tmp_path)
    open_run(folder, request(cells))
    tie_to_pool(folder, find_or_make_pool(folder, request(cells), here))
    described = (folder / "pool" / "pool.json").stat().st_mtime_ns
    same_pool = request(cells, schedule={"lr": 0.5}, data={"batch": 2, "balance": 0.0})
    open_run(folder, same_pool)
    assert (folder / "pool" / "pool.json").stat().st_mtime_ns == described
    assert json.loads((folder / "run.json").read_text())["schedule"]["lr"] == 0.5
    larger = request(cells, data={"side": 44})
    open_run(folder, larger)
    assert not list((folder / "pool").iterdir())
    pool = find_or_make_pool(folder, larger, here)
    tie_to_pool(folder, pool)
    assert pool.side == 44
    other = request(draw_cells(tmp_path / "more", 3, seed=4))
    open_run(folder, other)
    assert len(find_or_make_pool(folder, other, here)) == 3


def test_labelled_cells_are_cut_anew_for_a_run_that_takes_another_size(
    tmp_path: Path, draw_cells: Draw
) -> None:
    cells = draw_cells(tmp_path / "cells", 6)
    names = sorted(path.name for path in cells.glob("*.png"))
    (cells / "known.csv").write_text("image,label\n" + "\n".join(f"{n},{n[8]}" for n in names))
    asked = request(cells, labelled=(cells / "known.csv",))
    open_run(tmp_path / "run", asked)
    find_or_make_pool(tmp_path / "run", asked, around(tmp_path))
    again = request(cells, labelled=(cells / "known.csv",), crops={"global_size": 16})
    open_run(tmp_path / "run", again)
    assert not list((tmp_path / "run" / "pool").iterdir())


def test_a_run_is_tied_to_the_pictures_it_has_trained_on(tmp_path: Path, draw_cells: Draw) -> None:
    cells, folder, here = draw_cells(tmp_path / "cells", 6), tmp_path / "run", around(tmp_path)
    asked = request(tmp_path / "packed")
    pool = find_or_make_pool(tmp_path / "packed", request(cells), here)
    open_run(folder, asked)
    tie_to_pool(folder, pool)
    assert recorded(folder)["pool"] == pool.digest
    repacked = Pool(pool.folder)
    repacked.description["digest"] = "0" * 64
    tie_to_pool(folder, repacked)
    (folder / checkpoint.NAME).write_bytes(b"")
    with pytest.raises(
        UsageError, match=rf"trained on other pictures.*pool {'0' * 16}, not {pool.digest[:16]}"
    ):
        tie_to_pool(folder, pool)
    tie_to_pool(folder, repacked)


def test_what_became_of_a_request_is_no_part_of_it(tmp_path: Path) -> None:
    begin(tmp_path / "run", request("cells"))
    record(tmp_path / "run", pool="one", began_with=None)
    record(tmp_path / "run", pool="other")
    assert recorded(tmp_path / "run") == {"pool": "other", "began_with": None}
    open_run(tmp_path / "run", request("cells"))
    assert recorded(tmp_path / "elsewhere") == {}


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        open_run(tmp_path, request("cells"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        open_run(tmp_path / "run", request("cells"))


def test_a_folder_that_a_killed_call_left_half_made_is_begun(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.17-aa.tmp").write_text("{")
    open_run(tmp_path / "run", request("cells"))


def test_a_folder_that_cannot_be_made_is_called_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="--out"):
        open_run(tmp_path / "file" / "run", request("cells"))


def test_requests_hold_every_setting() -> None:
    assert request("cells", init="x.pth").as_dict().keys() >= {"images", "knn", "init", "preset", "data"}
    assert recipe().data.side == 40
