"""The prototype probe: a class is the mean of its cells (SimpleShot, Wang et al. 2019, arXiv 1911.04623)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cytobench.probes.inputs import check_features, check_labels
from cytobench.probes.neighbours import directions


def prototype_probabilities(
    train: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[np.float32],
    *,
    n_classes: int,
) -> npt.NDArray[np.float64]:
    """Return class probabilities by the distance to the classes' means: float64 [m, K].

    Features are centred on the training mean and scaled to unit length; probabilities are the softmax of the
    negative squared Euclidean distances, 0 for a class without a training row.

    Args:
        train: float32 [n, d].
        labels: class indices of the training rows, integer [n].
        test: float32 [m, d].
        n_classes: number of classes, K.

    Raises:
        DataError: features are not finite or not one row per label.
        ProtocolError: a label lies outside 0..K-1, or there is no training row.
    """
    checked = check_labels(labels, n_classes)
    rows, wanted = directions(
        check_features(train, len(checked), "training"), check_features(test, None, "test")
    )
    present = np.unique(checked)
    means = np.stack([rows[checked == code].mean(0) for code in present]).astype(np.float64)
    wide = wanted.astype(np.float64)
    distance = np.square(wide).sum(1)[:, None] - 2.0 * wide @ means.T + np.square(means).sum(1)
    odds = np.exp(distance.min(1, keepdims=True) - distance)
    probabilities = np.zeros((len(wanted), n_classes))
    probabilities[:, present] = odds / odds.sum(1, keepdims=True)
    return probabilities
