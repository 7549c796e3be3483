"""From what a user names to a pool: what is accepted, kept out, said, refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from asked import SEALED, around, heard, own_task, request, write_table
from conftest import Draw

from cytobench.errors import DataError, UsageError
from cytobench.pretraining import supply
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.supply import find_or_make_pool


def test_a_pool_is_packed_once_and_can_be_named_by_itself_or_its_run(
    tmp_path: Path, draw_cells: Draw
) -> None:
    cells, here = draw_cells(tmp_path / "cells", 6), around(tmp_path)
    made = find_or_make_pool(tmp_path / "run", request(cells), here)
    draw_cells(cells, 9, seed=3)
    again = find_or_make_pool(tmp_path / "run", request(cells), here)
    assert len(again) == len(made) == 6
    np.testing.assert_array_equal(again.read(np.arange(6)), made.read(np.arange(6)))
    assert again.description["settings"]["side"] == 40
    for named in (tmp_path / "run", tmp_path / "run" / "pool"):
        assert find_or_make_pool(tmp_path / "other", request(named), here).digest == made.digest
    with pytest.raises(UsageError, match="stands alone"):
        find_or_make_pool(tmp_path / "third", request(tmp_path / "run", cells), here)
    larger = request(tmp_path / "run", crops={"global_size": 48}, data={"side": 48})
    with pytest.raises(UsageError, match="smaller than global crops of 48 px"):
        find_or_make_pool(tmp_path / "fourth", larger, here)


def test_a_named_pool_says_what_it_does_not_promise(tmp_path: Path, draw_cells: Draw) -> None:
    """That nothing was compared, and that its own settings hold; batches are drawn as asked."""
    cells = draw_cells(tmp_path / "cells", 6)
    find_or_make_pool(tmp_path / "run", request(cells), around(tmp_path))
    here = around(tmp_path)
    asked = request(tmp_path / "run", data={"share": 0.5, "near_duplicates": 0, "batch": 2})
    find_or_make_pool(tmp_path / "other", asked, here)
    (warning,) = heard(here).warned
    assert "no evaluation data were at hand" in warning
    (remark,) = heard(here).said
    assert "data.share = 1.0 (not 0.5), data.near_duplicates = 16 (not 0)" in remark
    assert "batch" not in remark


def test_folders_of_one_name_stay_two_sources(tmp_path: Path, draw_cells: Draw) -> None:
    one, other = draw_cells(tmp_path / "a" / "cells", 3), draw_cells(tmp_path / "b" / "cells", 4, seed=1)
    pool = find_or_make_pool(tmp_path / "run", request(one, other), around(tmp_path))
    assert [(source.name, source.images) for source in pool.sources] == [("cells", 3), ("cells-2", 4)]


def test_a_home_folder_may_be_written_short(
    tmp_path: Path, draw_cells: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    draw_cells(tmp_path / "cells", 6)
    (tmp_path / "cells" / "cells.csv").write_text("image\ncell-0001.png\ncell-0002.png\n")
    assert len(find_or_make_pool(tmp_path / "run", request("~/cells"), around(tmp_path))) == 6
    assert len(find_or_make_pool(tmp_path / "run2", request("~/cells/cells.csv"), around(tmp_path))) == 2
    assert len(find_or_make_pool(tmp_path / "run3", request("~/run"), around(tmp_path))) == 6


@pytest.mark.parametrize("with_data", [True, False])
def test_a_closed_data_set_is_known_by_its_folder_with_and_without_data_folders(
    tmp_path: Path, draw_cells: Draw, with_data: bool
) -> None:
    inside = tmp_path / "data" / "herlev" / "New database pictures"
    draw_cells(inside / "normal_columnar", 3)
    here = around(tmp_path, *([tmp_path / "data"] if with_data else []))
    for folder in (tmp_path / "data" / "herlev", inside, inside / "normal_columnar"):
        with pytest.raises(UsageError, match="'herlev-2', which is never for pretraining"):
            find_or_make_pool(tmp_path / "run", request(folder), here)
    (inside / "some.csv").write_text("image\nnormal_columnar/cell-0001.png\n")
    with pytest.raises(DataError, match=r"belongs to evaluation \(tasks herlev-2, herlev-7\)"):
        find_or_make_pool(tmp_path / "run", request(inside / "some.csv"), here)
    (tmp_path / "mine").symlink_to(inside)
    with pytest.raises(UsageError, match="'herlev-2', which is never for pretraining"):
        find_or_make_pool(tmp_path / "run", request(tmp_path / "mine"), here)
    with pytest.raises(UsageError, match="never for pretraining"):
        find_or_make_pool(tmp_path / "run", request("herlev"), here)
    assert not (tmp_path / "run" / "pool" / "pool.json").exists()


def test_a_users_own_tasks_are_kept_out_without_data_folders(tmp_path: Path, draw_cells: Draw) -> None:
    """And the record says what was compared, what open images belong to, and which sources had groups."""
    mine = draw_cells(tmp_path / "mine", 40)
    write_table(mine)
    copy = shutil.copytree(mine, tmp_path / "copy")
    shutil.copytree(draw_cells(tmp_path / "apart", 5, seed=3), copy, dirs_exist_ok=True)
    draw_cells(tmp_path / "new", 3, seed=6)
    (tmp_path / "new" / "new.csv").write_text(
        "image,patient\ncell-0000.png,patient1\ncell-0001.png,patient99\ncell-0002.png,patient0\n"
    )
    here = around(tmp_path, tasks=(own_task(mine, "scored", **SEALED),))
    pool = find_or_make_pool(tmp_path / "run", request(copy, tmp_path / "new" / "new.csv"), here)
    lost = [dict(source.left_out) for source in pool.sources]
    assert lost == [{"evaluation images": 20}, {"images of evaluation groups": 1}]
    assert pool.description["guard"] == ["scored"]
    assert pool.description["datasets_by_source"] == {"copy": ["scored"], "new": []}
    assert pool.description["grouped_sources"] == ["new"]


def test_nothing_at_hand_is_recorded_as_nothing_compared(tmp_path: Path, draw_cells: Draw) -> None:
    pool = find_or_make_pool(tmp_path / "run", request(draw_cells(tmp_path / "cells", 5)), around(tmp_path))
    assert pool.description["guard"] == []


def without_polars(*_: object, **__: object) -> None:
    raise ImportError("No module named 'polars'", name="polars")


def test_where_tables_cannot_be_read_only_images_that_nothing_is_known_of_are_packed(
    tmp_path: Path, draw_cells: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with data folders or cards of one's own, nor within a known data set's folder."""
    monkeypatch.setattr(supply, "examine", without_polars)
    cells, known = draw_cells(tmp_path / "cells", 5), draw_cells(tmp_path / "bccd" / "BCCD", 5)
    here = around(tmp_path)
    assert find_or_make_pool(tmp_path / "run", request(cells), here).description["guard"] == []
    assert "not compared with what tasks evaluate: that needs polars" in heard(here).warned[0]
    own = around(tmp_path, tasks=(own_task(cells, "mine"),))
    for folder, place in ((cells, around(tmp_path, tmp_path)), (cells, own), (known, here)):
        with pytest.raises(UsageError, match=r"Keeping evaluation cells out needs polars.*--pack-only"):
            find_or_make_pool(tmp_path / "run2", request(folder), place)


@pytest.mark.slow
def test_a_packed_pool_trains_where_the_benchmarks_libraries_are_not(
    tmp_path: Path, draw_cells: Draw
) -> None:
    """As on a training machine: no polars, platformdirs and more (typer itself may bring pydantic)."""
    cells = draw_cells(tmp_path / "cells", 12)
    pool = find_or_make_pool(tmp_path / "pack", request(cells), around(tmp_path))
    (tmp_path / "data" / "bccd" / "BCCD" / "JPEGImages").mkdir(parents=True)
    absent = ("polars", "optuna", "faiss", "open_clip", "sklearn", "skimage", "pandas", "platformdirs")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r})); from cytobench.cli import main; main()"
    )
    small = ["crops.global_size=32", "crops.local_size=16", "data.batch=4", "data.side=40"]
    small += ["schedule.epochs=1", "schedule.epoch_steps=2", "schedule.warmup_epochs=0"]
    settings = [part for one in small for part in ("--set", one)]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def cytobench(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "pretrain", *settings, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env=environment
        )

    ran = cytobench("--images", str(pool.folder), "--out", str(tmp_path / "run"))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert Pool(pool.folder).digest in (tmp_path / "run" / "run.json").read_text()
    closed = cytobench(
        "--images", str(cells), "--out", str(tmp_path / "r2"), "--data", str(tmp_path / "data")
    )
    assert closed.returncode == 2
    assert "Keeping evaluation cells out needs" in closed.stderr
    assert "--pack-only" in closed.stderr
