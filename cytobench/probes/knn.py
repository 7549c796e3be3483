"""The k-nearest-neighbour probe: centred cosine similarity, every k and weighting from one exact search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import UsageError
from cytobench.probes.inputs import check_features, check_labels
from cytobench.probes.neighbours import Neighbours, directions, nearest
from cytobench.probes.null import majority_probabilities

WEIGHTINGS = ("uniform", "similarity")
UNTUNED_K = 20
TEMPERATURE = 0.07


def knn_probabilities(
    train: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer[Any]],
    test: npt.NDArray[np.float32],
    *,
    n_classes: int,
    ks: Sequence[int],
    weighting: Sequence[str],
    train_groups: npt.NDArray[Any] | None = None,
    test_groups: npt.NDArray[Any] | None = None,
) -> npt.NDArray[np.float64]:
    """Return class probabilities for all k and weightings from one exact faiss search.

    Features are centred on the training mean and scaled to unit length (UNI, Chen et al. 2024: k = 20).
    "uniform" counts neighbours; "similarity" weighs each by exp(cosine / 0.07) (DINO, Caron et al. 2021).
    Equally similar neighbours are ranked by training index. A k beyond the permitted neighbours uses them
    all; a test row without any gets the training class frequencies.

    Args:
        train: float32 [n, d].
        labels: class indices of the training rows, integer [n].
        test: float32 [m, d].
        n_classes: number of classes, K.
        ks: numbers of neighbours, any order.
        weighting: of "uniform" and "similarity".
        train_groups: group of each training row, [n], any sortable type; if given, a test row never sees
            neighbours of its own group.
        test_groups: group of each test row, [m].

    Returns:
        Probabilities, float64 [len(ks), len(weighting), m, K]; rows sum to 1.

    Raises:
        DataError: features are not finite or not one row per label.
        ProtocolError: a label lies outside 0..K-1, or there is no training row.
        UsageError: a k below 1, an unknown weighting, or groups for only one of the two tables.
    """
    checked = check_labels(labels, n_classes)
    train_rows, test_rows = (
        check_features(train, len(checked), "training"),
        check_features(test, None, "test"),
    )
    _check_choices(ks, weighting)
    groups = _group_codes(train_groups, test_groups)
    counts = [min(int(k), len(checked)) for k in ks]
    found = nearest(
        *directions(train_rows, test_rows),
        max(counts),
        cuts=counts,
        train_groups=groups and groups[0],
        test_groups=groups and groups[1],
    )
    fallback = majority_probabilities(checked, 1, n_classes)[0]
    votes = np.stack([_vote(found, checked, n_classes, counts, how) for how in weighting], axis=1)
    total = votes.sum(axis=-1, keepdims=True)
    return np.where(total > 0, votes / np.where(total > 0, total, 1.0), fallback)


def _check_choices(ks: Sequence[int], weighting: Sequence[str]) -> None:
    if len(ks) == 0 or min(ks) < 1:
        raise UsageError("The kNN probe needs at least one k, each at least 1.")
    unknown = [how for how in weighting if how not in WEIGHTINGS]
    if unknown or len(weighting) == 0:
        named = unknown[0] if unknown else "none"
        raise UsageError(f"The kNN probe knows the weightings 'uniform' and 'similarity', not '{named}'.")


def _group_codes(
    train_groups: npt.NDArray[Any] | None, test_groups: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Return the groups of both tables as integers that mean the same in both, or None."""
    if train_groups is None and test_groups is None:
        return None
    if train_groups is None or test_groups is None:
        raise UsageError("The kNN probe needs the groups of training and test rows, or of neither.")
    both = np.concatenate([np.asarray(train_groups), np.asarray(test_groups)])
    codes = np.unique(both, return_inverse=True)[1].astype(np.int64)
    return codes[: len(train_groups)], codes[len(train_groups) :]


def _vote(
    found: Neighbours, labels: npt.NDArray[np.int64], n_classes: int, ks: Sequence[int], how: str
) -> npt.NDArray[np.float64]:
    """Add up the neighbours' votes, each k continuing where the next smaller one stopped: [len(ks), m, K]."""
    m = len(found.index)
    ballot = np.where(found.index >= 0, labels[found.index], 0) + np.arange(m)[:, None] * n_classes
    if how == "uniform":
        weight = (found.index >= 0).astype(np.float64)
    else:
        weight = np.exp(found.similarity.astype(np.float64) / TEMPERATURE)
    votes = np.zeros((len(ks), m, n_classes))
    running, done = np.zeros(m * n_classes), 0
    for place in np.argsort(ks, kind="stable"):
        k = ks[place]
        chosen = slice(done, k)
        running += np.bincount(ballot[:, chosen].ravel(), weight[:, chosen].ravel(), minlength=m * n_classes)
        votes[place], done = running.reshape(m, n_classes), k
    return votes
