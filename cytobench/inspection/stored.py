"""The stored runs to look into: one a backbone, all of the same examples, folds, probe and budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cytobench.cards import UNIT_OF_PROBE, TaskCard
from cytobench.errors import DataError, StoreError, UsageError
from cytobench.evaluation.ledger import ATTENTION, load_predictions, run_folder
from cytobench.evaluation.plan import TaskPlan
from cytobench.evaluation.recipes import UNTUNED_PROBES, why_not
from cytobench.evaluation.results import PROTOCOL, RunResult
from cytobench.leaderboard.collect import StoredRuns
from cytobench.progress import Reporter

DEFAULT_PROBE = {"cell": "linear", "bag": "abmil"}
"""What is looked into unless a probe is named, by the task's unit."""


def runs_of(
    names: Sequence[str],
    card: TaskCard,
    home: Path,
    reporter: Reporter,
    *,
    probe: str | None = None,
    tuned: bool = True,
    seed: int = 0,
) -> list[RunResult]:
    """Return each backbone's newest run, all on the same rows and folds and of the same budget.

    A probe that has nothing to tune is looked up untuned. Raises UsageError where there are none, with the
    command that makes them and what else is stored.
    """
    wanted = probe or DEFAULT_PROBE[card.unit]
    impossible = why_not(wanted, card.unit)
    if impossible and wanted in UNIT_OF_PROBE:  # others are of plugins, or nobody's: then nothing is stored
        raise UsageError(impossible)
    tuned = tuned and wanted not in UNTUNED_PROBES
    stored = StoredRuns(home, reporter, task=card.name)
    mine = [
        run for run in stored.runs if run.protocol == PROTOCOL and run.seed == seed and stored.current(run)
    ]
    fitting = [run for run in mine if (run.probe, run.tuned) == (wanted, tuned)]
    for name in names:
        if not any(run.backbone == name for run in fitting):
            raise UsageError(_absent(name, card.name, wanted, tuned, seed, mine))
    for first in (run for run in fitting if run.backbone == names[0]):
        alike = {run.backbone: run for run in reversed(fitting) if _rows(run) == _rows(first)}
        if all(name in alike for name in names):
            return [alike[name] for name in names]
    asked = " ".join(f"-b {name}" for name in names)
    raise UsageError(
        f"The stored runs of {', '.join(names)} on '{card.name}' are not of the same examples, folds and "
        f"budget; make them so with: cytobench run {asked} -t {card.name} -p {wanted}"
    )


def predictions_of_runs(runs: Sequence[RunResult], home: Path) -> dict[str, pl.DataFrame]:
    """Return each run's table of predictions by backbone; raises StoreError."""
    return {
        run.backbone: load_predictions(home, run.task, run.backbone, run.probe, run.run_id) for run in runs
    }


def attention_of_run(run: RunResult, home: Path) -> pl.DataFrame | None:
    """Return a run's attention (bag, sample, fold, weight), or None where it has none; raises StoreError."""
    if not run.attention_sha256:
        return None
    path = run_folder(home, run.task, run.backbone, run.probe, run.run_id) / ATTENTION
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} cannot be read ({type(error).__name__}); run it again.") from error


def require_same_data(task: TaskPlan, run: RunResult) -> None:
    """Raise DataError when images, labels or groups are not those that the run was made on."""
    if task.manifest_digest != run.manifest_digest:
        raise DataError(
            f"The data of '{run.task}' are not those of the stored run of {run.backbone} (images, labels or "
            f"groups differ), so its pictures cannot be shown; run again: cytobench run -b {run.backbone} -t "
            f"{run.task} -p {run.probe}"
        )


def _rows(run: RunResult) -> tuple[object, ...]:
    return run.manifest_digest, run.split.digest, run.trials


def _absent(name: str, task: str, probe: str, tuned: bool, seed: int, stored: Sequence[RunResult]) -> str:
    others = sorted({_called(run.probe, run.tuned) for run in stored if run.backbone == name})
    there = f" (stored: {', '.join(others)}; choose by --probe and --tuned or --untuned)" if others else ""
    of_seed = f", seed {seed}" if seed else ""
    return (
        f"There is no stored run of {name} on '{task}' under {_called(probe, tuned)}{of_seed}{there}; make "
        f"it with: cytobench run -b {name} -t {task} -p {probe}{f' --seed {seed}' if seed else ''}"
    )


def _called(probe: str, tuned: bool) -> str:
    return f"{probe}{' tuned' if tuned else ' untuned'}"
