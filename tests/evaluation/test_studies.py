"""Searches: one setting a seat, whoever sits there; interrupted, shared and killed ones end alike."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cytobench.errors import StoreError, UsageError
from cytobench.evaluation.recipes import InnerFolds, Params, Prediction, Range, Training, Tried
from cytobench.evaluation.search import Budget, Part, limits_of, search_all
from cytobench.evaluation.storage import open_storage, record_grid
from cytobench.evaluation.studies import (
    GENERATION,
    Finished,
    SharedStudy,
    draw_generation,
)
from cytobench.evaluation.tuning import Tuning, trial_rows

RANGES = {"x": Range(0.0, 1.0), "rate": Range(1e-4, 1e-1, log=True)}
START: Params = {"x": 0.5, "rate": 1e-2}


@dataclass(frozen=True)
class Hill:
    """A searched recipe with a known best setting, x = 0.8; `stop_after` trials the process kills itself."""

    stop_after: int = 10**9
    slow: float = 0.0
    device: str = "cpu"
    searched: Literal[True] = True

    def default(self, training: Training, folds: InnerFolds | None) -> Params:
        return {**START, "epochs": 1}

    def default_rule(self) -> dict[str, Any]:
        return dict(START)

    def start(self) -> Params:
        return dict(START)

    def ranges(self) -> Mapping[str, Range]:
        return RANGES

    def space(self) -> dict[str, Any]:
        return {"x": [0, 1]}

    def try_out(
        self,
        training: Training,
        folds: InnerFolds,
        settings: Sequence[Params],
        metric: str,
        limits: Mapping[int, float],
    ) -> list[Tried]:
        time.sleep(self.slow * len(settings))
        tried = []
        for one in settings:
            loss = abs(float(one["x"]) - 0.8)
            pruned = loss > limits.get(3, np.inf)
            last = np.linspace(0, 1, len(training.labels))
            tried.append(Tried((1 - loss, 1 - loss), loss, 4, {3: loss}, pruned, last))
        return tried

    def predict(self, training: Training, params: Params, test: Any, test_groups: Any) -> Prediction:
        pytest.fail("a search predicted test rows")


def _part(name: str = "0") -> Part:
    labels = np.arange(12) % 2
    training = Training(np.zeros((12, 1), dtype=np.float32), labels, np.arange(12), 2)
    return Part(name, lambda: training, (np.arange(12) % 3).astype(np.int16))


def _search(
    where: Path | str, recipe: Hill | None = None, trials: int = 20, names: Sequence[str] = ("0",)
) -> list[Tuning | None]:
    url = where if isinstance(where, str) else None
    journal = where if isinstance(where, Path) else Path("unused")
    budget = Budget(trials, lambda: open_storage(url, journal), "run")
    return search_all(recipe or Hill(), [_part(name) for name in names], "accuracy", budget)


def test_a_search_starts_with_the_default_and_finds_a_better_setting(tmp_path: Path) -> None:
    (found,) = _search(tmp_path / "j.log")
    assert found is not None
    assert len(found.trials) == 20
    assert {k: found.trials[0].params[k] for k in START} == START
    assert abs(float(found.params["x"]) - 0.8) < 0.1
    assert found.trials[found.chosen].value == max(one.value for one in found.trials if not one.pruned)
    assert found.threshold is not None
    rows = trial_rows(found, "0")
    assert sum(bool(row["chosen"]) for row in rows) == 1
    assert not any(row["pruned"] for row in rows[:GENERATION])


def test_settings_follow_from_key_and_history_alone() -> None:
    history = [
        Finished(
            n, {"x": n / 8, "rate": 10.0 ** -(1 + n % 3)}, 1 - abs(n / 8 - 0.8), n % 3 == 2, {3: -0.1 * n}, {}
        )
        for n in range(GENERATION)
    ]
    again = [draw_generation(RANGES, history, "key", 4, START) for _ in range(2)]
    assert again[0] == again[1]
    assert draw_generation(RANGES, history, "other", 4, START) != again[0]
    assert draw_generation(RANGES, history, "key", 2, START) == again[0][:2]


def test_trials_are_given_up_by_the_median_of_earlier_generations_only() -> None:
    finished = [Finished(n, START, 0.5, False, {3: -float(n), 6: -1.0}, {}) for n in range(12)]
    assert limits_of(finished, 3) == {}
    assert limits_of(finished, 9) == {3: 3.5, 6: 1.0}


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_an_interrupted_search_goes_on_and_equals_an_undisturbed_one(tmp_path: Path, kind: str) -> None:
    def place(name: str) -> Path | str:
        return tmp_path / f"{name}.log" if kind == "journal" else f"sqlite:///{tmp_path / name}.db"

    whole = _search(place("whole"))
    target = place("cut")
    child = subprocess.Popen(
        [sys.executable, __file__, str(target)], env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    seen = 0
    for _ in range(600):
        time.sleep(0.05)
        seen = _told(target)
        if seen >= GENERATION + 1 or child.poll() is not None:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert seen < 20
    assert _search(target) == whole


def _told(where: Path | str) -> int:
    """Return how many trials the storage holds so far, without opening it as Optuna would."""
    if isinstance(where, Path):
        return where.read_bytes().count(b'"value"') if where.exists() else 0
    import sqlite3

    try:
        with sqlite3.connect(where.removeprefix("sqlite:///")) as base:
            return int(base.execute("select count(*) from trials where state != 'RUNNING'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_line_that_was_torn_by_a_kill_does_not_spoil_the_journal(tmp_path: Path) -> None:
    whole = _search(tmp_path / "whole.log")
    journal = tmp_path / "torn.log"
    _search(journal, trials=20)
    raw = journal.read_bytes()
    cut = raw.rindex(b"\n", 0, int(len(raw) * 0.7))
    journal.write_bytes(raw[: cut + 25])
    assert _search(journal) == whole


def _worker(where: str, done: Any) -> None:
    done.put(_search(where, Hill(slow=0.02), names=("0", "1", "2")))


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_workers_share_a_storage_without_trying_anything_twice(tmp_path: Path, kind: str) -> None:
    alone = _search(tmp_path / "alone.log", names=("0", "1", "2"))
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    where = str(tmp_path / "shared.log") if kind == "journal" else f"sqlite:///{tmp_path}/shared.db"
    workers = [context.Process(target=_worker, args=(where, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [alone, alone]
    import optuna

    storage = open_storage(where, Path("unused"))
    owners = set()
    for name in ("0", "1", "2"):
        trials = optuna.load_study(study_name=f"run/{name}", storage=storage).trials
        kept = [one for one in trials if one.number < 20]
        assert sorted(one.number for one in kept) == list(range(20))
        assert all(one.state.is_finished() for one in trials)
        owners |= {one.user_attrs["worker"].rsplit("/", 2)[0] for one in kept}
    assert len(owners) == 2


def test_trials_of_a_worker_that_is_gone_are_taken_over_at_once(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path / "j.log")
    gone = SharedStudy(storage, "run/0", "run/0", RANGES, START, 20)
    taken = gone.claim()
    assert len(taken) == GENERATION
    other = SharedStudy(storage, "run/0", "run/0", RANGES, START, 20)
    assert other.claim() == []
    gone.leave()
    assert other.claim() == taken


def test_two_heirs_part_what_a_dead_worker_left(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path / "j.log")
    gone, *heirs = (SharedStudy(storage, "s", "s", RANGES, START, 20) for _ in range(3))
    taken = gone.claim()
    gone.leave()
    for heir in heirs:
        heir._say_alive()
    first, second = heirs[0].claim(), heirs[1].claim()
    assert sorted(seat.number for seat in [*first, *second]) == [seat.number for seat in taken]


def test_a_worker_whose_trials_were_finished_by_others_goes_on(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path / "j.log")
    slow, quick = (SharedStudy(storage, "s", "s", RANGES, START, 20) for _ in range(2))
    seats = slow.claim()
    for seat in seats:  # another process has taken them over and told them
        quick.tell(Finished(seat.number, seat.params, 0.5, False, {}, {}))
    for seat in seats:
        slow.tell(Finished(seat.number, seat.params, 0.4, False, {}, {}))
    assert min(seat.number for seat in slow.claim()) == GENERATION
    assert {one.value for one in slow.finished()} == {0.5}


def test_a_trial_just_asked_for_belongs_to_whoever_asked(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path / "j.log")
    asking, other = (SharedStudy(storage, "s", "s", RANGES, START, 20) for _ in range(2))
    asking._study.ask()  # and has not yet written its name
    assert 0 not in [seat.number for seat in other.claim()]


def test_a_forced_search_begins_again(tmp_path: Path) -> None:
    first = _search(tmp_path / "j.log")
    tried: list[int] = []

    class Counting(Hill):
        def try_out(
            self, training: Training, folds: InnerFolds, settings: Sequence[Params], *rest: Any
        ) -> list[Tried]:
            tried.append(len(settings))
            return super().try_out(training, folds, settings, *rest)

    def again(anew: bool) -> list[Tuning | None]:
        budget = Budget(20, lambda: open_storage(None, tmp_path / "j.log"), "run", anew=anew)
        return search_all(Counting(), [_part()], "accuracy", budget)

    assert again(False) == first
    assert tried == []
    assert again(True) == first
    assert sum(tried) == 20


def test_a_torn_line_is_removed_before_another_is_written(tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    study = SharedStudy(open_storage(None, journal), "s", "s", RANGES, START, 8)
    study.claim()
    with journal.open("ab") as file:
        file.write(b'{"op_code": 3, "half')
    study._say_alive()
    assert len(SharedStudy(open_storage(None, journal), "s", "s", RANGES, START, 8)._all()) == 8


def test_a_setting_that_diverges_in_one_fold_never_wins(tmp_path: Path) -> None:
    class Diverging(Hill):
        def try_out(
            self, training: Training, folds: InnerFolds, settings: Sequence[Params], *rest: Any
        ) -> list[Tried]:
            made = super().try_out(training, folds, settings, *rest)
            return [
                Tried((1.0, float("nan")), float("nan"), 1, {}, False, one.last_class)
                if float(s["x"]) > 0.6
                else one
                for s, one in zip(settings, made, strict=True)
            ]

    (found,) = _search(tmp_path / "j.log", Diverging())
    assert found is not None
    assert float(found.params["x"]) <= 0.6


def test_grids_are_recorded_once_in_a_named_storage(tmp_path: Path) -> None:
    import optuna

    rows = [
        {
            "outer_fold": "0",
            "trial": n,
            "chosen": n == 1,
            "pruned": False,
            "params": params,
            "value": 0.5 + n / 10,
        }
        for n, params in enumerate(
            ['{"k": 5, "weighting": "uniform"}', '{"k": 20, "weighting": "similarity"}']
        )
    ]
    storage = open_storage(f"sqlite:///{tmp_path}/x.db", Path("unused"))
    for _ in range(2):
        record_grid(storage, "run", rows)
    study = optuna.load_study(study_name="run/0", storage=storage)
    assert [one.params["k"] for one in study.trials] == [5, 20]
    assert study.best_trial.user_attrs["chosen"]


def test_a_second_result_of_a_trial_changes_nothing(tmp_path: Path) -> None:
    study = SharedStudy(open_storage(None, tmp_path / "j.log"), "s", "s", RANGES, START, 8)
    seat = study.claim()[0]
    study.tell(Finished(seat.number, seat.params, 0.5, False, {}, {}))
    study.tell(Finished(seat.number, seat.params, 0.9, False, {}, {}))
    assert [one.value for one in study.finished()] == [0.5]


@pytest.mark.parametrize("url", ["nonsense://host/db", "sqlite+what:///x.db"])
def test_an_address_that_means_nothing_is_one_sentence(url: str) -> None:
    with pytest.raises(UsageError, match="no address of an Optuna storage"):
        open_storage(url, Path("unused"))


def test_a_storage_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="what was tried is kept, run again"):
        open_storage(f"sqlite:///{tmp_path}/absent/folder/x.db", Path("unused"))


def test_a_storage_that_goes_away_in_the_middle_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _search(tmp_path / "whole.log")
    import optuna

    told = optuna.Study.tell
    count = 0

    def failing(self: optuna.Study, *args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 11:
            raise OSError("the share is gone")
        return told(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", failing)
        with pytest.raises(StoreError, match="the share is gone"):
            _search(tmp_path / "cut.log")
    assert _search(tmp_path / "cut.log") == whole


if __name__ == "__main__":
    given = sys.argv[1]
    _search(given if "://" in given else Path(given), Hill(slow=0.03))
