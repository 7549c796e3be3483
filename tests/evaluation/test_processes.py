"""Work in other processes: the same results, only where it pays; no orphan, and no loss when one dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cytobench.evaluation import grids, processes
from cytobench.evaluation.grids import Linear
from cytobench.evaluation.processes import Workers
from tests.evaluation.test_tuning import _evaluate, _problem


def _process(_: int) -> int:
    return os.getpid()


def _dies(_: int) -> int:
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available", lambda: 2)


def test_little_work_and_work_that_may_not_leave_are_done_here() -> None:
    assert Workers(allowed=False, worth_it=-1.0).compute(_process, 0) == os.getpid()
    assert Workers(allowed=True, worth_it=3600.0).compute(_process, 0) == os.getpid()


@pytest.mark.slow
def test_a_run_is_bit_for_bit_the_same_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _evaluate(*_problem(), Linear())
    workers = Workers(allowed=True, worth_it=-1.0)
    monkeypatch.setattr(grids, "WORKERS", workers)
    assert workers.compute(_process, 0) != os.getpid()
    there = _evaluate(*_problem(), Linear())
    np.testing.assert_array_equal(here.probabilities, there.probabilities)
    assert here.trials == there.trials
    assert here.folds == there.folds


@pytest.mark.slow
def test_what_a_dead_worker_left_is_computed_here() -> None:
    workers = Workers(allowed=True, worth_it=-1.0)
    assert workers.compute(_dies, 0) == 7
    assert workers.compute(_process, 0) == os.getpid()


ORPHANS = """
import os, time
from cytobench.evaluation.processes import Workers

if __name__ == "__main__":
    print(Workers(allowed=True, worth_it=-1.0).compute(os.getpid), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_workers_end_with_the_process_they_work_for(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    running = Path(f"/proc/{worker}")
    while running.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running.exists()
