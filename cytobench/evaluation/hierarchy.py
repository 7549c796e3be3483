"""Classes that form a tree: scores at its wider levels, and how far mistakes lie from the truth.

Source: HiCervix and HierSwin (Cai et al., IEEE TMI 2024, doi 10.1109/TMI.2024.3419697, `metrics_eval.py` of
https://github.com/Scu-sen/HiCervix), after the height of the lowest common ancestor in Bertinetto et al.,
Making Better Mistakes, CVPR 2020. The levels' scores follow from the stored probabilities of the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from cytobench.evaluation import metrics
from cytobench.evaluation.metrics import Floats, Ints, Predictions

DISTANCE = "hierarchical_distance"
LEVEL_METRICS = ("balanced_accuracy", "accuracy")
"""The metrics that are given at every wider level, under the names of `at_level`."""


@dataclass(frozen=True)
class Hierarchy:
    """The tree of a task's classes.

    `paths`: for each class, in the task's order, the names from the widest level down to the class itself.
    """

    paths: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, classes: Sequence[str], above: Mapping[str, Sequence[str]]) -> Hierarchy:
        """Return the tree of `classes`, given for each the names above it, the widest first."""
        return cls(tuple((*above[name], name) for name in classes))

    @property
    def wider_levels(self) -> range:
        """The levels above the classes: 1 is the widest."""
        return range(1, max(map(len, self.paths)))

    def names(self, level: int) -> tuple[str, ...]:
        """Return the names at a level, sorted; a class that ends above it stands for itself."""
        return tuple(sorted({self._at(path, level) for path in self.paths}))

    def codes(self, level: int) -> Ints:
        """Return for each class the place of its name in `names(level)`, int64 [K]."""
        place = {name: code for code, name in enumerate(self.names(level))}
        return np.asarray([place[self._at(path, level)] for path in self.paths], dtype=np.int64)

    @cached_property
    def distances(self) -> Floats:
        """How far each class lies from each other one, float64 [K, K], 0 on the diagonal.

        Between classes at one depth ln(1 + h), h being the levels from them up to their lowest common
        ancestor. Between classes at different depths h itself, counted from the deeper one: so the authors'
        code has it, and their published numbers with it.
        """
        count = len(self.paths)
        found: Floats = np.zeros((count, count))
        for i, one in enumerate(self.paths):
            for j, other in enumerate(self.paths):
                height = max(len(one), len(other)) - _shared(one, other)
                found[i, j] = np.log1p(height) if len(one) == len(other) else height
        return found

    @staticmethod
    def _at(path: Sequence[str], level: int) -> str:
        return path[min(level, len(path)) - 1]


def wider(predictions: Predictions, tree: Hierarchy, level: int) -> Predictions:
    """Return predictions at a wider level: the probabilities of a name's classes summed."""
    labels, probabilities = wider_arrays(predictions.labels, predictions.probabilities, tree, level)
    return Predictions(labels, probabilities, predictions.fold, predictions.pooled_ranking)


def wider_arrays(labels: Ints, probabilities: Floats, tree: Hierarchy, level: int) -> tuple[Ints, Floats]:
    """Return labels int64 [n] and probabilities float64 [n, K] of classes at a wider level."""
    codes = tree.codes(level)
    summed: Floats = np.zeros((len(probabilities), int(codes.max()) + 1))
    np.add.at(summed.T, codes, probabilities.T)
    return codes[labels], summed


def distances_of(labels: Ints, probabilities: Floats, tree: Hierarchy) -> Floats:
    """Return how far each row's most probable class lies from its true one, float64 [n]."""
    found: Floats = tree.distances[labels, probabilities.argmax(axis=1)]
    return found


def at_level(metric: str, level: int) -> str:
    """Return the name of a metric at a wider level: balanced_accuracy_at_level_1."""
    return f"{metric}_at_level_{level}"


def tree_names(tree: Hierarchy) -> tuple[str, ...]:
    """Return the names of all metrics of a tree: the distance, then those of every wider level."""
    return DISTANCE, *(at_level(name, level) for level in tree.wider_levels for name in LEVEL_METRICS)


def tree_metrics(predictions: Predictions, tree: Hierarchy) -> dict[str, float]:
    """Return the mean hierarchical distance (lower is better) and the scores at every wider level."""
    rows = distances_of(predictions.labels, predictions.probabilities, tree)
    found = {DISTANCE: float(rows.mean())} if len(rows) else {}
    for level in tree.wider_levels:
        here = wider(predictions, tree, level)
        found |= {at_level(name, level): metrics.score(name, here) for name in LEVEL_METRICS}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many names two paths share from the widest level down."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
