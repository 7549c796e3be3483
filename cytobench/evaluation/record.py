"""From arrays to a record: the result, the predictions and the trials of one finished run."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np
import polars as pl

from cytobench import __version__
from cytobench.evaluation.custom import Custom
from cytobench.evaluation.evaluate import Evaluation, FoldRecord
from cytobench.evaluation.hierarchy import Hierarchy
from cytobench.evaluation.metrics import Predictions
from cytobench.evaluation.plan import Run
from cytobench.evaluation.recipes import primary_metric
from cytobench.evaluation.results import (
    PROTOCOL,
    FoldResult,
    RunRecord,
    RunResult,
    SplitResult,
    class_results,
    class_scores,
    means_over_folds,
    predictions_table,
    scores_of,
)
from cytobench.evaluation.uncertainty import interval_results, with_groups

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "polars",
    "torch",
    "torchvision",
    "timm",
    "optuna",
    "open-clip-torch",
    "faiss-cpu",
    "faiss-gpu",
    "scikit-image",
    "pillow",
)


def record_of(run: Run, evaluation: Evaluation, *, seconds: Mapping[str, float]) -> RunRecord:
    """Return what is kept of a finished run.

    `seconds`: further stages beside those of `evaluation`.
    """
    task, examples, rows = run.task, run.task.examples, evaluation.rows
    predictions = Predictions(
        examples.labels[rows],
        evaluation.probabilities,
        task.folds.fold[rows],
        task.folds.pooled_ranking,
        evaluation.scores,
    )
    groups = [examples.groups[row] for row in rows]
    table = predictions_table([examples.samples[row] for row in rows], groups, examples.classes, predictions)
    scores = _scores(run, evaluation, predictions)
    scored = with_groups(predictions, groups)
    scores["intervals"] = interval_results(scored, scores["metrics"], _tree(run))
    key = run.key
    result = RunResult(
        **scores,
        **_names(run),
        protocol=PROTOCOL,
        run_id=key.run_id,
        n_groups=len(set(groups)),
        split=SplitResult(
            kind=task.folds.kind,
            folds=len(task.folds),
            seed=task.card.split.seed + run.seed,
            digest=key.split_digest,
        ),
        trials=key.trials,
        seed=run.seed,
        manifest_digest=key.manifest_digest,
        hierarchy={name: list(above) for name, above in (task.card.hierarchy or {}).items()},
        sealed_digest=_digest(task.data.sealed["sample"].to_list()),
        space_id=key.space_id,
        encoder=dict(run.backbone.identity) if run.backbone.identity is not None else None,
        predictions_sha256="",
        trials_sha256=None,
        attention_sha256=None,
        versions=versions() | _declared(run),
        device=run.recipe.device if run.recipe.searched else "cpu",
        seconds={**seconds, **evaluation.seconds},
        warnings=[*task.data.warnings, *evaluation.warnings],
    )
    trials = pl.DataFrame(list(evaluation.trials)) if evaluation.trials else None
    return RunRecord(result, table, trials, _attention(run, evaluation))


def _declared(run: Run) -> dict[str, str]:
    """Return the version that a plugin declares of its probe, by the function's name."""
    recipe = run.recipe
    return {recipe.reference: recipe.version or "none declared"} if isinstance(recipe, Custom) else {}


def _attention(run: Run, evaluation: Evaluation) -> pl.DataFrame | None:
    """Return the weight of every instance of the tested bags: bag, sample, fold, weight."""
    if not evaluation.attention:
        return None
    examples, fold = run.task.examples, run.task.folds.fold
    samples = run.task.data.table["sample"].to_numpy()[examples.order]
    bag = examples.member[examples.order]
    begins = np.searchsorted(bag, np.arange(len(examples) + 1))
    parts = [
        pl.DataFrame(
            {
                "bag": [examples.samples[one]] * len(weights),
                "sample": samples[begins[one] : begins[one + 1]].tolist(),
                "fold": np.full(len(weights), fold[one], dtype=np.int16),
                "weight": weights,
            }
        )
        for one, weights in sorted(evaluation.attention.items())
    ]
    return pl.concat(parts)


def _tree(run: Run) -> Hierarchy | None:
    above = run.task.card.hierarchy
    return Hierarchy.of(run.task.examples.classes, above) if above else None


def _digest(samples: Sequence[str]) -> str | None:
    """Return the SHA-256 of the samples set aside for pretraining, None where there are none."""
    return hashlib.sha256("\n".join(sorted(samples)).encode()).hexdigest() if samples else None


def _names(run: Run) -> dict[str, Any]:
    task = run.task.card
    return {
        "task": task.name,
        "backbone": run.backbone.card.name,
        "probe": run.probe,
        "tuned": run.tuned,
        "metric": primary_metric(run.probe, task.metric),
        "unit": task.unit,
        "group": task.group,
        "precision": run.backbone.card.precision,
    }


def _scores(run: Run, evaluation: Evaluation, predictions: Predictions) -> dict[str, Any]:
    names = list(run.task.folds.names)
    found = {k: fold.threshold for k, fold in enumerate(evaluation.folds) if fold.threshold is not None}
    thresholds = found if len(found) == len(names) else {}
    metric = primary_metric(run.probe, run.task.card.metric)
    scores = scores_of(predictions, metric=metric, fold_names=names, thresholds=thresholds, tree=_tree(run))
    values = scores.pop("fold_values")
    folds = [_fold_result(fold, value) for fold, value in zip(evaluation.folds, values, strict=True)]
    classes = list(run.task.examples.classes)
    scores["metrics"] |= means_over_folds([fold.diagnostics for fold in folds])
    return {
        **scores,
        "folds": folds,
        "classes": class_results(scores["confusion"], classes),
        "class_scores": class_scores(predictions, classes),
    }


def _fold_result(fold: FoldRecord, value: float | None) -> FoldResult:
    return FoldResult(
        name=fold.name,
        n_train=fold.n_train,
        n_test=fold.n_test,
        params=fold.params,
        value=value,
        threshold=fold.threshold,
        diagnostics={key: one for key, one in fold.diagnostics.items() if _finite(one)},
    )


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of CytoBench, Python and every installed package that touches the numbers."""
    found = {"cytobench": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
