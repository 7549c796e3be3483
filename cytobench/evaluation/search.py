"""Searching a probe's parameters under a budget of trials, on inner folds of the training part only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cytobench.evaluation.metrics import LOWER_IS_BETTER
from cytobench.evaluation.recipes import InnerFolds, SearchedRecipe, Training, Tried
from cytobench.evaluation.studies import GENERATION, Finished, Seat, SharedStudy
from cytobench.evaluation.tuning import Trial, Tuning, threshold_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_POLL_SECONDS = 0.5
_WORST = -2.0
"""The value of a setting whose training diverged in some inner fold: below what any metric can be."""


@dataclass(frozen=True)
class Budget:
    """How far to search and where that is written down.

    `storage`: makes or opens Optuna's storage; `run_id` names the studies; `anew`: finished studies are
    forgotten first; `note` is told what is going on.
    """

    trials: int
    storage: Callable[[], BaseStorage]
    run_id: str
    note: Callable[[str], None] = lambda _: None
    anew: bool = False


@dataclass(frozen=True)
class Part:
    """The training part of one outer fold and its inner folds; None where there can be none."""

    name: str
    training: Callable[[], Training]
    folds: InnerFolds | None


def search_all(
    recipe: SearchedRecipe, parts: Sequence[Part], metric: str, budget: Budget
) -> list[Tuning | None]:
    """Search every outer fold and return what was found, None for folds without inner ones.

    Where another process is busy with a fold's trials this one goes on with the next fold.
    """
    storage = budget.storage()
    studies = {
        index: SharedStudy(
            storage,
            f"{budget.run_id}/{part.name}",
            f"{budget.run_id}/{part.name}",
            recipe.ranges(),
            recipe.start(),
            budget.trials,
        )
        for index, part in enumerate(parts)
        if part.folds is not None
    }
    for study in studies.values():
        if budget.anew and study.is_done():
            study.forget()
    try:
        _work_off(recipe, parts, studies, metric, budget)
    finally:
        for study in studies.values():
            study.leave()
    return [
        _found(studies[index].finished(), metric) if index in studies else None for index in range(len(parts))
    ]


def _work_off(
    recipe: SearchedRecipe,
    parts: Sequence[Part],
    studies: Mapping[int, SharedStudy],
    metric: str,
    budget: Budget,
) -> None:
    waiting = list(studies)
    while waiting:
        moved = False
        for index in list(waiting):
            moved |= _advance(recipe, parts[index], studies[index], metric, budget)
            if studies[index].is_done():
                waiting.remove(index)
        if waiting and not moved:
            budget.note("waiting for trials of another process")
            time.sleep(_POLL_SECONDS)


def _advance(recipe: SearchedRecipe, part: Part, study: SharedStudy, metric: str, budget: Budget) -> bool:
    """Run trials of one fold until there is none to run; return whether there was any."""
    moved = False
    training: Training | None = None
    while seats := study.claim():
        moved = True
        training = training or part.training()
        budget.note(f"fold {part.name}, trial {seats[-1].number + 1} of {budget.trials}")
        limits = limits_of(study.finished(), seats[0].number)
        with study.alive():
            tried = recipe.try_out(training, _folds(part), [seat.params for seat in seats], metric, limits)
        for seat, one in zip(seats, tried, strict=True):
            study.tell(_told(seat, one, training, metric))
    return moved


def _folds(part: Part) -> InnerFolds:
    if part.folds is None:
        raise ValueError(part.name)
    return part.folds


def limits_of(finished: Sequence[Finished], number: int) -> dict[int, float]:
    """Return the loss above which a trial is given up, by epoch: the median of the generations before it.

    As Optuna's MedianPruner, but blind to the trial's own generation, whose order means nothing.
    """
    first = number - number % GENERATION
    reports: dict[int, list[float]] = {}
    for one in finished:
        if one.number < first:
            for epoch, report in one.reports.items():
                reports.setdefault(epoch, []).append(-report)
    return {epoch: float(np.median(losses)) for epoch, losses in reports.items()}


def _told(seat: Seat, tried: Tried, training: Training, metric: str) -> Finished:
    known = np.isfinite(tried.inner_values)
    value = float(np.mean(np.asarray(tried.inner_values)[known])) if known.any() else float("nan")
    facts: dict[str, Any] = {
        "inner_values": [None if np.isnan(one) else one for one in tried.inner_values],
        "loss": tried.loss if np.isfinite(tried.loss) else 1e9,
        "epochs": tried.epochs,
        "threshold": threshold_of(training, tried.last_class),
    }
    goal = -value if metric in LOWER_IS_BETTER else value
    goal = _WORST if np.isnan(goal) or not np.isfinite(tried.loss) else goal
    reports = {epoch: -loss for epoch, loss in tried.reports.items() if np.isfinite(loss)}
    return Finished(seat.number, seat.params, goal, tried.pruned, reports, facts)


def _found(finished: Sequence[Finished], metric: str) -> Tuning:
    """Return all trials and the best of those tried to their end; their loss parts equals."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    trials = tuple(_trial(one, sign) for one in finished)
    whole = [place for place, one in enumerate(finished) if not one.pruned]
    best = max(whole, key=lambda place: (finished[place].value, -float(finished[place].facts["loss"])))
    return Tuning(trials, best, _threshold(finished[best].facts))


def _trial(one: Finished, sign: float) -> Trial:
    inner = tuple(float("nan") if value is None else float(value) for value in one.facts["inner_values"])
    params = {**one.params, "epochs": int(one.facts["epochs"])}
    return Trial(params, inner, sign * one.value, pruned=one.pruned)


def _threshold(facts: Mapping[str, Any]) -> float | None:
    value = facts["threshold"]
    return None if value is None else float(value)
