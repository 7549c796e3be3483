"""How far a label can be told without looking at a cell: from file size, image size, colour or sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.examples import Examples
from cytobench.evaluation.folds import Folds
from cytobench.statistics.intervals import Interval, interval
from cytobench.statistics.weighted import Scored

Doubles = npt.NDArray[np.float64]

_NOTABLE = 0.1  # share of the way from chance to perfect
_NOTABLE_UNSURE = 0.2  # the same where there are too few groups for an interval
_RESAMPLES = 1000


@dataclass(frozen=True)
class Confound:
    """What a small model that sees one description alone scores.

    `score`: balanced accuracy over the tested examples; `chance`: one over the number of classes; `interval`:
    at 95 %, over groups (NaN where there are too few).
    """

    score: float
    chance: float
    interval: Interval

    @property
    def share(self) -> float:
        """The share of the way from chance to perfect, 0 where at or below chance."""
        return max(0.0, (self.score - self.chance) / (1.0 - self.chance))

    @property
    def notable(self) -> bool:
        """Whether the description tells the label well above chance."""
        if np.isnan(self.interval.low):
            return self.share >= _NOTABLE_UNSURE
        return self.interval.low > self.chance and self.share >= _NOTABLE

    def __str__(self) -> str:
        """Say the score with its interval and chance."""
        sure = (
            " (too few groups for an interval)"
            if np.isnan(self.interval.low)
            else f" [{self.interval.low:.2f}, {self.interval.high:.2f}]"
        )
        return f"balanced accuracy {self.score:.2f}{sure} where chance is {self.chance:.2f}"


def confound(values: Doubles, examples: Examples, folds: Folds) -> Confound:
    """Return what logistic regression on `values`, float64 [n, d], scores over the task's own folds.

    Classes weigh alike; everything fitted is fitted on training rows.
    """
    predicted = _predictions(values, examples, folds)
    rows = np.flatnonzero(predicted >= 0)
    present = np.unique(examples.labels[rows])
    code = np.searchsorted(present, examples.labels[rows])
    known = np.isin(predicted[rows], present)
    # A class that no tested example has is a wrong answer like any other.
    called = np.where(known, np.searchsorted(present, predicted[rows]), (code + 1) % len(present))
    recalls = [float((called[code == k] == k).mean()) for k in range(len(present))]
    chance = 1.0 / len(examples.classes)
    return Confound(float(np.mean(recalls)), chance, _interval(code, called, rows, examples, folds))


def one_number(values: npt.ArrayLike) -> Doubles:
    """Return logarithms of positive numbers and their squares, float64 [n, 2]: middling ones may tell."""
    logs = np.log(np.maximum(np.asarray(values, np.float64), 1.0))
    return np.stack([logs, (logs - logs.mean()) ** 2], axis=1)


def by_example(values: Doubles, examples: Examples) -> Doubles:
    """Return rows' values [rows, d] as one mean an example, [n, d]: cells themselves, or means of bags."""
    counts = np.bincount(examples.member, minlength=len(examples))
    sums = np.zeros((len(examples), values.shape[1]))
    np.add.at(sums, examples.member, values)
    means: Doubles = sums / counts[:, None]
    return means


def _predictions(values: Doubles, examples: Examples, folds: Folds) -> npt.NDArray[np.int64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predicted = np.full(len(examples), -1, np.int64)
    for k in range(len(folds)):
        train, test = folds.train(k), folds.test(k)
        if len(np.unique(examples.labels[train])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
        model.fit(values[train], examples.labels[train])
        predicted[test] = model.predict(values[test])
    return predicted


def _interval(
    code: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    examples: Examples,
    folds: Folds,
) -> Interval:
    probabilities = np.eye(int(code.max()) + 1)[called]
    groups, group = np.unique(examples.group_codes[rows], return_inverse=True)
    fold = folds.fold[rows].astype(np.int64)
    scored = Scored(code, probabilities, fold, group.astype(np.int64), len(groups))
    return interval("balanced_accuracy", scored, resamples=_RESAMPLES)
