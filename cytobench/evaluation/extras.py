"""Beyond scores: few-shot curves and stress of finished runs, for all their tasks and backbones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from cytobench.digests import FileDigests
from cytobench.evaluation.custom import Custom
from cytobench.evaluation.extraction import Extraction
from cytobench.evaluation.few_shot import few_shot_curves
from cytobench.evaluation.plan import (
    BackbonePlan,
    Problem,
    RunRequest,
    TaskPlan,
    attempt,
    plan_backbone,
    plan_task,
    recipe_for,
)
from cytobench.evaluation.recipes import Table
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.stress import Kit, Tables, stress_task
from cytobench.perturb import GRID, Perturbation
from cytobench.probes.bags import Bags
from cytobench.progress import Reporter


@dataclass(frozen=True)
class Extras:
    """What was found beyond scores, as tidy tables; `problems`: sentences on what could not be done.

    `stress`: task, backbone, probe, tuned, metric, kind, level, value, n; `dilution`: task, backbone, probe,
    tuned, fraction, value, bags, instances; `shots`: task, backbone, probe, shots, seed, metric, value, n;
    all with `subset`, the digest of the task's rows.
    """

    stress: pl.DataFrame
    dilution: pl.DataFrame
    shots: pl.DataFrame
    problems: tuple[str, ...]


def extras(
    request: RunRequest,
    results: Sequence[RunResult],
    reporter: Reporter,
    *,
    stress: bool,
    shots: Sequence[int],
    shot_seeds: int,
    perturbations: Sequence[Perturbation] = GRID,
) -> Extras:
    """Return stress, dilution and few-shot tables of the backbones and tasks of finished runs.

    Stress uses the tuned run of each probe where there is one, with its parameters; the models are fitted
    again on the clean training part of every outer fold.
    """
    digests = FileDigests(request.home, rehash=False)
    extraction = Extraction(request, digests, reporter)
    tables = Tables()
    shot_tables: list[pl.DataFrame] = []
    names = {result.backbone for result in results}
    backbones = [
        made
        for card in request.backbones
        if card.name in names and card.loader != "null"
        if isinstance(made := attempt(partial(plan_backbone, card, request, digests, reporter)), BackbonePlan)
    ]
    for card in request.tasks:
        mine = [result for result in results if result.task == card.name]
        task = attempt(partial(plan_task, card, request, digests, reporter))
        if not mine or isinstance(task, Problem):
            continue
        kit = Kit(request, task, extraction, digests, reporter)
        if shots and card.unit == "cell":
            shot_tables += _shots(kit, backbones, mine, shots, shot_seeds, tables.problems)
        elif shots:
            tables.problems.append(
                f"{card.name}: no few-shot curves, which count cells: its unit is the bag."
            )
        if stress and card.precomputed:
            tables.problems.append(f"{card.name}: its features came ready-made, so no image can be changed.")
        if stress:
            changes = () if card.precomputed else perturbations  # there are no images to change
            stress_task(kit, backbones, _tuned_where_possible(mine), changes, tables)
    digests.flush()
    stress_table, dilution, few = (
        pl.concat(parts) if parts else pl.DataFrame()
        for parts in (tables.stress, tables.dilution, shot_tables)
    )
    return Extras(stress_table, dilution, few, tuple(dict.fromkeys(tables.problems)))


def _tuned_where_possible(results: Sequence[RunResult]) -> list[RunResult]:
    tuned = {(one.backbone, one.probe) for one in results if one.tuned}
    return [one for one in results if one.tuned or (one.backbone, one.probe) not in tuned]


def _shots(
    kit: Kit,
    backbones: Sequence[BackbonePlan],
    results: Sequence[RunResult],
    shots: Sequence[int],
    seeds: int,
    problems: list[str],
) -> list[pl.DataFrame]:
    """Return the few-shot curves of one task: of our probes, and of plugins' probes that have results."""
    made, task = [], kit.task
    with kit.reporter.task(f"few-shot curves, {task.card.name}", len(backbones)) as step:
        for backbone in backbones:
            step.advance(0, backbone.card.name)
            probes = {one.probe: None for one in results if one.backbone == backbone.card.name}
            features = attempt(partial(kit.extraction.load, task, backbone))
            step.advance(1)
            if isinstance(features, Problem | Bags):
                problems.append(f"{backbone.card.name} on {task.card.name}: no few-shot curve.")
                continue
            for probe in (None, *probes):
                curve = attempt(partial(_curve, kit, backbone, features, probe, shots, seeds))
                if isinstance(curve, Problem):
                    where = f"{backbone.card.name} on {task.card.name}{f' ({probe})' if probe else ''}"
                    problems.append(f"{where}: no few-shot curve: {curve.reason}")
                elif curve is not None:
                    made.append(_told(curve, task, backbone.card.name))
    return made


def _curve(
    kit: Kit, backbone: BackbonePlan, features: Table, probe: str | None, shots: Sequence[int], seeds: int
) -> pl.DataFrame | None:
    """Return the curve of a plugin's probe (None: it is none), and without a name those of our own."""
    task, custom = kit.task, None
    if probe is not None:
        recipe = recipe_for(probe, task.card, backbone.card, kit.request.custom, device=kit.request.device)
        if not isinstance(recipe, Custom):
            return None
        custom = recipe
    curve = few_shot_curves(
        features,
        task.examples,
        task.folds,
        shots=shots,
        seeds=seeds,
        metric=task.card.metric,
        key=kit.key,
        standardise=backbone.card.standardise,
        custom=custom,
    )
    return curve if probe is None else curve.with_columns(pl.lit(probe).alias("probe"))


def _told(curve: pl.DataFrame, task: TaskPlan, backbone: str) -> pl.DataFrame:
    return curve.select(
        pl.lit(task.card.name).alias("task"),
        pl.lit(backbone).alias("backbone"),
        "probe",
        "shots",
        "seed",
        pl.lit(task.card.metric).alias("metric"),
        "value",
        pl.lit(int((task.folds.fold >= 0).sum())).alias("n"),
        pl.lit(task.manifest_digest).alias("subset"),
    )
