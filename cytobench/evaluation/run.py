"""The loop over the grid of runs: every task x backbone x probe, untuned and tuned, each on its own feet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Literal

from cytobench.cards import BackboneCard, TaskCard
from cytobench.digests import FileDigests
from cytobench.errors import StoreError
from cytobench.evaluation import ledger
from cytobench.evaluation.evaluate import evaluate
from cytobench.evaluation.extraction import Extraction
from cytobench.evaluation.plan import (
    BackbonePlan,
    Problem,
    Run,
    RunRequest,
    TaskPlan,
    attempt,
    impossible,
    plan_backbone,
    plan_run,
    plan_task,
)
from cytobench.evaluation.recipes import (
    SEARCHED_PROBES,
    UNTUNED_PROBES,
    Features,
    primary_metric,
)
from cytobench.evaluation.record import record_of
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.search import Budget
from cytobench.evaluation.storage import open_storage, record_grid
from cytobench.progress import Reporter, SilentReporter, Step

__all__ = ["RunOutcome", "RunRequest", "benchmark", "extract_features"]


@dataclass(frozen=True)
class RunOutcome:
    """What became of one cell of the grid; `reason` says why it failed or was not run."""

    task: str
    backbone: str
    probe: str
    tuned: bool
    status: Literal["done", "cached", "failed", "not run"]
    reason: str = ""
    result: RunResult | None = None


@dataclass
class _Cell:
    """A cell of the grid: the run to do, None once there is nothing left to do, and what came of it."""

    outcome: RunOutcome
    run: Run | None = None

    def finish(self, status: Literal["done", "cached"], result: RunResult) -> None:
        self.run = None
        self.outcome = replace(self.outcome, status=status, result=result)


def benchmark(request: RunRequest, *, reporter: Reporter | None = None) -> list[RunOutcome]:
    """Run every task x backbone x probe x {untuned, tuned} of `request` and return an outcome for each.

    Finished runs are answered from disk; missing features are extracted first, in one pass for all backbones
    that lack them; a run that fails is an outcome like any other. An interruption loses only what was in
    progress.
    """
    reporter = reporter or SilentReporter()
    ledger.sweep(request.home)
    digests = FileDigests(request.home, rehash=request.rehash)
    cells = list(_grid(request, digests, reporter))
    digests.flush()
    pairs = [(cell.run.task, cell.run.backbone) for cell in cells if cell.run is not None]
    if not request.force:
        _answer_from_disk(cells, request, reporter)
    pending = [cell for cell in cells if cell.run is not None]
    if pending:
        extraction = Extraction(request, digests, reporter)
        extraction.ensure(pairs)
        _compute_all(pending, extraction)
    return [cell.outcome for cell in cells]


def extract_features(request: RunRequest, *, reporter: Reporter | None = None) -> list[str]:
    """Compute and store the features of every task x backbone of `request`, and evaluate nothing.

    Returns a sentence, with its name in front, for each task or backbone for which that was not possible.
    """
    reporter = reporter or SilentReporter()
    digests = FileDigests(request.home, rehash=request.rehash)
    backbones = _backbones(request, digests, reporter)
    tasks = list(_tasks(request, digests, reporter))
    digests.flush()
    extraction = Extraction(request, digests, reporter)
    extraction.ensure(
        [
            (task, backbone)
            for _, task in tasks
            for _, backbone in backbones
            if isinstance(task, TaskPlan) and isinstance(backbone, BackbonePlan)
        ]
    )
    problems = [(card.name, one) for card, one in [*tasks, *backbones] if isinstance(one, Problem)]
    problems += [(backbone, one) for (_, backbone), one in extraction.problems.items()]
    return list(dict.fromkeys(f"{name}: {one.reason.removeprefix(f'{name}: ')}" for name, one in problems))


def _backbones(
    request: RunRequest, digests: FileDigests, reporter: Reporter
) -> list[tuple[BackboneCard, BackbonePlan | Problem]]:
    planned = []
    with reporter.task("identifying backbones", len(request.backbones)) as step:
        for card in request.backbones:
            identify = partial(plan_backbone, card, request, digests, reporter)
            planned.append((card, attempt(identify)))
            step.advance(1, card.name)
    return planned


def _tasks(
    request: RunRequest, digests: FileDigests, reporter: Reporter
) -> Iterator[tuple[TaskCard, TaskPlan | Problem]]:
    with reporter.task("reading tasks", len(request.tasks)) as step:
        for card in request.tasks:
            read = partial(plan_task, card, request, digests, reporter)
            yield card, attempt(read)
            step.advance(1, card.name)


def _grid(request: RunRequest, digests: FileDigests, reporter: Reporter) -> Iterator[_Cell]:
    backbones = _backbones(request, digests, reporter)
    for task_card, task in _tasks(request, digests, reporter):
        for card, backbone in backbones:
            for probe in _probes(request, task_card):
                for tuned in request.tuned:
                    if tuned and _nothing_to_tune(probe, request):
                        continue
                    outcome = RunOutcome(task_card.name, card.name, probe, tuned, "not run")
                    yield _cell(outcome, task_card, task, backbone, request)


def _nothing_to_tune(probe: str, request: RunRequest) -> bool:
    return probe in UNTUNED_PROBES or (not request.trials and probe in SEARCHED_PROBES)


def _probes(request: RunRequest, card: TaskCard) -> list[str]:
    """Return a task's probes: of those asked for, the ones of its unit, or all, to say why, if none is."""
    asked = list(dict.fromkeys(request.probes or card.probes))
    reasons = {probe: impossible(probe, card, request) for probe in asked}
    fitting = [probe for probe, why in reasons.items() if why is None or why.status == "failed"]
    return fitting if request.probes and fitting else asked


def _cell(
    outcome: RunOutcome,
    card: TaskCard,
    task: TaskPlan | Problem,
    backbone: BackbonePlan | Problem,
    request: RunRequest,
) -> _Cell:
    cell = _Cell(outcome)
    unfit = impossible(outcome.probe, card, request)
    problem = next((one for one in (unfit, task, backbone) if isinstance(one, Problem)), None)
    if problem is None and isinstance(task, TaskPlan) and isinstance(backbone, BackbonePlan):
        made = attempt(partial(plan_run, task, backbone, outcome.probe, request, tuned=outcome.tuned))
        problem = made if isinstance(made, Problem) else None
        cell.run = made if isinstance(made, Run) else None
    if problem is not None:
        _stop(cell, problem, request)
    return cell


def _stop(cell: _Cell, problem: Problem, request: RunRequest) -> None:
    """Close a cell without a result; a failure is written down, so that tables made later tell it too."""
    one = cell.outcome
    if problem.status == "failed":
        failure = ledger.Failure(
            task=one.task,
            backbone=one.backbone,
            probe=one.probe,
            tuned=one.tuned,
            reason=problem.reason,
            run_id=cell.run.key.run_id if cell.run else None,
        )
        ledger.record_failure(request.home, failure)
    cell.run = None
    cell.outcome = replace(one, status=problem.status, reason=problem.reason)


def _answer_from_disk(cells: Sequence[_Cell], request: RunRequest, reporter: Reporter) -> None:
    known = 0
    planned = [cell for cell in cells if cell.run is not None]
    with reporter.task("looking for earlier results", len(planned)) as step:
        for cell in planned:
            step.advance(1)
            one = cell.outcome
            try:
                run_id = cell.run.key.run_id if cell.run else ""
                stored = ledger.find_run(request.home, one.task, one.backbone, one.probe, run_id)
            except StoreError as error:
                reporter.warn(f"{error} It is computed again now.")
                continue
            if stored is not None:
                cell.finish("cached", stored.result)
                known += 1
    if known:
        reporter.say(f"{known} of {len(cells)} runs answered from earlier results.")


def _compute_all(pending: Sequence[_Cell], extraction: Extraction) -> None:
    with extraction.reporter.task("fitting probes", len(pending)) as step:
        for (task, backbone), group in groupby(
            pending, lambda cell: (cell.outcome.task, cell.outcome.backbone)
        ):
            cells = list(group)
            started = time.perf_counter()
            features = extraction.problems.get((task, backbone)) or _features(cells[0], extraction)
            loading = time.perf_counter() - started
            for cell in cells:
                step.advance(0, f"{backbone} on {task}: {cell.outcome.probe}")
                if isinstance(features, Problem):
                    _stop(cell, features, extraction.request)
                else:
                    _compute(cell, features, loading, extraction, step)
                step.advance(1)


def _features(cell: _Cell, extraction: Extraction) -> Features | Problem:
    if cell.run is None:
        return Problem("failed", "There is nothing to run.")
    return attempt(partial(extraction.load, cell.run.task, cell.run.backbone))


def _compute(cell: _Cell, features: Features, loading: float, extraction: Extraction, step: Step) -> None:
    if cell.run is None:
        return
    made = attempt(partial(_run, cell.run, features, loading, extraction, step))
    if isinstance(made, Problem):
        _stop(cell, made, extraction.request)
    else:
        cell.finish("done", made)


def _run(run: Run, features: Features, loading: float, extraction: Extraction, step: Step) -> RunResult:
    task, home = run.task, extraction.request.home
    where = f"{run.backbone.card.name} on {task.card.name}: {run.probe}"
    evaluation = evaluate(
        features,
        task.examples,
        task.folds,
        run.recipe,
        tuned=run.tuned,
        metric=primary_metric(run.probe, task.card.metric),
        key=(task.card.name, run.seed),
        budget=_budget(run, extraction.request, lambda what: step.advance(0, f"{where}, {what}")),
    )
    if extraction.request.storage and evaluation.trials and not run.recipe.searched:
        storage = open_storage(extraction.request.storage, ledger.journal_path(home, run.key.run_id))
        record_grid(storage, run.key.run_id, evaluation.trials)
    seconds = {**extraction.seconds(task, run.backbone), "load features": loading}
    record = record_of(run, evaluation, seconds=seconds)
    folds = ledger.task_folder(home, task.card.name) / f"folds-{task.folds.digest[:16]}.parquet"
    ledger.write_table_once(folds, task.folds.table(task.examples))
    return ledger.save_run(home, record)


def _budget(run: Run, request: RunRequest, note: Callable[[str], None]) -> Budget | None:
    """Return how far a searched probe is tuned and where its studies lie; None for all others."""
    if run.trials is None:
        return None
    journal = ledger.journal_path(request.home, run.key.run_id)
    storage = partial(open_storage, request.storage, journal)
    return Budget(run.trials, storage, run.key.run_id, note, anew=request.force)
