"""What is kept of a run: its identity, its predictions, and everything that can be recomputed from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from cytobench.errors import StoreError
from cytobench.evaluation import metrics
from cytobench.evaluation.hierarchy import Hierarchy, tree_metrics
from cytobench.evaluation.metrics import Predictions

PROTOCOL = 1
"""Raised by hand whenever the same inputs may give other predictions than before."""
SCHEMA = 1
FOLD_METRICS = ("hubness_skewness", "antihub_share")
"""Metrics of the training parts' features, not of predictions: means of the folds' diagnostics."""
PREFIX, SCORE = "p:", "score:"


@dataclass(frozen=True)
class RunKey:
    """All that decides what a run predicts; no paths, no software versions."""

    task: Mapping[str, Any]
    manifest_digest: str
    split_digest: str
    space_id: str | None
    probe: str
    tuned: bool
    search_space: Mapping[str, Any]
    trials: int | None
    seed: int

    @property
    def run_id(self) -> str:
        """SHA-256 of the canonical JSON of the key and the protocol's number, 64 hex digits."""
        canonical = json.dumps({**vars(self), "protocol": PROTOCOL}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FoldResult(_Record):
    """One outer fold: sizes, parameters used, the value of the primary metric on its own rows."""

    name: str
    n_train: int
    n_test: int
    params: dict[str, bool | int | float | str]
    value: float | None
    threshold: float | None
    diagnostics: dict[str, bool | int | float | str]


class ClassResult(_Record):
    """One class: its number of tested examples and the share of them that was recognised."""

    name: str
    support: int
    recall: float | None


class IntervalResult(_Record):
    """A 95 % interval over groups, conditional on the fitted models; no bounds where there are too few."""

    low: float | None
    high: float | None
    se: float | None
    method: Literal["bootstrap", "jackknife", "too few groups"]
    groups: int


class ReliabilityBin(_Record):
    """Predictions of one range of confidence: how many, how confident on average, how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class SplitResult(_Record):
    """How examples were divided; results with another digest must not be compared."""

    kind: str
    folds: int
    seed: int
    digest: str


class RunResult(_Record):
    """The content of result.json: one backbone on one task under one probe, tuned or not.

    `metrics`: those that are defined; `intervals`: of these, over groups; `reliability`: confidence against
    accuracy, the data of a reliability diagram; `ranking`: whether AUROC and average precision were averaged
    within folds or pooled; `class_scores`: metrics that are means of what single examples score, by name and
    class (left out where there are none); `hierarchy`: for each class the names above it, for tasks whose
    classes form a tree (left out elsewhere); `fold_spread`: standard deviation of the primary metric over
    folds;
    `trials`: budget of a search, None for fixed grids and untuned runs; `device`: where the probe was fitted;
    `precision`: what the encoder computes in; `seconds`: time per stage (`encode`: at the encoder's rate,
    only if it was used now).

    `protocol`: number of the protocol it was made under; `run_id`: SHA-256 of all that decides what it
    predicts; `metric`: the primary one; `classes`: support and recall of each; `confusion`: true classes in
    rows, predicted ones in columns; `folds`: sizes and parameters of each outer fold; `n`: tested examples;
    `n_groups`: groups they come from; `group`: the column that stayed whole; `split`: kind, digest and seed
    of the folds; `seed`: of the run; `manifest_digest`: of the rows evaluated; `sealed_digest`: of those set
    aside for pretraining; `space_id`: of the features; `encoder`: what that id is the digest of;
    `predictions_sha256`, `trials_sha256`, `attention_sha256`: of the files beside it; `versions`: of
    everything that touches the numbers; `warnings`: what weakens the score.
    """

    schema_version: Literal[1] = 1
    protocol: int
    run_id: str
    task: str
    backbone: str
    probe: str
    tuned: bool
    metric: str
    metrics: dict[str, float]
    intervals: dict[str, IntervalResult] = {}
    reliability: list[ReliabilityBin] = []
    ranking: Literal["within folds", "pooled over folds"]
    classes: list[ClassResult]
    class_scores: dict[str, dict[str, float]] = {}
    hierarchy: dict[str, list[str]] = {}
    confusion: list[list[int]]
    folds: list[FoldResult]
    fold_spread: float | None
    n: int
    n_groups: int
    unit: Literal["cell", "bag"]
    group: str
    split: SplitResult
    trials: int | None
    seed: int
    manifest_digest: str
    sealed_digest: str | None = None
    space_id: str | None
    encoder: dict[str, Any] | None
    predictions_sha256: str
    trials_sha256: str | None
    attention_sha256: str | None = None
    versions: dict[str, str]
    device: str
    precision: str
    seconds: dict[str, float]
    warnings: list[str]

    @model_serializer(mode="wrap")
    def _lean(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only some runs have: the files of the others stay as they always were."""
        fields: dict[str, Any] = dump(self)
        absent = {name for name in ("class_scores", "hierarchy") if not fields[name]}
        return {name: value for name, value in fields.items() if name not in absent}

    @property
    def value(self) -> float:
        """The primary metric; NaN where it is not defined on these predictions."""
        return self.metrics.get(self.metric, float("nan"))

    @property
    def tree(self) -> Hierarchy | None:
        """The tree of the classes, None where they form none."""
        return Hierarchy.of([one.name for one in self.classes], self.hierarchy) if self.hierarchy else None

    @property
    def thresholds(self) -> dict[int, float]:
        """The threshold of each fold, by its position; empty unless every fold has one."""
        found = {k: fold.threshold for k, fold in enumerate(self.folds) if fold.threshold is not None}
        return found if len(found) == len(self.folds) else {}


@dataclass(frozen=True)
class RunRecord:
    """All that is written of a run: `trials` when it was tuned, `attention` of models of bags."""

    result: RunResult
    predictions: pl.DataFrame
    trials: pl.DataFrame | None = None
    attention: pl.DataFrame | None = None


def predictions_table(
    samples: list[str], groups: list[str], classes: tuple[str, ...], predictions: Predictions
) -> pl.DataFrame:
    """Return the table of predictions.parquet: sample, group, fold, label, predicted, p:<class> ...

    Where single examples have scores, score:<metric> ... follow.
    """
    names = np.asarray(classes)
    columns: dict[str, Any] = {
        "sample": samples,
        "group": groups,
        "fold": predictions.fold.astype(np.int16),
        "label": names[predictions.labels].tolist(),
        "predicted": names[predictions.predicted].tolist(),
    }
    columns |= {PREFIX + name: predictions.probabilities[:, k] for k, name in enumerate(classes)}
    columns |= {SCORE + name: values for name, values in predictions.scores.items()}
    return pl.DataFrame(columns)


def predictions_of(table: pl.DataFrame, *, pooled_ranking: bool) -> Predictions:
    """Return the arrays behind a table of predictions.

    Raises StoreError when it lacks columns or holds labels without a probability.
    """
    classes = [name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX)]
    if not classes or not {"fold", "label"} <= set(table.columns):
        raise StoreError("A table of predictions needs the columns fold, label and p:<class>; run again.")
    code = {name: index for index, name in enumerate(classes)}
    try:
        labels = np.asarray([code[label] for label in table["label"]], dtype=np.int64)
    except KeyError as error:
        raise StoreError(
            f"The label {error} has no column p:{error.args[0]} among the predictions."
        ) from error
    probabilities = table.select(pl.col(PREFIX + name) for name in classes).to_numpy().astype(np.float64)
    scores = {
        name.removeprefix(SCORE): table[name].to_numpy().astype(np.float64)
        for name in table.columns
        if name.startswith(SCORE)
    }
    return Predictions(labels, probabilities, table["fold"].to_numpy(), pooled_ranking, scores)


def scores_of(
    predictions: Predictions,
    *,
    metric: str,
    fold_names: list[str],
    thresholds: Mapping[int, float],
    tree: Hierarchy | None = None,
) -> dict[str, Any]:
    """Return everything of a result that follows from its predictions and the `tree` of its classes.

    The keys are fields of `RunResult`, and `fold_values` with the primary metric on each fold's rows.
    """
    values = metrics.per_fold(metric, predictions, len(fold_names))
    matrix = metrics.confusion(predictions.labels, predictions.predicted, predictions.probabilities.shape[1])
    return {
        "metrics": metrics.all_metrics(predictions, thresholds)
        | (tree_metrics(predictions, tree) if tree else {}),
        "ranking": "pooled over folds" if predictions.pooled_ranking else "within folds",
        "confusion": matrix.tolist(),
        "fold_values": [number_or_none(value) for value in values],
        "fold_spread": number_or_none(metrics.fold_spread(values)),
        "reliability": [
            ReliabilityBin(**one)
            for one in metrics.reliability(predictions.labels, predictions.probabilities)
        ],
        "n": len(predictions.labels),
    }


def _certainty(predictions: Predictions) -> tuple[metrics.Ints, metrics.Floats]:
    return predictions.labels, predictions.probabilities


def class_results(confusion: list[list[int]], names: list[str]) -> list[ClassResult]:
    """Return support and recall of each class from a confusion matrix."""
    matrix = np.asarray(confusion)
    recalls = metrics.recall_per_class(matrix)
    return [
        ClassResult(name=name, support=int(matrix[k].sum()), recall=number_or_none(recalls[k]))
        for k, name in enumerate(names)
    ]


def class_scores(predictions: Predictions, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the mean of every score of single examples by metric and class, for classes that have some."""
    found = {}
    for metric, values in predictions.scores.items():
        means = metrics.class_means(predictions.labels, values, len(names))
        found[metric] = {
            name: float(mean) for name, mean in zip(names, means, strict=True) if not np.isnan(mean)
        }
    return found


def means_over_folds(diagnostics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics that are means of what was measured on each fold's training part."""
    known = {name: [float(one[name]) for one in diagnostics if name in one] for name in FOLD_METRICS}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def rescored(result: RunResult, table: pl.DataFrame) -> RunResult:
    """Return `result` with every score computed anew from its predictions; intervals stay as stored."""
    predictions = predictions_of(table, pooled_ranking=result.ranking == "pooled over folds")
    fresh = scores_of(
        predictions,
        metric=result.metric,
        fold_names=[fold.name for fold in result.folds],
        thresholds=result.thresholds,
        tree=result.tree,
    )
    values = fresh.pop("fold_values")
    folds = [
        fold.model_copy(update={"value": value}) for fold, value in zip(result.folds, values, strict=True)
    ]
    names = [one.name for one in result.classes]
    classes = class_results(fresh["confusion"], names)
    fresh["metrics"] |= means_over_folds([fold.diagnostics for fold in result.folds])
    fresh["class_scores"] = class_scores(predictions, names)
    return result.model_copy(update={**fresh, "folds": folds, "classes": classes})


def number_or_none(value: float) -> float | None:
    """Return a float that JSON can hold: None for NaN."""
    return None if np.isnan(value) else float(value)
