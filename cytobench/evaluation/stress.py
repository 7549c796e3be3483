"""A finished run under stress: its models, fitted on clean cells, predict the same cells changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from cytobench.digests import FileDigests
from cytobench.evaluation.custom import Custom
from cytobench.evaluation.dilution import dilution_curve, telling_instances
from cytobench.evaluation.evaluate import training_of
from cytobench.evaluation.examples import Ints, examples_of
from cytobench.evaluation.extraction import Extraction
from cytobench.evaluation.folds import generator
from cytobench.evaluation.metrics import Predictions, score
from cytobench.evaluation.plan import BackbonePlan, Problem, RunRequest, TaskPlan, attempt, plan_run
from cytobench.evaluation.recipes import Features, Floats, Params, Prediction, Recipe, primary_metric
from cytobench.evaluation.results import RunResult
from cytobench.features.items import items_of
from cytobench.perturb import Perturbation
from cytobench.probes.bags import Bags
from cytobench.progress import Reporter

CELLS, BAGS = 500, 40
"""So many tested examples are changed: a fixed draw, the same for every backbone."""


@dataclass(frozen=True)
class Kit:
    """A task and the means to get features of its cells, changed or not."""

    request: RunRequest
    task: TaskPlan
    extraction: Extraction
    digests: FileDigests
    reporter: Reporter

    @property
    def key(self) -> tuple[Any, ...]:
        """What names the random draws of the task."""
        return self.task.card.name, self.task.seed


@dataclass
class Tables:
    """Tables as they are made, and sentences on what could not be."""

    stress: list[pl.DataFrame] = field(default_factory=list)
    dilution: list[pl.DataFrame] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def stress_task(
    kit: Kit,
    backbones: Sequence[BackbonePlan],
    results: Sequence[RunResult],
    perturbations: Sequence[Perturbation],
    tables: Tables,
) -> None:
    """Add what stress does to the runs of one task to `tables`."""
    part = _drawn_part(kit)
    plans = [_changed(kit, part, None), *(_changed(kit, part, one) for one in perturbations)]
    kit.extraction.ensure([(plan, backbone) for plan in plans for backbone in backbones])
    by_name = {backbone.card.name: backbone for backbone in backbones}
    mine = [result for result in results if result.backbone in by_name]
    with kit.reporter.task(f"stress, {kit.task.card.name}", len(mine)) as step:
        for result in mine:
            step.advance(0, f"{result.backbone}, {result.probe}")
            backbone = by_name[result.backbone]
            made = attempt(partial(_one_run, kit, part, plans, perturbations, backbone, result, tables))
            if isinstance(made, Problem):
                tables.problems.append(f"{result.backbone} on {result.task} ({result.probe}): {made.reason}")
            step.advance(1)


def _drawn_part(kit: Kit) -> Ints:
    """Return the positions of the tested examples that are changed, int64, ascending."""
    tested = np.flatnonzero(kit.task.folds.fold >= 0)
    most = BAGS if kit.task.card.unit == "bag" else CELLS
    if len(tested) <= most:
        return tested
    return np.sort(generator("stress", *kit.key).choice(tested, most, replace=False)).astype(np.int64)


def _changed(kit: Kit, part: Ints, change: Perturbation | None) -> TaskPlan:
    """Return the task of some examples alone, every instance changed."""
    task = kit.task
    rows = np.isin(task.examples.member, part)
    table = task.data.table.filter(pl.Series(rows))
    name = task.card.name if change is None else f"{task.card.name} ({change.kind} {change.level:g})"
    return replace(
        task,
        card=task.card.model_copy(update={"name": f"{name} part"}),
        data=replace(task.data, table=table),
        items=items_of(table, task.card.view, kit.digests, change=change),
        examples=examples_of(table, task.data.classes, task.card.unit),
    )


def _one_run(
    kit: Kit,
    part: Ints,
    plans: Sequence[TaskPlan],
    perturbations: Sequence[Perturbation],
    backbone: BackbonePlan,
    result: RunResult,
    tables: Tables,
) -> None:
    task = kit.task
    recipe = plan_run(task, backbone, result.probe, kit.request, tuned=result.tuned).recipe
    features = kit.extraction.load(task, backbone)
    seen = [kit.extraction.load(plan, backbone) for plan in plans]
    bags = task.card.unit == "bag"
    telling = telling_instances(task.data.table, task.data.classes) if bags else None
    shape = (len(plans), len(part), len(task.examples.classes))
    predicted, scores = np.full(shape, np.nan), np.full(shape[:2], np.nan)
    metric = primary_metric(result.probe, task.card.metric)
    models = {}
    for k, fold in enumerate(result.folds):
        model = _Model(kit, features, k, recipe, dict(fold.params))
        models[k] = model
        here = np.flatnonzero(np.isin(part, task.folds.test(k)))
        if len(here):
            codes = task.examples.group_codes[part[here]]
            made = model.predict_each([one[here] for one in seen], codes)
            predicted[:, here] = made.probabilities.reshape(len(plans), len(here), -1)
            if metric in made.scores:
                by_class = made.scores[metric].reshape(len(plans), len(here), -1)
                scores[:, here] = by_class[:, np.arange(len(here)), task.examples.labels[part[here]]]
    common = {
        "task": task.card.name,
        "backbone": result.backbone,
        "probe": result.probe,
        "tuned": result.tuned,
        "subset": task.manifest_digest,
    }
    changes = [("none", 0.0), *((one.kind, one.level) for one in perturbations)]
    values = [_value(metric, task, part, *both) for both in zip(predicted, scores, strict=True)]
    rows = [
        {**common, "metric": metric, "kind": kind, "level": level, "value": value, "n": len(part)}
        for (kind, level), value in zip(changes, values, strict=True)
    ]
    tables.stress.append(pl.DataFrame(rows))
    if telling is not None and isinstance(features, Bags):
        order = task.examples.order
        curve = dilution_curve(
            features,
            telling[order],
            task.examples,
            task.folds,
            lambda k, bags: models[k].predict(bags, np.full(len(bags), -1)).probabilities,
            key=kit.key,
        )
        tables.dilution.append(
            curve.select(*(pl.lit(value).alias(name) for name, value in common.items()), pl.all())
        )


@dataclass
class _Model:
    """The model of one outer fold, fitted when it is first asked."""

    kit: Kit
    features: Features
    fold: int
    recipe: Recipe
    params: Params

    def predict(self, test: Features, groups: Ints) -> Prediction:
        """Return the prediction of some rows; the model is fitted anew each time, to the same weights."""
        training = training_of(
            self.features, self.kit.task.examples, self.kit.task.folds, self.fold, self.kit.key
        )
        return self.recipe.predict(training, self.params, test, groups)

    def predict_each(self, parts: Sequence[Features], groups: Ints) -> Prediction:
        """Return the prediction of several versions of the same rows, one version after the other.

        A plugin's probe is handed one version at a time: what it makes of a row may depend on the others.
        """
        if not isinstance(self.recipe, Custom):
            return self.predict(_joined(parts), np.tile(groups, len(parts)))
        return Prediction(np.concatenate([self.predict(one, groups).probabilities for one in parts]))


def _joined(parts: Sequence[Features]) -> Features:
    """Return the examples of several parts one after the other."""
    bags = [one for one in parts if isinstance(one, Bags)]
    if bags:
        sizes = np.concatenate([one.sizes for one in bags])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Bags(np.concatenate([one.features for one in bags]), offsets)
    return np.concatenate([one for one in parts if not isinstance(one, Bags)])


def _value(metric: str, task: TaskPlan, part: Ints, probabilities: Floats, scores: Floats) -> float:
    """Return a metric of the changed examples; `scores` [n]: what each scores, NaN where none does."""
    fold, labels = task.folds.fold[part], task.examples.labels[part]
    own = {} if np.isnan(scores).any() else {metric: scores}
    return score(metric, Predictions(labels, probabilities, fold, task.folds.pooled_ranking, own))
