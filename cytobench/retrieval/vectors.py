"""Nearest rows by cosine similarity: exact up to a million rows, an inverted file beyond.

The rows are centred on the collection's mean and brought to unit length, as the kNN and retrieval probes see
them. Where the backbone's card says `standardise` they are also scaled by their deviations, as those probes
do not: features of many units (handcrafted ones) mostly find better neighbours so. The centring belongs to
the index.

faiss ranks in float32; wherever that leaves an order open, similarities are computed again in float64 and
equal ones ranked by row, so that the order never depends on threads or block sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError
from cytobench.progress import Reporter, SilentReporter

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

EXACT_UP_TO = 1_000_000
"""Rows up to which every one is compared with."""
RECALL_AT = 10

_LISTS, _TRAIN_ROWS, _TRAIN_ROUNDS = 1024, 65_536, 8
_RECALL, _RECALL_QUERIES = 0.98, 256
_RESOLUTION = 1e-6  # float32 similarities of unit vectors closer than this may be in the wrong order
_SPARE = 8  # proposals beyond k, so that ties at the end are seen
_DROPPED = 256  # more rows than these are left out by the search itself, fewer after it
_ON_GPU = 2048  # the most neighbours that faiss proposes on a GPU


@dataclass(frozen=True)
class Centring:
    """What rows go through before they are compared: float32 [d] each, (row - centre) * scale."""

    centre: Floats
    scale: Floats

    def directions(self, features: npt.NDArray[Any]) -> Floats:
        """Return features [m, d] as rows of unit length, float32 [m, d]; a zero row stays zero."""
        rows = np.subtract(features, self.centre, dtype=np.float32)
        rows *= self.scale
        rows = np.ascontiguousarray(rows)
        faiss.normalize_L2(rows)
        return rows


def centring_of(features: Floats, *, standardise: bool) -> Centring:
    """Return the centring of features [n, d]; with `standardise` columns that do not vary become zero."""
    centre = features.mean(0, dtype=np.float64).astype(np.float32)
    scale = np.ones(len(centre), np.float32)
    if standardise:
        spread = features.std(0, dtype=np.float64)
        varies = spread > np.finfo(np.float32).eps * np.abs(centre)
        scale = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0).astype(np.float32)
    return Centring(centre, scale)


@dataclass(frozen=True)
class Vectors:
    """Unit rows under faiss; `lists`: how many lists of an inverted file a search reads (0: exact).

    `recall`: recall@10 on rows of the collection itself, themselves left out, when it was built (exact: 1).
    """

    searched: Any
    lists: int = 0
    recall: float = 1.0

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.searched.ntotal)

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.searched.d)

    def rows(self, at: Rows) -> Floats:
        """Return the stored rows at positions [m]: float32 [m, d]."""
        found: Floats = self.searched.reconstruct_batch(np.ascontiguousarray(at, np.int64))
        return found

    def search(
        self, queries: Floats, k: int, *, without: Sequence[Rows] | None = None
    ) -> tuple[Rows, Floats]:
        """Return the k most similar rows of each query and their cosine similarities.

        queries: float32 [m, d], of unit length; without: per query, rows that must not be found. Returns
        int64 [m, k] and float32 [m, k]; -1 and -inf where fewer are left.
        """
        banned = list(without) if without is not None else [np.empty(0, np.int64)] * len(queries)
        rows = np.full((len(queries), k), -1, np.int64)
        similarity = np.full((len(queries), k), -np.inf, np.float32)
        many = np.array([len(ban) > _DROPPED for ban in banned], bool)
        batches = [np.flatnonzero(~many), *np.flatnonzero(many)[:, None]]
        for batch in (batch for batch in batches if len(batch)):
            selected = banned[batch[0]] if many[batch[0]] else None
            spare = 0 if selected is not None else max(len(banned[at]) for at in batch)
            proposed = self._propose(queries[batch], k + spare + _SPARE, selected)
            for at, its_rows, its_values in zip(batch, *proposed, strict=True):
                found, values = self._settled(queries[at], k, banned[at], (its_rows, its_values))
                rows[at, : len(found)], similarity[at, : len(found)] = found, values
        return rows, similarity

    def _settled(
        self, query: Floats, k: int, banned: Rows, proposed: tuple[Rows, Floats]
    ) -> tuple[Rows, npt.NDArray[Any]]:
        """Return the k nearest of what faiss proposed, asking for more while ties reach beyond it."""
        while True:
            rows, rough = _allowed(proposed, banned)
            exhausted = len(proposed[0]) >= len(self) or (proposed[0] < 0).any()
            if exhausted or (len(rough) > k and rough[k - 1] - rough[-1] > _RESOLUTION):
                break
            selected = banned if len(banned) > _DROPPED else None
            more = self._propose(query[None], 4 * len(proposed[0]), selected)
            proposed = more[0][0], more[1][0]
        if _apart(rough[: k + 1]):
            return rows[:k], rough[:k]
        values = (self.rows(rows).astype(np.float64) * query).sum(1)
        order = np.lexsort((rows, -values))[:k]
        return rows[order], values[order]

    def _propose(self, queries: Floats, wanted: int, banned: Rows | None) -> tuple[Rows, Floats]:
        """Return faiss's nearest rows [m, w] and their similarities, -1 where there are none."""
        wanted = min(wanted, len(self))
        queries = np.ascontiguousarray(queries)
        if banned is None and self._gpu is not None and wanted <= _ON_GPU:
            similarity, rows = self._gpu.search(queries, wanted)
        elif banned is None:
            similarity, rows = self.searched.search(queries, wanted)
        else:
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.ascontiguousarray(banned, np.int64)))
            chosen = faiss.SearchParametersIVF if self.lists else faiss.SearchParameters
            options = {"sel": selector} | ({"nprobe": self.lists} if self.lists else {})
            similarity, rows = self.searched.search(queries, wanted, params=chosen(**options))
        return rows, similarity

    @cached_property
    def _gpu(self) -> Any:
        """The same index on the GPUs that faiss sees, or None."""
        if not (hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus()):
            return None
        return faiss.index_cpu_to_all_gpus(self.searched)


def build(rows: Floats, *, reporter: Reporter | None = None, exact_up_to: int = EXACT_UP_TO) -> Vectors:
    """Return an index over unit rows, float32 [n, d]: exact up to `exact_up_to`, else an inverted file."""
    if not len(rows):
        raise DataError("There is no row to look anything up in; the collection is empty.")
    if len(rows) <= exact_up_to:
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        return Vectors(index)
    return _inverted(rows, reporter or SilentReporter())


def extended(vectors: Vectors, rows: Floats) -> Vectors:
    """Return the index with more unit rows [m, d] at its end; nothing is trained anew."""
    vectors.searched.add(np.ascontiguousarray(rows))
    return Vectors(vectors.searched, vectors.lists, vectors.recall)


def opened(searched: Any, lists: int, recall: float) -> Vectors:
    """Return an index that faiss has read from a file, set up as it was built."""
    if lists:
        _tuned(searched, lists)
    return Vectors(searched, lists, recall)


def _tuned(index: Any, lists: int) -> None:
    index.nprobe = lists
    index.parallel_mode = 1  # a single query is spread over the cores by lists


def _allowed(proposed: tuple[Rows, Floats], banned: Rows) -> tuple[Rows, Floats]:
    rows, rough = proposed
    kept = rows >= 0
    if len(banned):
        kept &= ~np.isin(rows, banned)
    return rows[kept], rough[kept]


def _apart(similarities: Floats) -> bool:
    """Whether float32 settles the order of these falling similarities."""
    return len(similarities) < 2 or bool((similarities[:-1] - similarities[1:] > _RESOLUTION).all())


def _inverted(rows: Floats, reporter: Reporter) -> Vectors:
    """Return an inverted file that reads as few lists as find enough, measured on rows of its own."""
    dim, rng = rows.shape[1], np.random.default_rng(0)
    lists = int(min(_LISTS, max(1, len(rows) // 39)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = _TRAIN_ROUNDS
    with reporter.task("building the inverted file", 3) as step:
        index.train(rows[np.sort(rng.choice(len(rows), min(len(rows), _TRAIN_ROWS), replace=False))])
        step.advance(1, "adding rows")
        index.add(rows)
        index.make_direct_map()
        step.advance(1, "measuring recall")
        read, recall = _enough_lists(index, rows, rng, lists)
        step.advance(1)
    _tuned(index, read)
    return Vectors(index, read, recall)


def _enough_lists(index: Any, rows: Floats, rng: np.random.Generator, lists: int) -> tuple[int, float]:
    """Return the smallest power of two of lists with recall@10 of 0.98, and the recall there."""
    chosen = rng.choice(len(rows), min(len(rows), _RECALL_QUERIES), replace=False)
    truth = faiss.knn(rows[chosen], rows, RECALL_AT + 1, metric=faiss.METRIC_INNER_PRODUCT)[1]
    read = 1
    while True:
        index.nprobe = read
        found = index.search(rows[chosen], RECALL_AT + 1)[1]
        recall = _recall(truth, found, chosen)
        if recall >= _RECALL or read >= lists:
            return read, recall
        read = min(lists, read * 2)


def _recall(truth: Rows, found: Rows, itself: Rows) -> float:
    """Return the share of true neighbours, the query itself left out, that were found."""
    shares = []
    for right, here, own in zip(truth.tolist(), found.tolist(), itself.tolist(), strict=True):
        others = [row for row in right if row != own][:RECALL_AT]
        shares.append(len(set(others) & set(here)) / max(len(others), 1))
    return float(np.mean(shares))
