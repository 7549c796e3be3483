"""The null probe: it looks at no feature and predicts how often each class occurs in training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cytobench.probes.inputs import check_labels


def majority_probabilities(
    labels: npt.NDArray[np.integer], n_test: int, n_classes: int
) -> npt.NDArray[np.float64]:
    """Return the training class frequencies for every test row.

    Its arg-max is the majority class (the lowest index among equals), so label metrics are those of a
    majority vote while Brier score and calibration are those of the base rates.

    Args:
        labels: class indices of the training rows, integer [n], each in 0..n_classes-1.
        n_test: number of test rows, m.
        n_classes: number of classes, K.

    Returns:
        Probabilities, float64 [m, K]; rows sum to 1.

    Raises:
        ProtocolError: there is no training row, or a label lies outside 0..K-1.
    """
    labels = check_labels(labels, n_classes)
    frequencies = np.bincount(labels, minlength=n_classes) / labels.size
    return np.tile(frequencies, (n_test, 1))
