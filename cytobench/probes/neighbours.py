"""Exact nearest neighbours by cosine similarity, with groups left out and ties broken by index.

faiss ranks in float32, where the order of equal neighbours depends on block sizes and threads. Wherever such
an order would decide which neighbours count, the similarities concerned are computed again in float64, the
same way for every pair, and equal ones are ranked by training index. So duplicates in a data set never make
two runs differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.int64]

# Float32 similarities of unit vectors closer than this may be in the wrong order (rounding of a dot product).
_RESOLUTION = 5e-7
# Own groups up to this many times k are found and dropped; larger ones are taken out of the index instead.
_DROPPED_PER_K = 2
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Neighbours:
    """The nearest training rows of each test row, nearest first.

    index: int64 [m, k], -1 where a row has fewer than k permitted neighbours. similarity: float32 [m, k],
    cosine, -inf where there is none.
    """

    index: _Indices
    similarity: _Floats


def directions(train: _Floats, test: _Floats) -> tuple[_Floats, _Floats]:
    """Centre both tables on the training mean and scale rows to unit length; a zero row stays zero."""
    centre = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = (np.subtract(train, centre), np.subtract(test, centre))
    for table in centred:
        faiss.normalize_L2(table)
    return centred


def nearest(
    train: _Floats,
    test: _Floats,
    k: int,
    *,
    cuts: Sequence[int] = (),
    train_groups: _Indices | None = None,
    test_groups: _Indices | None = None,
) -> Neighbours:
    """Return the `k` most similar training rows of each test row.

    Args:
        train: rows of unit length, float32 [n, d].
        test: rows of unit length, float32 [m, d].
        k: neighbours wanted; may exceed n.
        cuts: numbers of neighbours below k at which the order matters too.
        train_groups: int64 [n]; a test row never sees training rows of its own group.
        test_groups: int64 [m].
    """
    found = _nobody(len(test), k)
    if train_groups is None or test_groups is None:
        train_groups, test_groups = np.zeros(len(train), np.int64), np.full(len(test), -1, np.int64)
    own = _own_group_sizes(train_groups, test_groups)
    ranking = _Ranking(k, tuple(sorted({cut for cut in cuts if cut < k})))
    droppable = own <= _DROPPED_PER_K * k
    for rows in (np.flatnonzero(own == 0), np.flatnonzero((own > 0) & droppable)):
        spare = int(own[rows].max(initial=0))
        part = ranking.rank(train, test[rows], train_groups, test_groups[rows], spare)
        found.index[rows], found.similarity[rows] = part.index, part.similarity
    for group in np.unique(test_groups[~droppable]):
        rows, others = np.flatnonzero(test_groups == group), np.flatnonzero(train_groups != group)
        part = ranking.rank(train[others], test[rows], train_groups[others], test_groups[rows], 0)
        found.index[rows] = np.append(others, -1)[part.index]
        found.similarity[rows] = part.similarity
    return found


def _own_group_sizes(train_groups: _Indices, test_groups: _Indices) -> _Indices:
    """Return how many training rows share each test row's group: int64 [m]."""
    groups, sizes = np.unique(train_groups, return_counts=True)
    place = np.searchsorted(groups, test_groups).clip(max=len(groups) - 1)
    return np.where(groups[place] == test_groups, sizes[place], 0)


@dataclass(frozen=True)
class _Ranking:
    """How many neighbours are wanted, and the smaller counts at which their order decides something too."""

    k: int
    cuts: tuple[int, ...]

    def rank(
        self, train: _Floats, test: _Floats, train_groups: _Indices, test_groups: _Indices, spare: int
    ) -> Neighbours:
        """Search k neighbours, where at most `spare` of the nearest belong to a test row's own group."""
        if len(test) == 0 or len(train) == 0:
            return _nobody(len(test), self.k)
        similarity, index = _search(train, test, self.k + 1 + spare)
        if spare:
            banned = train_groups[index] == test_groups[:, None]
            order = np.argsort(banned, axis=1, kind="stable")
            similarity = np.take_along_axis(np.where(banned, -np.inf, similarity), order, axis=1)
            index = np.take_along_axis(np.where(banned, -1, index), order, axis=1)
        found = _nobody(len(test), self.k + 1)
        width = min(self.k + 1, index.shape[1])
        found.index[:, :width], found.similarity[:, :width] = index[:, :width], similarity[:, :width]
        exact = _ExactSimilarity(train)
        self._settle_last(exact, test, train_groups, test_groups, found)
        self._settle_inner(exact, test, found)
        return Neighbours(found.index[:, : self.k], found.similarity[:, : self.k])

    def _settle_last(
        self,
        exact: _ExactSimilarity,
        test: _Floats,
        train_groups: _Indices,
        test_groups: _Indices,
        found: Neighbours,
    ) -> None:
        """Rank rows anew whose last neighbour ties with the next one: more equal ones may lie beyond."""
        last = found.similarity[:, self.k - 1]
        with np.errstate(invalid="ignore"):
            tied = np.flatnonzero(last - found.similarity[:, self.k] <= _RESOLUTION)
        for start in range(0, len(tied), _ROWS_AT_ONCE):
            rows = tied[start : start + _ROWS_AT_ONCE]
            for row, similarities in zip(rows, test[rows] @ exact.train.T, strict=True):
                near = similarities >= last[row] - 2 * _RESOLUTION
                candidates = np.flatnonzero(near & (train_groups != test_groups[row]))
                values = exact.of(candidates, test[row])
                best = np.lexsort((candidates, -values))[: self.k]
                found.index[row, : self.k] = candidates[best]
                found.similarity[row, : self.k] = values[best]

    def _settle_inner(self, exact: _ExactSimilarity, test: _Floats, found: Neighbours) -> None:
        """Order near-ties that straddle an inner cut by exact similarity, then by index."""
        if not self.cuts:
            return
        similarity, index = found.similarity[:, : self.k], found.index[:, : self.k]
        with np.errstate(invalid="ignore"):
            apart = similarity[:, :-1] - similarity[:, 1:] > _RESOLUTION
        settled = apart[:, [cut - 1 for cut in self.cuts]].all(axis=1)
        for row in np.flatnonzero(~settled & (index[:, 0] >= 0)):
            run = np.concatenate([[0], np.cumsum(apart[row])])
            for cut in self.cuts:
                members = np.flatnonzero((run == run[cut]) & (index[row] >= 0))
                if run[cut] != run[cut - 1] or len(members) < 2:
                    continue
                ids = index[row, members]
                values = exact.of(ids, test[row])
                order = np.lexsort((ids, -values))
                index[row, members], similarity[row, members] = ids[order], values[order]


@dataclass(frozen=True)
class _ExactSimilarity:
    """Float64 similarities whose value depends on the two vectors alone, not on where they lie in a block."""

    train: _Floats

    @cached_property
    def _first_copy(self) -> _Indices:
        """Index of the first training row with the same bytes as each row: int64 [n]."""
        first: dict[bytes, int] = {}
        signless = self.train + np.float32(0.0)  # -0.0 becomes 0.0
        return np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(signless)], np.int64)

    def of(self, ids: _Indices, query: _Floats) -> npt.NDArray[np.float64]:
        """Return the similarity of some training rows to `query` [d]; copies are computed once."""
        if not query.any():
            return np.zeros(len(ids))
        inverse: _Indices | slice = slice(None)
        if len(ids) > _ROWS_AT_ONCE:
            ids, inverse = np.unique(self._first_copy[ids], return_inverse=True)
        products: npt.NDArray[np.float64] = self.train[ids].astype(np.float64)
        products *= query
        values: npt.NDArray[np.float64] = products.sum(axis=1)
        return values[inverse]


def _nobody(m: int, k: int) -> Neighbours:
    return Neighbours(np.full((m, k), -1, np.int64), np.full((m, k), -np.inf, np.float32))


def _search(train: _Floats, test: _Floats, k: int) -> tuple[_Floats, _Indices]:
    index = faiss.IndexFlatIP(train.shape[1])
    index.add(train)
    similarity, found = index.search(test, min(k, len(train)))
    return similarity, found
