"""Nearest rows: equal to brute force, ties by row, rows left out, and what an approximate index finds."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytobench.errors import DataError
from cytobench.retrieval.vectors import Vectors, build, centring_of, extended

Floats = npt.NDArray[np.float32]


def unit(rng: np.random.Generator, n: int, d: int) -> Floats:
    rows = rng.normal(size=(n, d)).astype(np.float32)
    faiss.normalize_L2(rows)
    return rows


def clustered(n: int, d: int, clusters: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, d))
    rows = (centres[rng.integers(clusters, size=n)] + 0.6 * rng.normal(size=(n, d))).astype(np.float32)
    faiss.normalize_L2(rows)
    return rows


def brute_force(rows: Floats, query: Floats, k: int, banned: npt.NDArray[np.int64]) -> list[int]:
    """Rank all rows in float64; equal similarities by row."""
    values = (rows.astype(np.float64) * query.astype(np.float64)).sum(1)
    allowed = np.setdiff1d(np.arange(len(rows)), banned)
    return allowed[np.lexsort((allowed, -values[allowed]))][:k].tolist()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 400),
    d=st.sampled_from([1, 2, 3, 16]),
    k=st.integers(1, 60),
    copies=st.booleans(),
)
def test_an_exact_search_equals_brute_force(seed: int, n: int, d: int, k: int, copies: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, n, d)
    if copies:  # many rows at exactly the same similarity
        rows = rows[rng.integers(0, max(1, n // 8), size=n)]
    queries = np.concatenate([rows[rng.integers(n, size=3)], unit(rng, 3, d)])
    banned = [rng.choice(n, size=rng.integers(0, n), replace=False) for _ in queries]
    found, similarity = build(rows).search(queries, k, without=banned)
    for at, query in enumerate(queries):
        expected = brute_force(rows, query, k, banned[at])
        assert found[at][found[at] >= 0].tolist() == expected
        true = (rows[expected].astype(np.float64) * query).sum(1)
        np.testing.assert_allclose(similarity[at][: len(expected)], true, atol=1e-6)
        assert (similarity[at][len(expected) :] == -np.inf).all()


@pytest.mark.parametrize("banned", [3, 900])
def test_rows_left_out_are_never_found(banned: int) -> None:
    rows = clustered(2000, 24, 12)
    nearest = np.argsort(-(rows @ rows[0]))[:banned]
    found, _ = build(rows).search(rows[:1], 50, without=[nearest])
    assert found[0].tolist() == brute_force(rows, rows[0], 50, nearest)


def test_asking_for_more_than_there_is_gives_all_there_is() -> None:
    rows = unit(np.random.default_rng(0), 5, 8)
    found, similarity = build(rows).search(rows[:1], 9)
    assert sorted(found[0][:5].tolist()) == [0, 1, 2, 3, 4]
    assert (found[0][5:] == -1).all()
    assert np.isneginf(similarity[0][5:]).all()


def recall(vectors: Vectors, rows: Floats, queries: Floats, k: int = 10) -> float:
    truth = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found, _ = vectors.search(queries, k)
    hits = [len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True)]
    return float(np.mean(hits)) / k


def test_an_inverted_file_finds_what_it_says_on_cells_it_has_not_measured() -> None:
    rows, queries = clustered(30_000, 32, 200), clustered(300, 32, 200, seed=0)
    vectors = build(rows, exact_up_to=10_000)
    assert vectors.lists > 0
    assert vectors.recall >= 0.95
    assert recall(vectors, rows, queries) >= 0.95


def test_an_inverted_file_leaves_rows_out_and_grows() -> None:
    rows = clustered(12_000, 16, 60)
    vectors = build(rows[:11_000], exact_up_to=1000)
    own = np.flatnonzero(rows[:11_000] @ rows[0] > 0.3)
    assert len(own) > 256
    found, _ = vectors.search(rows[:1], 20, without=[own])
    assert not set(found[0].tolist()) & set(own.tolist())
    larger = extended(vectors, rows[11_000:])
    assert len(larger) == 12_000
    found, similarity = larger.search(rows[11_500:11_501], 1)
    assert found[0, 0] == 11_500
    assert similarity[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_a_grown_exact_index_equals_one_built_at_once() -> None:
    rows = clustered(900, 16, 9)
    grown = extended(build(rows[:500]), rows[500:])
    for mine, whole in zip(grown.search(rows[:40], 15), build(rows).search(rows[:40], 15), strict=True):
        np.testing.assert_array_equal(mine, whole)


def test_standardising_gives_every_column_its_say_and_drops_constant_ones() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 4)) * [1.0, 1000.0, 0.0, 1.0] + [0, 5e4, 7.0, 0]).astype(np.float32)
    centring = centring_of(features, standardise=True)
    spread = ((features - centring.centre) * centring.scale).std(0)
    np.testing.assert_allclose(spread, [1.0, 1.0, 0.0, 1.0], atol=1e-3)
    assert (centring_of(features, standardise=False).scale == 1).all()


def test_a_cell_at_the_very_centre_is_near_to_nothing_and_no_nan() -> None:
    features = np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]], np.float32)
    rows = centring_of(features, standardise=False).directions(features)
    found, similarity = build(rows).search(rows[2:], 3)
    assert found[0].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(similarity[0], 0.0)


def test_nothing_cannot_be_searched() -> None:
    with pytest.raises(DataError, match="empty"):
        build(np.empty((0, 4), np.float32))


def test_where_faiss_sees_a_gpu_it_proposes_and_the_order_is_settled_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = clustered(500, 16, 5)
    expected = build(rows).search(rows[:20], 7)
    asked = []

    class OnGpu:
        """faiss's own answers, counted: no device is needed to see who is asked."""

        def __init__(self, index: faiss.Index) -> None:
            self._index = index

        def search(self, queries: Floats, wanted: int) -> object:
            asked.append(len(queries))
            return self._index.search(queries, wanted)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", OnGpu, raising=False)
    vectors = build(rows)
    for mine, known in zip(vectors.search(rows[:20], 7), expected, strict=True):
        np.testing.assert_array_equal(mine, known)
    assert asked == [20]
    vectors.search(rows[:1], 7, without=[np.arange(300)])  # a GPU cannot leave rows out itself
    assert asked == [20]
