"""How good predictions are: pure functions of labels, predicted probabilities and folds.

Label and calibration metrics are pooled over the out-of-fold predictions. Ranking metrics (AUROC, average
precision) are computed within folds, since probabilities of different models do not share a scale, and
averaged by the folds' numbers of positive x negative pairs; leave-one-group-out pools them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Folding = npt.NDArray[np.integer]

CALIBRATION_BINS = 15
SPECIFICITY = 0.95


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold predictions of one run.

    `labels`: int64 [n]; `probabilities`: float64 [n, K], rows sum to 1; `fold`: integers [n];
    `pooled_ranking`: whether ranking metrics are pooled over folds instead of averaged within them;
    `scores`: by name what single examples score, float64 [n]: metrics too, see `macro_mean`.
    """

    labels: Ints
    probabilities: Floats
    fold: Folding
    pooled_ranking: bool = False
    scores: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def predicted(self) -> Ints:
        """The most probable class of each row, int64 [n]; the first one where several are equally so."""
        best: Ints = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    def of_fold(self, k: int) -> Predictions:
        """Return the rows of fold `k`."""
        rows = self.fold == k
        scores = {name: values[rows] for name, values in self.scores.items()}
        return Predictions(self.labels[rows], self.probabilities[rows], self.fold[rows], scores=scores)


def confusion(labels: Ints, predicted: Ints, n_classes: int) -> Ints:
    """Return the confusion matrix int64 [K, K]: true classes in rows, predicted ones in columns."""
    flat = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    matrix: Ints = flat.reshape(n_classes, n_classes).astype(np.int64)
    return matrix


def recall_per_class(matrix: Ints) -> Floats:
    """Return the recall of each class, float64 [K]; NaN where a class has no examples."""
    support = matrix.sum(axis=1)
    recall: Floats = np.full(len(matrix), np.nan)
    np.divide(np.diag(matrix), support, out=recall, where=support > 0)
    return recall


def accuracy(matrix: Ints) -> float:
    """Return the share of correct predictions."""
    return float(np.trace(matrix) / matrix.sum())


def balanced_accuracy(matrix: Ints) -> float:
    """Return the mean recall over the classes that have examples."""
    return float(np.nanmean(recall_per_class(matrix)))


def _f1_per_class(matrix: Ints) -> Floats:
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    f1: Floats = np.full(len(matrix), np.nan)
    np.divide(2 * np.diag(matrix), both, out=f1, where=both > 0)
    return f1


def macro_f1(matrix: Ints) -> float:
    """Return the mean F1 over the classes that occur among labels or predictions."""
    return float(np.nanmean(_f1_per_class(matrix)))


def weighted_f1(matrix: Ints) -> float:
    """Return the mean F1 weighted by the classes' numbers of examples."""
    return float(np.nansum(_f1_per_class(matrix) * matrix.sum(axis=1)) / matrix.sum())


def cohen_kappa(matrix: Ints) -> float:
    """Return Cohen's unweighted kappa (Cohen 1960); NaN where agreement by chance is certain."""
    n = matrix.sum()
    chance = float(matrix.sum(axis=0) @ matrix.sum(axis=1)) / float(n) ** 2
    return float("nan") if chance == 1.0 else (accuracy(matrix) - chance) / (1.0 - chance)


def expected_calibration_error(labels: Ints, probabilities: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error of the top class over equal-width bins (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def reliability(labels: Ints, probabilities: Floats, bins: int = CALIBRATION_BINS) -> list[dict[str, float]]:
    """Return the bins behind the expected calibration error that hold predictions: low, high, n, means."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "low": k / bins,
            "high": (k + 1) / bins,
            "n": int((index == k).sum()),
            "confidence": float(confidence[index == k].mean()),
            "accuracy": float(correct[index == k].mean()),
        }
        for k in np.unique(index)
    ]


def brier_score(labels: Ints, probabilities: Floats) -> float:
    """Return the Brier score: squared error summed over classes, mean over rows (Brier 1950); 0 to 2."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - truth).sum(axis=1).mean())


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Return the mean negative log probability of the true class, clipped at machine epsilon."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true, np.finfo(np.float64).eps, None)).mean())


def auroc_binary(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Return the area under the ROC curve (ties count half); NaN without positives or without negatives."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, position, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[position]
    wins = rank[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def average_precision_binary(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Return the average precision, sum of precision x gain in recall; NaN without positives or negatives."""
    n_positive = int(positive.sum())
    if n_positive in (0, len(positive)):
        return float("nan")
    values, position = np.unique(-scores, return_inverse=True)
    hits = np.bincount(position, weights=positive, minlength=len(values))
    taken = np.bincount(position, minlength=len(values))
    precision = np.cumsum(hits) / np.cumsum(taken)
    return float((precision * hits).sum() / n_positive)


_Ranking = Callable[[npt.NDArray[np.bool_], Floats], float]


def _ranking_of_class(predictions: Predictions, code: int, metric: _Ranking) -> float:
    """Return `metric` of one class against the rest: within folds, weighted by positive x negative pairs."""
    positive = predictions.labels == code
    scores = predictions.probabilities[:, code]
    if predictions.pooled_ranking:
        return metric(positive, scores)
    total, weight = 0.0, 0
    for k in np.unique(predictions.fold):
        rows = predictions.fold == k
        pairs = int(positive[rows].sum()) * int((~positive[rows]).sum())
        if pairs:
            total += pairs * metric(positive[rows], scores[rows])
            weight += pairs
    return total / weight if weight else float("nan")


def _macro_ranking(predictions: Predictions, metric: _Ranking) -> float:
    n_classes = predictions.probabilities.shape[1]
    # With two classes the last one is the positive one, as everywhere in the field.
    codes = range(n_classes) if n_classes > 2 else (1,)
    values = [_ranking_of_class(predictions, code, metric) for code in codes]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def auroc(predictions: Predictions) -> float:
    """Return the macro one-vs-rest AUROC within folds, over classes with positives and negatives."""
    return _macro_ranking(predictions, auroc_binary)


def average_precision(predictions: Predictions) -> float:
    """Return the average precision within folds: macro one-vs-rest, or of the last of two classes."""
    return _macro_ranking(predictions, average_precision_binary)


def threshold_at_specificity(
    positive: npt.NDArray[np.bool_], scores: Floats, specificity: float = SPECIFICITY
) -> float:
    """Return the lowest threshold at which at least `specificity` of the negatives score below it.

    A row counts as positive when its score is at or above the threshold. NaN without negatives.
    """
    negatives = np.sort(scores[~positive])
    if not len(negatives):
        return float("nan")
    allowed = int(np.floor((1.0 - specificity) * len(negatives) + 1e-9))
    highest_below = negatives[len(negatives) - allowed - 1]
    return float(np.nextafter(highest_below, np.inf))


def sensitivity_at(predictions: Predictions, thresholds: Mapping[int, float]) -> tuple[float, float]:
    """Return sensitivity and specificity of the last of two classes under each fold's own threshold."""
    limit = np.asarray([thresholds[int(k)] for k in predictions.fold])
    called = predictions.probabilities[:, 1] >= limit
    positive = predictions.labels == 1
    if not positive.any() or positive.all():
        return float("nan"), float("nan")
    return float(called[positive].mean()), float((~called[~positive]).mean())


def _from_matrix(metric: Callable[[Ints], float]) -> Callable[[Predictions], float]:
    def value(predictions: Predictions) -> float:
        n_classes = predictions.probabilities.shape[1]
        return metric(confusion(predictions.labels, predictions.predicted, n_classes))

    return value


def _from_probabilities(metric: Callable[[Ints, Floats], float]) -> Callable[[Predictions], float]:
    return lambda predictions: metric(predictions.labels, predictions.probabilities)


METRICS: Mapping[str, Callable[[Predictions], float]] = MappingProxyType(
    {
        "balanced_accuracy": _from_matrix(balanced_accuracy),
        "accuracy": _from_matrix(accuracy),
        "macro_f1": _from_matrix(macro_f1),
        "weighted_f1": _from_matrix(weighted_f1),
        "cohen_kappa": _from_matrix(cohen_kappa),
        "auroc": auroc,
        "average_precision": average_precision,
        "ece": _from_probabilities(expected_calibration_error),
        "brier": _from_probabilities(brier_score),
        "log_loss": _from_probabilities(log_loss),
    }
)
"""Every metric of a run by name; for the last three lower is better."""

LOWER_IS_BETTER = frozenset({"ece", "brier", "log_loss", "hierarchical_distance"})
"""Metrics of which less is better, also those that only some tasks have."""


def class_means(labels: Ints, values: Floats, n_classes: int) -> Floats:
    """Return the mean in each class of what single examples score, `values` [n]: [K], NaN without any."""
    support = np.bincount(labels, minlength=n_classes)
    total = np.bincount(labels, values, minlength=n_classes)
    means: Floats = np.divide(total, support, out=np.full(n_classes, np.nan), where=support > 0)
    return means


def macro_mean(predictions: Predictions, name: str) -> float:
    """Return the mean over classes that have examples of what their examples score under `name`."""
    n_classes = predictions.probabilities.shape[1]
    means = class_means(predictions.labels, predictions.scores[name], n_classes)
    return float(np.nanmean(means)) if len(predictions.labels) else float("nan")


def title_of(name: str) -> str:
    """Return a metric's name as people write it: "mAP@10", "balanced accuracy"."""
    words, at, k = name.partition("_at_")
    if at and k.isdigit():
        return f"{'mAP' if words == 'map' else words.replace('_', ' ')}@{k}"
    return name.replace("_", " ")


def score(name: str, predictions: Predictions) -> float:
    """Return one metric by name."""
    if name in predictions.scores:
        return macro_mean(predictions, name)
    return METRICS[name](predictions)


def all_metrics(predictions: Predictions, thresholds: Mapping[int, float] | None = None) -> dict[str, float]:
    """Return every metric that is defined: NaN ones are left out.

    `thresholds` (fold -> threshold found on inner folds) adds the sensitivity at 95 % specificity of a task
    with two classes, and the specificity really met on the test rows.
    """
    values = {name: score(name, predictions) for name in (*METRICS, *predictions.scores)}
    if thresholds and predictions.probabilities.shape[1] == 2:
        sensitivity, specificity = sensitivity_at(predictions, thresholds)
        values["sensitivity_at_95_specificity"] = sensitivity
        values["specificity_at_threshold"] = specificity
    return {name: value for name, value in values.items() if not np.isnan(value)}


def per_fold(name: str, predictions: Predictions, n_folds: int) -> list[float]:
    """Return a metric on each fold's rows alone; NaN where a fold cannot be scored."""
    return [score(name, predictions.of_fold(k)) for k in range(n_folds)]


def fold_spread(values: Sequence[float]) -> float:
    """Return the standard deviation over folds (n - 1), NaN with fewer than two; not an interval."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")


def skill(value: float, best_null: float) -> float:
    """Return how much of the room above the best null predictor is used: (value - null) / (1 - null).

    1 is perfect, 0 as good as the null, negative worse; NaN when the null is already perfect.
    """
    return float("nan") if best_null >= 1.0 else (value - best_null) / (1.0 - best_null)
