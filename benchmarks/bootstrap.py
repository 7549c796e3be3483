"""The cluster bootstrap of all metrics: weights of groups at once against resampled rows one by one.

    python benchmarks/bootstrap.py

10 backbones x 10,000 cells of 8 classes from 200 patients, 2,000 resamples. The alternative draws patients,
gathers their rows and calls scikit-learn; it is timed on a few resamples and counted as proportional.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn import metrics

from cytobench.statistics.intervals import RESAMPLES, intervals
from cytobench.statistics.weighted import (
    CALIBRATION_METRICS,
    LABEL_METRICS,
    RANKING_METRICS,
    Scored,
    weighted_metrics,
)

NAMES = [*LABEL_METRICS, *CALIBRATION_METRICS, *RANKING_METRICS]


def draw(cells: int, groups: int, classes: int, seed: int) -> Scored:
    """Return predictions of one backbone."""
    rng = np.random.default_rng(seed)
    group = np.r_[np.arange(groups), rng.integers(0, groups, cells - groups)]
    labels = rng.integers(0, classes, cells)
    odds = rng.random((cells, classes)) + np.eye(classes)[labels]
    return Scored(labels, odds / odds.sum(1, keepdims=True), group % 5, group, groups)


def row_by_row(one: Scored, resamples: int) -> dict[str, float]:
    """Resample as a loop over scikit-learn does; returns the mean of each metric."""
    rng = np.random.default_rng(0)
    rows_of = [np.flatnonzero(one.group == g) for g in range(one.n_groups)]
    sums: dict[str, list[float]] = {name: [] for name in NAMES}
    classes = np.arange(one.probabilities.shape[1])
    for _ in range(resamples):
        rows = np.concatenate([rows_of[g] for g in rng.integers(0, one.n_groups, one.n_groups)])
        truth, scores, fold = one.labels[rows], one.probabilities[rows], one.fold[rows]
        called = scores.argmax(1)
        sums["balanced_accuracy"].append(metrics.balanced_accuracy_score(truth, called))
        sums["accuracy"].append(metrics.accuracy_score(truth, called))
        sums["macro_f1"].append(metrics.f1_score(truth, called, average="macro"))
        sums["weighted_f1"].append(metrics.f1_score(truth, called, average="weighted"))
        sums["cohen_kappa"].append(metrics.cohen_kappa_score(truth, called))
        sums["brier"].append(float(np.square(scores - np.eye(len(classes))[truth]).sum(1).mean()))
        sums["log_loss"].append(metrics.log_loss(truth, scores, labels=classes))
        confidence = scores.max(1)
        index = np.minimum((confidence * 15).astype(int), 14)
        gaps = np.bincount(index, (called == truth) - confidence, minlength=15)
        sums["ece"].append(float(np.abs(gaps).sum() / len(rows)))
        areas, precisions, weights = [], [], []
        for code in classes:
            for k in range(5):
                mine = fold == k
                positive = truth[mine] == code
                weights.append(positive.sum() * (~positive).sum())
                areas.append(metrics.roc_auc_score(positive, scores[mine, code]))
                precisions.append(metrics.average_precision_score(positive, scores[mine, code]))
        sums["auroc"].append(float(np.average(areas, weights=weights)))
        sums["average_precision"].append(float(np.average(precisions, weights=weights)))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", type=int, default=10)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=20, help="resamples of the alternative")
    given = parser.parse_args()
    runs = [draw(given.cells, given.groups, given.classes, seed) for seed in range(given.backbones)]
    started = time.perf_counter()
    for one in runs:
        intervals(NAMES, one)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    loop = row_by_row(runs[0], given.rows)
    slow = (time.perf_counter() - started) / given.rows * RESAMPLES * given.backbones
    plain = weighted_metrics(NAMES, runs[0], np.ones((1, given.groups)))
    apart = max(abs(loop[name] - float(plain[name][0])) for name in NAMES)
    print(f"| {RESAMPLES:,} resamples, {len(NAMES)} metrics, {given.backbones} x {given.cells:,} cells | s |")
    print("|---|---:|")
    print(f"| CytoBench: weights of groups | {ours:.1f} |")
    print(f"| resampled rows and scikit-learn (from {given.rows} resamples) | {slow:,.0f} |")
    print(
        f"\n{slow / ours:.0f} times as fast; largest difference of a mean from the score itself {apart:.4f}"
    )


if __name__ == "__main__":
    main()
