"""How much a score will wobble at a task's size, before anything is run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytobench.evaluation.examples import Examples
from cytobench.evaluation.folds import Folds
from cytobench.statistics.intervals import FEW_GROUPS
from cytobench.statistics.paired import detectable_difference

RECALL = 0.8
WITHIN = 0.05
SHARED = 0.5
ASSUMED = (
    f"assuming that {RECALL:.0%} of each class are right, that errors within a group correlate by {WITHIN:g} "
    f"and those of two backbones by {SHARED:g}"
)


@dataclass(frozen=True)
class Noise:
    """What can be expected of a balanced accuracy, in points of 100.

    `half_width`: of its 95 % interval; `detectable`: the true difference between two backbones that a test
    finds four times in five; `groups`: tested ones; `enough`: whether they are enough for intervals.
    """

    half_width: float
    detectable: float
    groups: int
    enough: bool


def expected_noise(examples: Examples, folds: Folds) -> Noise:
    """Return what the tested examples of a task let one expect (`ASSUMED`).

    Recalls of classes are binomial with Kish's design effect 1 + (m - 1) rho, m being the number of fellow
    examples of a class that a typical example has in its group.
    """
    from scipy.stats import t

    tested = np.flatnonzero(folds.fold >= 0)
    labels, groups = examples.labels[tested], examples.group_codes[tested]
    n_groups = len(np.unique(groups))
    present = np.unique(labels)
    variance = 0.0
    for code in present:
        sizes = np.unique(groups[labels == code], return_counts=True)[1].astype(np.float64)
        fellows = float((sizes**2).sum() / sizes.sum())
        variance += RECALL * (1 - RECALL) / sizes.sum() * (1 + (fellows - 1) * WITHIN)
    error = float(np.sqrt(variance)) / len(present)
    df = max(1, n_groups - 1)
    paired = error * float(np.sqrt(2 * (1 - SHARED)))
    return Noise(
        100 * float(t.ppf(0.975, df)) * error,
        100 * detectable_difference(paired, df),
        n_groups,
        n_groups >= FEW_GROUPS,
    )
