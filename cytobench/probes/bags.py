"""Ragged bags: the instances of all bags in one table, and where each bag begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError

HIDDEN, ATTENTION = 128, 64
"""Hidden units of the models of bags, and units behind their attention."""


@dataclass(frozen=True)
class Bags:
    """Bags of instances, without padding.

    `features`: float32 [N, d], the instances bag after bag; `offsets`: int64 [n + 1], bag i holds the rows
    offsets[i] to offsets[i + 1]. Indexing with integers [m] returns these bags in that order.
    """

    features: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raise DataError when the offsets do not part the features into bags of at least one instance."""
        sizes = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.features):
            raise DataError("The bags' offsets do not fit their instances: extract the features again.")
        if len(sizes) and sizes.min() < 1:
            raise DataError(f"Bag {int(np.argmin(sizes))} is empty: a bag needs at least one instance.")

    def __len__(self) -> int:
        """Return the number of bags, n."""
        return len(self.offsets) - 1

    def __getitem__(self, which: npt.NDArray[np.int64]) -> Bags:
        """Return the bags at these positions."""
        starts, sizes = self.offsets[which], self.sizes[which]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
        return Bags(self.features[rows], offsets)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The number of instances of each bag, int64 [n]."""
        return np.diff(self.offsets)

    @property
    def dim(self) -> int:
        """The length of one instance's features, d."""
        return int(self.features.shape[1])

    def mean(self) -> npt.NDArray[np.float32]:
        """Return the mean of each bag's instances, float32 [n, d]."""
        sums = np.add.reduceat(self.features, self.offsets[:-1], axis=0, dtype=np.float64)
        return (sums / self.sizes[:, None]).astype(np.float32)

    def max(self) -> npt.NDArray[np.float32]:
        """Return the largest value of each feature in each bag, float32 [n, d]."""
        largest: npt.NDArray[np.float32] = np.maximum.reduceat(self.features, self.offsets[:-1], axis=0)
        return largest
