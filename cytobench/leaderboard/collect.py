"""From stored runs, or from the outcomes of the runs just made, to the rows of a leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cytobench.cards import BackboneCard, Column, LeaderboardCard, TaskCard
from cytobench.errors import CardError, StoreError
from cytobench.evaluation.ledger import Failure, load_run, stored_failures, stored_runs
from cytobench.evaluation.recipes import UNTUNED_PROBES, primary_metric
from cytobench.evaluation.results import PROTOCOL, RunResult
from cytobench.evaluation.run import RunOutcome
from cytobench.leaderboard.overlap import overlap
from cytobench.leaderboard.rows import Row, with_skill
from cytobench.progress import Reporter


def rows_of_outcomes(
    outcomes: Sequence[RunOutcome], backbones: Mapping[str, BackboneCard], tasks: Mapping[str, TaskCard]
) -> list[Row]:
    """Return a row per outcome, in the order of the outcomes, with skill where the nulls ran too."""
    rows = []
    for outcome in outcomes:
        backbone, task = backbones[outcome.backbone], tasks[outcome.task]
        column = Column(task=outcome.task, probe=outcome.probe, tuned=outcome.tuned, ranked=task.ranked)
        row = _blank(backbone, task, column)
        if outcome.result is not None:
            row = _filled(row, outcome.result)
        rows.append(replace(row, status=outcome.status, reason=outcome.reason or ""))
    return with_skill(rows)


def rows_of_card(
    card: LeaderboardCard,
    *,
    backbones: Mapping[str, BackboneCard],
    tasks: Mapping[str, TaskCard],
    home: Path,
    reporter: Reporter,
) -> list[Row]:
    """Return a row per backbone and column of a leaderboard card, from what is stored under `home`.

    Only runs made with the card's folds, seed and budget enter; within a column only runs on one set
    of rows and folds. A backbone without such a run is there as failed or not run, with the reason.
    A damaged run is warned about and left out. Raises CardError for a column that no run can ever fill.
    """
    _require_columns(card)
    stored = StoredRuns(home, reporter)
    rows = []
    for column in card.columns:
        task = tasks[column.task]
        runs = stored.fitting(card, column, task)
        for name, backbone in backbones.items():
            blank = _blank(backbone, task, column)
            if name in runs:
                rows.append(replace(_filled(blank, runs[name]), status="done"))
            else:
                rows.append(stored.excuse(blank))
    return with_skill(rows)


def _require_columns(card: LeaderboardCard) -> None:
    for column in card.columns:
        if column.tuned and column.probe in UNTUNED_PROBES:
            raise CardError(
                f"The leaderboard '{card.name}' has a tuned column of the probe '{column.probe}' on "
                f"'{column.task}', and there is nothing to tune in it; write tuned = false in that column."
            )


def is_null(card: BackboneCard) -> bool:
    """Whether a backbone belongs to the null ladder: no weights were learnt."""
    return card.loader in ("null", "handcrafted") or card.weights == "random"


class StoredRuns:
    """What lies under a home, read once: `runs`, newest first, and `failures`; damaged ones are named.

    With `task` only the runs of this task.
    """

    def __init__(self, home: Path, reporter: Reporter, *, task: str | None = None) -> None:
        found: list[tuple[float, RunResult]] = []
        for folder in stored_runs(home, task):
            try:
                result = load_run(folder).result
            except StoreError as error:
                reporter.warn(str(error))
                continue
            found.append(((folder / "result.json").stat().st_mtime, result))
        found.sort(key=lambda pair: (pair[0], pair[1].run_id), reverse=True)
        self.runs = [result for _, result in found]
        self._spaces = {run.backbone: run.space_id for run in reversed(self.runs)}
        self.failures: list[Failure] = stored_failures(home)

    def fitting(self, card: LeaderboardCard, column: Column, task: TaskCard) -> dict[str, RunResult]:
        """Return one run of each backbone among those that the leaderboard may show in this column.

        Scores on other rows or folds are not comparable: the rows and folds on which most backbones have run
        are shown, the newest of them if several tie.
        """
        fits = [run for run in self.runs if _declared(run, card, column, task) and self.current(run)]
        backbones: dict[tuple[str, str], set[str]] = {}
        for run in fits:
            backbones.setdefault((run.manifest_digest, run.split.digest), set()).add(run.backbone)
        if not backbones:
            return {}
        shown = max(
            backbones, key=lambda rows: len(backbones[rows])
        )  # of equals the first, which is the newest
        same = [run for run in fits if (run.manifest_digest, run.split.digest) == shown]
        return {run.backbone: run for run in reversed(same)}

    def current(self, run: RunResult) -> bool:
        """Whether a run used the encoder of its backbone's newest run: only one speaks for a backbone."""
        return run.space_id == self._spaces[run.backbone]

    def excuse(self, row: Row) -> Row:
        """Return a row without a run as failed, with the reason, or as not run."""
        for failure in self.failures:
            place = (failure.backbone, failure.task, failure.probe, failure.tuned)
            if place == (row.backbone, *row.column):
                return replace(row, status="failed", reason=failure.reason)
        return row


def _declared(result: RunResult, card: LeaderboardCard, column: Column, task: TaskCard) -> bool:
    """Whether a run was made under the split, seed and budget that the leaderboard declares."""
    folds = card.folds if card.folds is not None else task.split.folds
    return (
        (result.task, result.probe, result.tuned) == (column.task, column.probe, column.tuned)
        and result.metric == primary_metric(column.probe, task.metric)
        and result.protocol == PROTOCOL
        and result.seed == card.seed
        and result.split.seed == task.split.seed + card.seed
        and result.split.kind == task.split.kind
        and (task.split.kind != "grouped-kfold" or result.split.folds == folds)
        and result.trials in (None, card.trials)
    )


def _blank(backbone: BackboneCard, task: TaskCard, column: Column) -> Row:
    return Row(
        backbone=backbone.name,
        task=task.name,
        probe=column.probe,
        tuned=column.tuned,
        status="not run",
        metric=primary_metric(column.probe, task.metric),
        overlap=overlap(backbone, task),
        null=is_null(backbone),
        ranked=column.ranked and task.ranked,
        title=backbone.title,
        domain=backbone.domain,
    )


def _filled(row: Row, result: RunResult) -> Row:
    return replace(
        row,
        metric=result.metric,
        value=result.metrics.get(result.metric),
        spread=result.fold_spread,
        fold_values=tuple(fold.value for fold in result.folds if fold.value is not None),
        n=result.n,
        pooled_ranking=result.ranking == "pooled over folds",
        groups=0 if result.group == "none" else result.n_groups,
        subset=result.manifest_digest,
        run_id=result.run_id,
        version=result.versions.get("cytobench", ""),
        metrics=result.metrics,
    )


def chosen_backbones(card: LeaderboardCard, known: Mapping[str, BackboneCard]) -> Iterable[str]:
    """Return the names of the backbones a leaderboard shows: those it lists, else all known."""
    return card.backbones or tuple(known)
