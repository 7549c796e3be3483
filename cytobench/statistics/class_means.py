"""Scores of single examples under many weightings of the groups: means within classes, then over classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassSums:
    """Sums over the rows of each group and class: `total` of scores, `support` of rows, float64 [G, K]."""

    total: Floats
    support: Floats

    @classmethod
    def of(cls, values: Floats, labels: Ints, group: Ints, shape: tuple[int, int]) -> ClassSums:
        """Add up scores float64 [n] by group and class; `shape`: numbers of both."""
        place, size = group * shape[1] + labels, shape[0] * shape[1]
        total: Floats = np.bincount(place, values, size).astype(np.float64)
        support: Floats = np.bincount(place, minlength=size).astype(np.float64)
        return cls(total.reshape(shape), support.reshape(shape))

    def weighted(self, weights: Floats) -> Floats:
        """Return the macro mean under weights [B, G]: float64 [B]."""
        return macro(weights @ self.total, weights @ self.support)

    def nudged(self, by: float) -> Floats:
        """Return the macro mean with one group's weight changed by `by`, for each group: float64 [G]."""
        total, support = (each.sum(0) + by * each for each in (self.total, self.support))
        return macro(total, support)


def macro(total: Floats, support: Floats) -> Floats:
    """Return the mean over classes with examples of their mean scores: [B, K] twice -> float64 [B]."""
    known = support > 0
    means = np.divide(total, support, out=np.zeros_like(total), where=known)
    with np.errstate(invalid="ignore"):
        mean: Floats = means.sum(1) / known.sum(1)
    return mean
