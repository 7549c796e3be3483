"""The retrieval probe: how well the nearest cells of the gallery (the training part) share a query's class.

Scores are given for every class a query might have, so that nothing here ever sees a query's label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.probes.inputs import check_features, check_labels

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.float32]

_WON_BY = 1e-9
"""How much more than its share the winner of a tied vote gets: enough for an arg-max to find it."""
_DECIMALS = 6
"""Similarities computed in float32 are the same number up to here."""


@dataclass(frozen=True)
class Ranked:
    """The gallery as each of m queries sees it.

    `classes`: int64 [m, k], the class of each neighbour, nearest first, -1 where there are fewer;
    `similarity`: float32 [m, k], cosine; `relevant`: int64 [m, K], permitted gallery cells of each class.
    """

    classes: Ints
    similarity: Table
    relevant: Ints

    @property
    def n_classes(self) -> int:
        """The number of classes, K."""
        return int(self.relevant.shape[1])


def ranked(
    gallery: Table,
    labels: npt.NDArray[np.integer],
    queries: Table,
    *,
    n_classes: int,
    k: int,
    gallery_groups: Ints | None = None,
    query_groups: Ints | None = None,
) -> Ranked:
    """Return the `k` gallery rows most similar to each query, by cosine of features centred on the gallery.

    Args:
        gallery: float32 [n, d].
        labels: classes of the gallery's rows, integer [n], each in 0..K-1.
        queries: float32 [m, d].
        n_classes: number of classes, K.
        k: neighbours wanted; may exceed n.
        gallery_groups: int64 [n]; if given, a query never sees rows of its own group.
        query_groups: int64 [m].

    Raises:
        DataError: features are not finite or not one row per label.
        ProtocolError: a label lies outside 0..K-1, or there is no gallery row.
    """
    from cytobench.probes.neighbours import directions, nearest

    checked = check_labels(labels, n_classes)
    rows, asked = check_features(gallery, len(checked), "training"), check_features(queries, None, "test")
    found = nearest(
        *directions(rows, asked),
        k,
        cuts=range(1, k),  # every place counts in an average precision
        train_groups=gallery_groups,
        test_groups=query_groups,
    )
    classes = np.where(found.index >= 0, checked[found.index], -1)
    relevant = np.tile(np.bincount(checked, minlength=n_classes), (len(asked), 1))
    if gallery_groups is not None and query_groups is not None:
        relevant = relevant - _of_own_group(checked, n_classes, gallery_groups, query_groups)
    return Ranked(classes, found.similarity, relevant.astype(np.int64))


def _of_own_group(labels: Ints, n_classes: int, gallery_groups: Ints, query_groups: Ints) -> Ints:
    """Return how many gallery rows of each class share each query's group: int64 [m, K]."""
    names, codes = np.unique(gallery_groups, return_inverse=True)
    counts = np.zeros((len(names), n_classes), dtype=np.int64)
    np.add.at(counts, (codes, labels), 1)
    place = np.searchsorted(names, query_groups).clip(max=len(names) - 1)
    return np.where((names[place] == query_groups)[:, None], counts[place], 0)


def average_precision_at(hits: npt.NDArray[np.bool_], relevant: Ints, k: int) -> Floats:
    """Return each query's average precision over its first k places, float64 [m].

    Sum over i <= k of precision@i where place i is a hit, over min(k, relevant): a query whose first places
    are all it could find scores 1 (Weyand et al., Google Landmarks v2, CVPR 2020). Dividing by the hits found
    instead would forgive what is missed. A query with nothing to find scores 0.

    Args:
        hits: bool [m, >= k], whether the place holds the query's class, nearest first.
        relevant: int64 [m], gallery cells of the query's class.
        k: places looked at.
    """
    first = hits[:, :k]
    precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
    best: Floats = np.minimum(k, relevant).astype(np.float64)
    gained: Floats = (precision * first).sum(axis=1)
    return np.divide(gained, best, out=np.zeros(len(hits)), where=best > 0)


def precision_at(hits: npt.NDArray[np.bool_], k: int) -> Floats:
    """Return the share of the first k places that are hits, float64 [m]."""
    share: Floats = hits[:, :k].sum(axis=1) / k
    return share


def vote_shares(found: Ranked, k: int) -> Floats:
    """Return the share of the first k neighbours in each class, float64 [m, K]; rows sum to 1.

    Where classes tie, the one of larger summed similarity wins, then the one of the nearer neighbour; it gets
    1e-9 more than the others. A query without neighbours gets the gallery's class frequencies.
    """
    near, places = found.classes[:, :k], np.arange(min(k, found.classes.shape[1]))
    likeness = np.where(near >= 0, found.similarity[:, :k], 0.0).astype(np.float64).round(_DECIMALS)
    shape = len(near), found.n_classes
    votes, alike, first = np.zeros(shape), np.zeros(shape), np.full(shape, len(places))
    for code in range(found.n_classes):
        of_class = near == code
        votes[:, code] = of_class.sum(axis=1)
        alike[:, code] = np.where(of_class, likeness, 0.0).sum(axis=1)
        first[:, code] = np.where(of_class, places, len(places)).min(axis=1, initial=len(places))
    total = votes.sum(axis=1, keepdims=True)
    frequencies = found.relevant.sum(axis=0) / max(1, found.relevant.sum())
    shares = np.where(total > 0, votes / np.maximum(total, 1), frequencies)
    leading = votes == votes.max(axis=1, keepdims=True)
    tied = np.flatnonzero((leading.sum(axis=1) > 1) & (total[:, 0] > 0))
    order = np.lexsort((first[tied], -alike[tied].round(_DECIMALS), ~leading[tied]), axis=1)
    shares[tied, order[:, 0]] += _WON_BY
    whole: Floats = shares / shares.sum(axis=1, keepdims=True)
    return whole


def names_of(ks: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the scores at some numbers of neighbours; at 1 all of them are the same one."""
    several = [k for k in ks if k > 1]
    return (
        *(f"map_at_{k}" for k in several),
        *(f"precision_at_{k}" for k in ks),
        *(f"majority_vote_at_{k}" for k in several),
    )


def scores_by_class(found: Ranked, ks: Sequence[int]) -> dict[str, Floats]:
    """Return by name (`names_of`) what each query scores if it is of each class, float64 [m, K]."""
    scores = {name: np.zeros((len(found.classes), found.n_classes)) for name in names_of(ks)}
    for code in range(found.n_classes):
        hits = found.classes == code
        for k in ks:
            scores[f"precision_at_{k}"][:, code] = precision_at(hits, k)
            if k > 1:
                scores[f"map_at_{k}"][:, code] = average_precision_at(hits, found.relevant[:, code], k)
    for k in (k for k in ks if k > 1):
        winner = vote_shares(found, k).argmax(axis=1)
        scores[f"majority_vote_at_{k}"][np.arange(len(winner)), winner] = 1.0
    return scores


def chance_by_class(labels: npt.NDArray[np.integer], n_classes: int, ks: Sequence[int]) -> dict[str, Floats]:
    """Return by name what a query of each class scores on average if the gallery is ranked at random: [K].

    With R of n gallery cells of the class, place i holds one with probability R / n, and given that, each
    place before it with (R - 1) / (n - 1): E[AP@k] = sum over i <= k of R/n (1 + (i-1) (R-1)/(n-1)) / i over
    min(k, R). The vote goes to the gallery's most frequent class.
    """
    checked = check_labels(labels, n_classes)
    relevant, n = np.bincount(checked, minlength=n_classes), len(checked)
    share, again = relevant / n, np.maximum(relevant - 1, 0) / max(1, n - 1)
    scores: dict[str, Floats] = {}
    for k in ks:
        i = np.arange(1, min(k, n) + 1)[:, None]
        gained = (share * (1.0 + (i - 1) * again) / i).sum(axis=0)
        best = np.minimum(k, relevant).astype(np.float64)
        scores[f"map_at_{k}"] = np.divide(gained, best, out=np.zeros(n_classes), where=best > 0)
        scores[f"precision_at_{k}"] = share * min(k, n) / k
        scores[f"majority_vote_at_{k}"] = np.eye(n_classes)[relevant.argmax()]
    return {name: scores[name] for name in names_of(ks)}
