"""Work laid over cores: the same results in their order on any number, and the first error ends it."""

import threading
import time

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cytobench.evaluation import cores
from cytobench.evaluation.cores import available, one_core, side_by_side
from cytobench.evaluation.evaluate import Evaluation
from cytobench.evaluation.grids import Linear
from tests.evaluation.test_tuning import _evaluate, _problem


def _evaluated(monkeypatch: pytest.MonkeyPatch, workers: int) -> Evaluation:
    for module in ("evaluate", "grids"):
        monkeypatch.setattr(f"cytobench.evaluation.{module}.available", lambda: workers)
    return _evaluate(*_problem(), Linear())


def test_a_run_is_bit_for_bit_the_same_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, many = (_evaluated(monkeypatch, workers) for workers in (1, 4))
    np.testing.assert_array_equal(alone.probabilities, many.probabilities)
    assert alone.trials == many.trials
    assert alone.folds == many.folds
    assert set(alone.seconds) == set(many.seconds)


def test_results_keep_the_order_of_the_parts() -> None:
    def late_first(part: int) -> int:
        time.sleep(0.02 * (4 - part))
        return part * part

    assert side_by_side(late_first, range(4), 4) == [0, 1, 4, 9]
    assert side_by_side(late_first, [], 4) == []


def test_the_first_error_is_the_one_that_is_heard_and_what_waited_is_left_undone() -> None:
    begun: list[int] = []

    def fails(part: int) -> None:
        begun.append(part)
        time.sleep(0.05)
        raise ValueError(str(part))

    with pytest.raises(ValueError, match="0"):
        side_by_side(fails, range(20), 2)
    assert len(begun) < 20


def test_no_more_threads_compute_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_CORES", threading.BoundedSemaphore(2))
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> int:
        nonlocal running, most
        with one_core():
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02)
            with lock:
                running -= 1
            return torch.get_num_threads()

    assert side_by_side(work, range(8), 8) == [1] * 8
    assert most == 2


def test_omp_num_threads_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "no number")
    assert available() >= 1


def test_a_large_table_is_solved_by_all_cores_together(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def recorded(table: npt.NDArray[np.float32], *_: object, **__: object) -> None:
        threads.append(torch.get_num_threads())
        raise InterruptedError

    monkeypatch.setattr("cytobench.probes.linear.fit_path", recorded)
    before = torch.get_num_threads()
    for small in (True, False):
        for module in ("evaluate", "grids"):
            monkeypatch.setattr(f"cytobench.evaluation.{module}.is_small", lambda _, small=small: small)
        with pytest.raises(InterruptedError):
            _evaluate(*_problem(), Linear(), tuned=False)
    assert threads[0] == 1
    assert threads[-1] == before
    assert torch.get_num_threads() == before
