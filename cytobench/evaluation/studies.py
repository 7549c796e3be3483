"""Optuna studies that several processes may share and any of them may leave: who tries what, and what came.

Trials are laid out in generations. The settings of a generation follow from the run's key and the finished
trials before it alone, whoever asks and whenever: a study that was interrupted, or shared, equals one that
was not. Optuna's storage gives every trial its number once; a number is a seat, and a seat has one setting.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.errors import StoreError, UsageError
from cytobench.evaluation.recipes import Params, Range

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

GENERATION = 8
"""Trials whose settings are drawn together: none of them knows another's result."""
_BEAT_SECONDS, _DEAD_SECONDS = 10.0, 60.0
_LOCK_SECONDS = 10
"""After so long the lock of a journal belongs to nobody: writing a line takes milliseconds."""
_HERE: set[str] = set()
"""The workers of this process that have not left."""
_BROKEN = "The storage of the studies, {where}, cannot be used ({why}); what was tried is kept, run again."


@dataclass(frozen=True)
class Seat:
    """One trial that is ours to run: its number and its setting."""

    number: int
    params: Params


@dataclass(frozen=True)
class Finished:
    """What a trial is remembered by: `value` is maximised, NaN when it has none; `reports` by epoch."""

    number: int
    params: Params
    value: float
    pruned: bool
    reports: Mapping[int, float]
    facts: Mapping[str, Any]


def open_storage(url: str | None, journal: Path) -> BaseStorage:
    """Return Optuna's storage at `url` (sqlite:///…, postgresql://…, mysql://…, redis://…, or a file's path).

    None: a journal file at `journal`. Raises UsageError when the address means nothing to Optuna, StoreError
    when nothing answers there.
    """
    where = url or str(journal)
    with _told(where):
        if url is None or "://" not in url:
            return _journal_file(Path(url) if url else journal)
        if url.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend, JournalStorage

            return JournalStorage(JournalRedisBackend(url))
        from optuna.storages import RDBStorage

        waiting = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
        return RDBStorage(url, engine_kwargs={**waiting, "pool_pre_ping": True})


def _journal_file(path: Path) -> BaseStorage:
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path), grace_period=_LOCK_SECONDS)
    if path.exists():
        lock.acquire()
        try:
            _cut_torn_line(path)
        finally:
            lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _cut_torn_line(path: Path) -> None:
    """Remove what a killed process left of a line: Optuna would not read past it."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**20))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn whatever a storage raises into one sentence: databases have errors of their own."""
    try:
        yield
    except (StoreError, UsageError):
        raise
    except ImportError as error:
        raise UsageError(f"The storage {where} needs a package that is not here ({error}).") from error
    except Exception as error:
        kind = type(error).__name__
        if kind in ("ArgumentError", "NoSuchModuleError"):
            raise UsageError(
                f"'{where}' is no address of an Optuna storage; write sqlite:///FILE.db, another database's "
                "address, or the path of a journal file."
            ) from error
        why = str(error).strip().splitlines()
        raise StoreError(_BROKEN.format(where=where, why=f"{kind}: {why[0][:120] if why else ''}")) from error


@dataclass
class SharedStudy:
    """One outer fold's search: `trials` settings of `ranges`, the first of them `start`, higher is better.

    `key`: what names the random draws. Every method raises StoreError when the storage fails.
    """

    storage: BaseStorage
    name: str
    key: str
    ranges: Mapping[str, Range]
    start: Params
    trials: int
    _study: optuna.Study = field(init=False, repr=False)
    _worker: str = field(init=False, repr=False)
    _held: set[int] = field(default_factory=set, repr=False)
    _drawn: dict[int, list[Params]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Open the study, or make it."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._worker = f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}/{time.time():.3f}"
        _HERE.add(self._worker)
        with self._told():
            self._study = optuna.create_study(
                storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
            )

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return _told(f"of study {self.name}")

    def finished(self) -> list[Finished]:
        """Return the finished trials by number."""
        return [_finished(one) for one in self._all() if one.state.is_finished()]

    def is_done(self) -> bool:
        """Whether all trials have been tried."""
        return len(self.finished()) >= self.trials

    def claim(self) -> list[Seat]:
        """Return the trials that are now this process's to run; empty while others run what is left.

        A generation is shared with the other processes seen at work on the study; trials of processes that
        have died are taken over.
        """
        with self._told():
            self._say_alive()
            known = {one.number: one for one in self._all()}
            self._held |= self._orphans(known)
            most = -(-GENERATION // self._workers())
            last = self._end_of_generation(known)
            while len(known) < last and len(self._held) < most:
                number = self._take_seat()
                self._held.add(number)
                known = {one.number: one for one in self._all()}
            return [self._seated(number, known) for number in sorted(self._ready(known))]

    def tell(self, done: Finished) -> None:
        """Write down what became of a trial; a second telling of the same trial changes nothing."""
        import optuna
        from optuna.trial import TrialState

        with self._told():
            trial = self._trial(done.number)
            if trial.state.is_finished():
                return
            live = optuna.trial.Trial(self._study, trial._trial_id)
            for step, report in done.reports.items():
                live.report(report, step)
            for name, fact in done.facts.items():
                live.set_user_attr(name, fact)
            live.set_user_attr("value", done.value)
            state = TrialState.PRUNED if done.pruned else TrialState.COMPLETE
            value = None if done.pruned else done.value
            self._study.tell(done.number, value, state=state, skip_if_finished=True)
            self._held.discard(done.number)

    def leave(self) -> None:
        """Give up whatever is not finished: other processes may take it over at once."""
        _HERE.discard(self._worker)
        with contextlib.suppress(Exception):
            self._study.set_user_attr(f"worker {self._worker}", 0.0)

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Say from time to time, while the block runs, that this process still works on its trials."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(_BEAT_SECONDS):
                with contextlib.suppress(Exception):
                    self._say_alive()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _all(self) -> list[FrozenTrial]:
        with self._told():
            trials = self._study.get_trials(deepcopy=False)
        return [one for one in trials if one.number < self.trials]

    def _trial(self, number: int) -> FrozenTrial:
        return next(one for one in self._study.get_trials(deepcopy=False) if one.number == number)

    def _say_alive(self) -> None:
        self._study.set_user_attr(f"worker {self._worker}", time.time())

    def _workers(self) -> int:
        """Return how many processes were at work on this study in the last minute, this one included."""
        beats = [float(beat) for name, beat in self._study.user_attrs.items() if name.startswith("worker ")]
        return max(1, sum(time.time() - beat < _DEAD_SECONDS for beat in beats))

    def _take_seat(self) -> int:
        """Let the storage give out one more number; one beyond the budget is a seat nobody needs."""
        from optuna.trial import TrialState

        trial = self._study.ask()
        trial.set_user_attr("worker", self._worker)
        if trial.number >= self.trials:
            self._study.tell(trial.number, state=TrialState.FAIL)
        return trial.number

    def _end_of_generation(self, known: Mapping[int, FrozenTrial]) -> int:
        """Return the number after the last trial of the first generation that is not finished."""
        first = 0
        while all(n in known and known[n].state.is_finished() for n in range(first, first + GENERATION)):
            first += GENERATION
        return min(first + GENERATION, self.trials)

    def _ready(self, known: Mapping[int, FrozenTrial]) -> list[int]:
        """Return the held seats whose setting can be known: all earlier generations are finished."""
        return [
            number
            for number in self._held
            if number < self._end_of_generation(known) and not known[number].state.is_finished()
        ]

    def _orphans(self, known: Mapping[int, FrozenTrial]) -> set[int]:
        """Return the running trials whose process is gone: dead on this machine, or silent for long."""
        beats = self._study.user_attrs
        found = set()
        for number, trial in known.items():
            worker = trial.user_attrs.get("worker", "")
            if trial.state.is_finished() or worker == self._worker:
                continue
            if _is_dead(worker, float(beats.get(f"worker {worker}", 0.0))):
                found.add(number)
        return found

    def _seated(self, number: int, known: Mapping[int, FrozenTrial]) -> Seat:
        first = number - number % GENERATION
        if first not in self._drawn:
            history = [_finished(known[n]) for n in range(first)]
            count = min(GENERATION, self.trials - first)
            self._drawn[first] = draw_generation(self.ranges, history, self.key, count, self.start)
        params = self._drawn[first][number - first]
        self._write_params(known[number], params)
        return Seat(number, params)

    def _write_params(self, trial: FrozenTrial, params: Params) -> None:
        """Put a setting into the storage, where a dashboard shows it."""
        for name, distribution in _distributions(self.ranges).items():
            if name not in trial.params:
                internal = distribution.to_internal_repr(params[name])
                self.storage.set_trial_param(trial._trial_id, name, internal, distribution)


def _is_dead(worker: str, beat: float) -> bool:
    host, _, rest = worker.partition("/")
    pid = rest.partition("/")[0]
    if host == socket.gethostname() and pid.isdigit():
        if int(pid) == os.getpid():
            return worker not in _HERE
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return time.time() - beat > _DEAD_SECONDS


def draw_generation(
    ranges: Mapping[str, Range], history: Sequence[Finished], key: str, count: int, start: Params
) -> list[Params]:
    """Return the settings of the next `count` trials after `history`, by Optuna's TPE (Bergstra et al. 2011).

    The sampler is seeded by `key` and the number of the first trial. The first trial of all is `start`.
    """
    import optuna

    seed = int.from_bytes(hashlib.sha256(f"{key}/{len(history)}".encode()).digest()[:4], "big")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=GENERATION, multivariate=True, constant_liar=False
        )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = _distributions(ranges)
        study.add_trials([_frozen(one, distributions) for one in history])
        drawn = [study.ask(distributions).params for _ in range(count)]
    return [dict(start), *drawn[1:]] if not history else drawn


def _distributions(ranges: Mapping[str, Range]) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    return {name: FloatDistribution(one.low, one.high, log=one.log) for name, one in ranges.items()}


def _frozen(one: Finished, distributions: Mapping[str, Any]) -> FrozenTrial:
    import optuna
    from optuna.trial import TrialState

    return optuna.trial.create_trial(
        state=TrialState.PRUNED if one.pruned else TrialState.COMPLETE,
        value=one.value,
        params=dict(one.params),
        distributions=dict(distributions),
        intermediate_values=dict(one.reports),
    )


def _finished(trial: FrozenTrial) -> Finished:
    from optuna.trial import TrialState

    facts = dict(trial.user_attrs)
    value = facts.pop("value", float("nan"))
    return Finished(
        trial.number,
        dict(trial.params),
        float(value),
        trial.state == TrialState.PRUNED,
        dict(trial.intermediate_values),
        facts,
    )
