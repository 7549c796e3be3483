"""Backbones against each other on one task: every pair on the same rows, from what is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from cytobench.cards import TaskCard
from cytobench.errors import UsageError, counted
from cytobench.evaluation.hierarchy import DISTANCE, Hierarchy, tree_names
from cytobench.evaluation.ledger import load_predictions
from cytobench.evaluation.metrics import LOWER_IS_BETTER, title_of
from cytobench.evaluation.recipes import OWN_METRIC, primary_metric
from cytobench.evaluation.results import PROTOCOL, RunResult
from cytobench.evaluation.retrieval import METRICS as RETRIEVAL_METRICS
from cytobench.evaluation.uncertainty import MEASURED, scored_of, tree_views
from cytobench.leaderboard.collect import StoredRuns
from cytobench.leaderboard.rows import called
from cytobench.statistics.intervals import influence, standard_error
from cytobench.statistics.paired import Comparison, compare, holm
from cytobench.statistics.sources import Spread, spread_by_source
from cytobench.statistics.weighted import Scored

LEVEL = 0.05


@dataclass(frozen=True)
class Duel:
    """One pair of backbones under one probe; `p_holm` is corrected for all `pairs` that are compared."""

    a: str
    b: str
    probe: str
    tuned: bool
    metric: str
    value_a: float
    value_b: float
    found: Comparison
    p_holm: float
    pairs: int
    spread_a: Spread
    spread_b: Spread

    @property
    def verdict(self) -> str:
        """What may be said, as a sentence."""
        if self.found.interval.method == "too few groups":
            return f"{counted(self.found.groups, 'group is', 'groups are')} too few for an interval or a test"
        if not self.p_holm < LEVEL:
            reach = f"{100 * self.found.detectable:.1f}"
            return f"not told apart (one test finds a true difference of {reach} four times in five)"
        up = self.found.difference > 0
        better = self.a if up != (self.metric in LOWER_IS_BETTER) else self.b
        return f"{better} is better"

    @property
    def kind(self) -> str:
        """The probe with its tuning, and its metric where that is not the task's."""
        own = title_of(self.metric) if self.probe in OWN_METRIC else ""
        return " ".join(filter(None, (called(self.probe), "tuned" if self.tuned else "", own)))


def duels(
    names: Sequence[str],
    task: TaskCard,
    stored: StoredRuns,
    home: Path,
    *,
    probe: str | None = None,
    tuned: bool | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> list[Duel]:
    """Return every pair of backbones under every probe for which both have a run on the same rows and folds.

    Raises UsageError for an unknown metric, and when no pair has such runs, with the command that makes them.
    """
    above = task.hierarchy
    known = (*MEASURED, *RETRIEVAL_METRICS, *(tree_names(Hierarchy.of(tuple(above), above)) if above else ()))
    if metric is not None and metric not in known:
        raise UsageError(f"There is no metric '{metric}'; there are {', '.join(known)}.")
    mine = [
        run
        for run in stored.runs
        if (run.task, run.seed, run.protocol) == (task.name, seed, PROTOCOL) and stored.current(run)
    ]
    found: list[Duel] = []
    for kind in sorted({(run.probe, run.tuned) for run in mine}):
        if kind[0] != (probe or kind[0]) or kind[1] != (kind[1] if tuned is None else tuned):
            continue
        wanted = metric or primary_metric(kind[0], task.metric)
        of_kind = [run for run in mine if (run.probe, run.tuned) == kind]
        found += [
            _duel(*pair, wanted, stored, home)
            for a, b in combinations(names, 2)
            if (pair := _on_same_rows(a, b, of_kind, wanted)) is not None
        ]
    if not found:
        asked = " ".join(f"-b {name}" for name in names)
        raise UsageError(
            f"There are no two runs of {' and '.join(names)} on the same cells and folds of '{task.name}' to "
            f"compare; make them with: cytobench run {asked} -t {task.name}"
        )
    adjusted = holm([one.found.p for one in found])
    return [replace(one, p_holm=p, pairs=len(found)) for one, p in zip(found, adjusted, strict=True)]


def _on_same_rows(
    a: str, b: str, runs: Sequence[RunResult], metric: str
) -> tuple[RunResult, RunResult] | None:
    """Return the newest runs of both with one set of rows and folds and one budget, if there are such."""
    for one in (run for run in runs if run.backbone == a and metric in run.metrics):
        for other in (run for run in runs if run.backbone == b and metric in run.metrics):
            if _alike(one) == _alike(other):
                return one, other
    return None


def _alike(run: RunResult) -> tuple[object, ...]:
    """Return what two runs must share to be compared."""
    return run.manifest_digest, run.split.digest, run.trials, run.ranking


def _duel(a: RunResult, b: RunResult, metric: str, stored: StoredRuns, home: Path) -> Duel:
    (name, one), (_, other) = (_seen(run, metric, home) for run in (a, b))
    found = compare(name, one, other)
    if metric == DISTANCE:  # rows that score more are worse
        found = replace(found, better=found.worse, worse=found.better)
    errors = (float(standard_error(influence(name, scored))) for scored in (one, other))
    spreads = (_spread(run, metric, stored, error) for run, error in zip((a, b), errors, strict=True))
    values = a.metrics[metric], b.metrics[metric]
    return Duel(a.backbone, b.backbone, a.probe, a.tuned, metric, *values, found, found.p, 1, *spreads)


def _seen(run: RunResult, metric: str, home: Path) -> tuple[str, Scored]:
    """Return a run's rows, and under which name they have the metric; one of a tree sees them otherwise."""
    table = load_predictions(home, run.task, run.backbone, run.probe, run.run_id).sort("sample")
    scored = scored_of(table, pooled_ranking=run.ranking == "pooled over folds")
    views = tree_views(scored, run.tree) if run.tree else {}
    return views.get(metric, (metric, scored))


def _spread(run: RunResult, metric: str, stored: StoredRuns, sampling: float) -> Spread:
    """Return the spread of a run's score by source; other seeds count where they are stored."""
    kin = {
        one.seed: one for one in reversed(stored.runs) if _but_for_the_seed(one) == _but_for_the_seed(run)
    } | {run.seed: run}
    folds = [[f.value if f.value is not None else float("nan") for f in one.folds] for one in kin.values()]
    by_seed = folds if metric == run.metric else []
    return spread_by_source(by_seed, [one.metrics[metric] for one in kin.values()], sampling)


def _but_for_the_seed(run: RunResult) -> tuple[object, ...]:
    which = run.task, run.backbone, run.probe, run.tuned, run.space_id, run.manifest_digest
    return *which, run.split.kind, run.split.folds, run.trials, run.protocol


def as_record(duel: Duel) -> dict[str, Any]:
    """Return a duel as JSON primitives."""
    found = duel.found
    record = {
        "a": duel.a,
        "b": duel.b,
        "probe": duel.probe,
        "tuned": duel.tuned,
        "metric": duel.metric,
        "value_a": duel.value_a,
        "value_b": duel.value_b,
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "interval": found.interval.method,
        "p": found.p,
        "p_holm": duel.p_holm,
        "pairs": duel.pairs,
        "effect": found.effect,
        "groups": found.groups,
        "groups_for_a": found.better,
        "groups_for_b": found.worse,
        "detectable": found.detectable,
        "verdict": duel.verdict,
    }
    for side, spread in (("a", duel.spread_a), ("b", duel.spread_b)):
        record |= {f"sd_{source}_{side}": value for source, value in vars(spread).items()}
    undefined = {key for key, value in record.items() if isinstance(value, float) and math.isnan(value)}
    return {key: None if key in undefined else value for key, value in record.items()}
