"""Killed, starved of disk or shared out, an extraction ends with the bits of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from cytobench.features.batches import Share
from cytobench.features.extract import extract
from cytobench.features.items import Items
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore
from tests.features.extract_child import BATCH
from tests.features.toy_encoders import ToyEncoder, draw_images, items_from

ROOT = Path(__file__).resolve().parents[2]
N = 90


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    draw_images(tmp_path / "cells", N)
    return tmp_path / "cells"


def start(cells: Path, home: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.features.extract_child", str(cells), str(home), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def items_of_folder(cells: Path, home: Path) -> Items:
    return items_from(sorted(cells.glob("*.png")), home)


def stored(cells: Path, home: Path) -> list[npt.NDArray[np.float32]]:
    items, store = items_of_folder(cells, home), FeatureStore(home / "features")
    encoders = [ToyEncoder(seed=1), ToyEncoder(seed=2, dim=5)]
    return [store.space(space_id(one.identity)).load(items.ids) for one in encoders]


def undisturbed(cells: Path, home: Path) -> list[npt.NDArray[np.float32]]:
    encoders = [ToyEncoder(seed=1), ToyEncoder(seed=2, dim=5)]
    store = FeatureStore(home / "features")
    extract([items_of_folder(cells, home)], encoders, store, batch_size=BATCH, share=Share())
    return stored(cells, home)


def kill_and_resume(cells: Path, home: Path, kills: int) -> int:
    """Kill an extraction at random moments until `kills` have hit, resuming it each time; then let it end."""
    noise = np.random.default_rng(kills)
    hits = 0
    while hits < kills:
        child = start(cells, home)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(float(noise.uniform(0, 0.12)))
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            break  # it was quicker than we were: everything is stored
        hits += 1
    child = start(cells, home)
    output, _ = child.communicate()
    assert child.returncode == 0
    assert "computed" in output
    return hits


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_resumed_runs_store_the_bits_of_an_undisturbed_one(
    cells: Path, tmp_path: Path, kills: int
) -> None:
    home = tmp_path / "killed"
    hits = kill_and_resume(cells, home, kills)
    assert hits > 0
    for ours, expected in zip(stored(cells, home), undisturbed(cells, tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, expected)
    store = FeatureStore(home / "features")
    assert store.verify() == []
    store.gc(max_age=0)
    assert not list((home / "features").rglob("*.tmp"))
    for ours, expected in zip(stored(cells, home), undisturbed(cells, tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_full_disk_is_one_sentence_and_what_was_stored_counts(cells: Path, tmp_path: Path) -> None:
    home = tmp_path / "full"
    child = start(cells, home, "disk-full-after=40")
    output, _ = child.communicate()
    assert child.returncode == 1
    assert "StoreError: No space is left for" in output
    assert "everything stored so far is kept" in output
    assert not list(home.rglob("features/**/*.tmp"))
    store = FeatureStore(home / "features")
    assert store.verify() == []
    kept = len(store.space(space_id(ToyEncoder(seed=1).identity)))
    assert 24 <= kept <= 40
    assert f"computed {N - kept}" in start(cells, home).communicate()[0]
    for ours, expected in zip(stored(cells, home), undisturbed(cells, tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_two_processes_share_the_batches(cells: Path, tmp_path: Path) -> None:
    home = tmp_path / "shared"
    children = [start(cells, home, RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    outputs = [child.communicate()[0] for child in children]
    computed = [int(output.split()[-1]) for output in outputs]
    assert sum(computed) == N
    assert abs(computed[0] - computed[1]) <= BATCH
    for ours, expected in zip(stored(cells, home), undisturbed(cells, tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.slow
def test_helper_processes_end_with_a_killed_parent(cells: Path, tmp_path: Path) -> None:
    child = start(cells, tmp_path / "home", "in-processes")
    assert child.stdout is not None
    child.stdout.readline()
    parent = psutil.Process(child.pid)
    helpers: list[psutil.Process] = []
    deadline = time.monotonic() + 30
    while len(helpers) < 3 and time.monotonic() < deadline:
        helpers = parent.children(recursive=True)
        time.sleep(0.05)
    assert helpers
    child.kill()
    child.wait()
    gone, alive = psutil.wait_procs(helpers, timeout=20)
    assert not alive
    assert len(gone) == len(helpers)
