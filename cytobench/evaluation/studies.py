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
from typing import TYPE_CHECKING, Any

from cytobench.evaluation.recipes import Params, Range
from cytobench.evaluation.storage import told

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

GENERATION = 8
"""Trials whose settings are drawn together: none of them knows another's result."""
_BEAT_SECONDS, _DEAD_SECONDS = 10.0, 60.0
_VERIFY_SECONDS = 0.3
_HERE: dict[str, SharedStudy] = {}
"""The workers of this process that have not left."""


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
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Open the study, or make it."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._worker = f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}/{time.time():.3f}"
        _HERE[self._worker] = self
        with self._told():
            self._study = optuna.create_study(
                storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
            )

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return told(f"of study {self.name}")

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
            self._held = {number for number in self._held if not known[number].state.is_finished()}
            most = -(-GENERATION // self._workers())
            self._held |= self._taken_over(known, most - len(self._held))
            last = self._end_of_generation(known)
            while len(known) < last and len(self._held) < most:
                self._take_seat()
                known = {one.number: one for one in self._all()}
            return [self._seated(number, known) for number in sorted(self._ready(known))]

    def tell(self, done: Finished) -> None:
        """Write down what became of a trial; a second telling of the same trial changes nothing."""
        import optuna
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        self._held.discard(done.number)
        with self._told(), contextlib.suppress(UpdateFinishedTrialError):
            trial = self._trial(done.number)
            if trial.state.is_finished():
                return
            live = optuna.trial.Trial(self._study, trial._trial_id)
            for step, report in done.reports.items():
                if step not in trial.intermediate_values:
                    live.report(report, step)
            for name, fact in done.facts.items():
                live.set_user_attr(name, fact)
            live.set_user_attr("value", done.value)
            state = TrialState.PRUNED if done.pruned else TrialState.COMPLETE
            value = None if done.pruned else done.value
            self._study.tell(done.number, value, state=state, skip_if_finished=True)

    def forget(self) -> None:
        """Delete all trials and begin again."""
        import optuna

        with self._told():
            optuna.delete_study(study_name=self.name, storage=self.storage)
            self._study = optuna.create_study(
                storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
            )
        self._held.clear()
        self._drawn.clear()

    def leave(self) -> None:
        """Give up whatever is not finished: other processes may take it over at once."""
        _HERE.pop(self._worker, None)
        with contextlib.suppress(Exception):
            self._study.set_user_attr(f"worker {self._worker}", 0.0)

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Say from time to time, while the block runs, that this process still works on its trials."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(_BEAT_SECONDS):
                for study in list(_HERE.values()):  # seats may be held in several studies
                    with contextlib.suppress(Exception):
                        study._say_alive()

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

    def _take_seat(self) -> None:
        """Let the storage give out one more number; one beyond the budget is a seat nobody needs."""
        from optuna.trial import TrialState

        trial = self._study.ask()
        if trial.number >= self.trials:
            self._study.tell(trial.number, state=TrialState.FAIL)
            return
        trial.set_user_attr("worker", self._worker)
        self._held.add(trial.number)

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

    def _taken_over(self, known: Mapping[int, FrozenTrial], most: int) -> set[int]:
        """Return up to `most` running trials whose process is gone and that are now ours.

        Whoever wrote its name last has them: names are read again a moment after they were written.
        """
        orphans = [number for number, trial in sorted(known.items()) if self._is_orphan(trial)][
            : max(0, most)
        ]
        for number in orphans:
            self.storage.set_trial_user_attr(known[number]._trial_id, "worker", self._worker)
        if orphans:
            time.sleep(_VERIFY_SECONDS)
        return {number for number in orphans if self._trial(number).user_attrs.get("worker") == self._worker}

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker", "")
        if trial.state.is_finished() or worker == self._worker:
            return False
        if not worker:  # just asked for, or its process died in that very moment
            began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            return time.time() - began > _DEAD_SECONDS
        beat = float(self._study.user_attrs.get(f"worker {worker}", 0.0))
        alive = _lives(worker, beat)
        return self._is_silent(worker, beat) if alive is None else not alive

    def _is_silent(self, worker: str, beat: float) -> bool:
        """Whether a worker elsewhere has not moved for long, by this machine's clock alone."""
        now = time.monotonic()
        known, since = self._seen.get(worker, (beat, now))
        self._seen[worker] = (beat, since if known == beat else now)
        return now - self._seen[worker][1] > _DEAD_SECONDS

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
        from optuna.exceptions import UpdateFinishedTrialError

        with contextlib.suppress(UpdateFinishedTrialError):
            for name, distribution in _distributions(self.ranges).items():
                if name not in trial.params:
                    internal = distribution.to_internal_repr(params[name])
                    self.storage.set_trial_param(trial._trial_id, name, internal, distribution)


def _lives(worker: str, beat: float) -> bool | None:
    """Whether a worker is still there; None where only its silence could tell."""
    if beat == 0.0:  # it has left
        return False
    host, _, rest = worker.partition("/")
    pid = rest.partition("/")[0]
    if host != socket.gethostname() or not pid.isdigit() or os.name == "nt":
        return None
    if int(pid) == os.getpid():
        return worker in _HERE
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
