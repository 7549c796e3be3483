"""From what a user names to a pool and a run's folder: what is accepted, gone on with, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Draw

from cytobench.errors import DataError, UsageError, WeightsError
from cytobench.pretraining.build import make_model
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe, check, override, preset
from cytobench.pretraining.session import (
    Request,
    Surroundings,
    begin_with,
    find_or_make_pool,
    labelled_of,
    open_run,
)
from cytobench.progress import SilentReporter
from cytobench.registry import Registry


def recipe(**tables: dict[str, object]) -> Recipe:
    small = {"crops": {"global_size": 32, "local_size": 16}, "data": {"side": 40, "batch": 4}}
    return check(override(preset("cytofm-vitti16"), small | tables, where="test"))


def request(*images: Path | str, **keys: object) -> Request:
    return Request("cytofm-vitti16", recipe(), tuple(map(str, images)), **keys)  # type: ignore[arg-type]


def around(tmp_path: Path, *data: Path) -> Surroundings:
    return Surroundings(lambda: Registry.load(entry_points=False), data, tmp_path / "home", SilentReporter())


def test_a_run_goes_on_with_the_request_it_began_with_and_names_what_differs(tmp_path: Path) -> None:
    folder, first = tmp_path / "run", request(tmp_path / "cells")
    open_run(folder, first)
    open_run(folder, first)
    patient = Request(first.preset, recipe(running={"log_steps": 7}), first.images)
    open_run(folder, patient)
    other = Request(first.preset, recipe(schedule={"lr": 0.5}, data={"batch": 8, "side": 40}), ("elsewhere",))
    with pytest.raises(UsageError, match=r"data\.batch, images, schedule\.lr differ"):
        open_run(folder, other)


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        open_run(tmp_path, request("cells"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        open_run(tmp_path / "run", request("cells"))


def test_a_pool_is_packed_once_and_can_be_named_by_itself_or_its_run(
    tmp_path: Path, draw_cells: Draw
) -> None:
    cells = draw_cells(tmp_path / "cells", 6)
    made = find_or_make_pool(tmp_path / "run", request(cells), around(tmp_path))
    draw_cells(cells, 9, seed=3)
    assert len(find_or_make_pool(tmp_path / "run", request(cells), around(tmp_path))) == len(made) == 6
    for named in (tmp_path / "run", tmp_path / "run" / "pool"):
        assert find_or_make_pool(tmp_path / "other", request(named), around(tmp_path)).digest == made.digest
    with pytest.raises(UsageError, match="stands alone"):
        find_or_make_pool(tmp_path / "third", request(tmp_path / "run", cells), around(tmp_path))
    larger = Request("x", recipe(crops={"global_size": 48, "local_size": 16}), (str(tmp_path / "run"),))
    with pytest.raises(UsageError, match="smaller than global crops of 48 px"):
        find_or_make_pool(tmp_path / "fourth", larger, around(tmp_path))


def test_folders_of_one_name_stay_two_sources(tmp_path: Path, draw_cells: Draw) -> None:
    one, other = draw_cells(tmp_path / "a" / "cells", 3), draw_cells(tmp_path / "b" / "cells", 4, seed=1)
    pool = find_or_make_pool(tmp_path / "run", request(one, other), around(tmp_path))
    assert [(source.name, source.images) for source in pool.sources] == [("cells", 3), ("cells-2", 4)]


def test_evaluation_cells_at_hand_are_kept_out_and_the_pool_says_so(tmp_path: Path, draw_cells: Draw) -> None:
    """A folder laid out like a known data set that is closed altogether."""
    draw_cells(tmp_path / "data" / "herlev" / "New database pictures" / "normal_columnar", 3)
    cells = draw_cells(tmp_path / "cells", 5, seed=7)
    inside = tmp_path / "data" / "herlev" / "New database pictures"
    here = around(tmp_path, tmp_path / "data")
    registry = Registry.load(entry_points=False)
    only = Registry(registry.backbones, {"herlev-2": registry.tasks["herlev-2"]}, {})
    here = Surroundings(lambda: only, here.data, here.home, here.reporter)
    for folder in (inside, inside / "normal_columnar"):
        with pytest.raises(UsageError, match="'herlev-2', which is never for pretraining"):
            find_or_make_pool(tmp_path / "run", request(folder), here)
    with pytest.raises(UsageError, match="never for pretraining"):
        find_or_make_pool(tmp_path / "run", request("herlev"), here)
    assert not (tmp_path / "run" / "pool" / "pool.json").exists()
    pool = find_or_make_pool(tmp_path / "run2", request(cells), around(tmp_path))
    assert pool.description["guard"] == []


def test_labelled_cells_lie_beside_the_pool_and_travel_with_it(tmp_path: Path, draw_cells: Draw) -> None:
    cells = draw_cells(tmp_path / "cells", 8)
    names = sorted(path.name for path in cells.glob("*.png"))
    rows = [f"{name},{'ab'[i % 2]},{i // 2}" for i, name in enumerate(names)]
    (cells / "known.csv").write_text("\n".join(["image,label,group", *rows]))
    asked = request(cells, labelled=(str(cells / "known.csv"),))
    pool = find_or_make_pool(tmp_path / "run", asked, around(tmp_path))
    (labelled,) = labelled_of(pool, request(tmp_path / "run"))
    assert (labelled.name, labelled.classes, labelled.pixels.shape) == ("known", ("a", "b"), (8, 32, 32, 3))
    assert labelled.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    wrong = Request("x", recipe(crops={"global_size": 16, "local_size": 16}), (str(tmp_path / "run"),))
    with pytest.raises(UsageError, match="are not of 16 px"):
        labelled_of(pool, wrong)
    (cells / "known.csv").write_text("image,label\n" + "\n".join(f"{name},a" for name in names))
    with pytest.raises(DataError, match="one class only"):
        find_or_make_pool(tmp_path / "run3", asked, around(tmp_path))


def test_a_run_begins_with_a_checkpoint_of_any_layout(tmp_path: Path) -> None:
    donor = make_model(check(override(recipe(), {"running": {"seed": 3}}, where="test")))
    path = tmp_path / "published.pth"
    state = donor.published_state()
    torch.save(
        {name: {f"module.{k}": v for k, v in state[name].items()} for name in ("student", "teacher")}, path
    )
    model = make_model(recipe())
    bring = begin_with(str(path), around(tmp_path))
    assert bring is not None
    bring(model)
    assert torch.equal(model.student.backbone.cls_token, donor.teacher.backbone.cls_token)
    assert torch.equal(model.teacher.backbone.pos_embed, donor.teacher.backbone.pos_embed)
    assert begin_with("", around(tmp_path)) is None
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="truncated"):
        bring(model)
    with pytest.raises(UsageError, match="is no vision transformer to begin with"):
        begin_with("morphology", around(tmp_path))(model)  # type: ignore[misc]


@pytest.mark.slow
def test_a_packed_pool_trains_where_the_benchmarks_libraries_are_not(
    tmp_path: Path, draw_cells: Draw
) -> None:
    """As on a training machine: no polars, optuna, faiss or open_clip (typer itself may bring pydantic)."""
    cells = draw_cells(tmp_path / "cells", 12)
    pool = find_or_make_pool(tmp_path / "pack", request(cells), around(tmp_path))
    (tmp_path / "data" / "bccd" / "BCCD" / "JPEGImages").mkdir(parents=True)
    absent = ("polars", "optuna", "faiss", "open_clip", "sklearn", "skimage", "pandas")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r})); from cytobench.cli import main; main()"
    )
    small = ["crops.global_size=32", "crops.local_size=16", "data.batch=4", "data.side=40"]
    small += ["schedule.epochs=1", "schedule.epoch_steps=2", "schedule.warmup_epochs=0"]
    settings = [part for one in small for part in ("--set", one)]

    def cytobench(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "pretrain", *settings, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    ran = cytobench("--images", str(pool.folder), "--out", str(tmp_path / "run"))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run" / "model.safetensors").exists()
    closed = cytobench(
        "--images", str(cells), "--out", str(tmp_path / "r2"), "--data", str(tmp_path / "data")
    )
    assert closed.returncode == 2
    assert "Keeping evaluation cells out needs" in closed.stderr
    assert "--pack-only" in closed.stderr


def test_pools_keep_their_pictures(tmp_path: Path, draw_cells: Draw) -> None:
    cells = draw_cells(tmp_path / "cells", 4)
    pool = find_or_make_pool(tmp_path / "run", request(cells), around(tmp_path))
    again = Pool(pool.folder)
    np.testing.assert_array_equal(again.read(np.arange(4)), pool.read(np.arange(4)))
    assert json.loads((pool.folder / "pool.json").read_text())["settings"]["side"] == 40
