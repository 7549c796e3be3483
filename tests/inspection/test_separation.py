"""Figures of a feature space agree with counting by hand, and blame a backbone only for what it does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import silhouette_samples

from cytobench.inspection.separation import (
    Mixing,
    mixing,
    mixing_reading,
    neighbour_weights,
    silhouette_reading,
    silhouettes,
)
from cytobench.probes.neighbours import directions

Table = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def _unit(rows: npt.NDArray[np.float64]) -> Table:
    table = rows.astype(np.float32)
    return directions(table, table)[0]


def _planted(apart: float, *, n: int = 240, batches: int = 4) -> tuple[Table, Ints, Ints]:
    """Two classes in four batches; a batch moves all its cells by `apart` along an axis of its own."""
    rng = np.random.default_rng(1)
    classes, batch = np.arange(n) % 2, (np.arange(n) // 2) % batches
    rows = rng.normal(size=(n, 12))
    rows[np.arange(n), batch] += apart
    rows[:, 10] += 4.0 * classes
    return _unit(rows), classes, batch


def _mixing(unit: Table, classes: Ints, batches: Ints, **options: int) -> Mixing:
    found = mixing(unit, classes, batches, **options)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(4))
def test_silhouettes_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 5, 90)
    codes[0] = 77  # alone in its cluster
    unit = _unit(rng.normal(size=(90, 7)) + codes[:, None] % 3)
    expected = silhouette_samples(unit.astype(np.float64), codes, metric="cosine")
    found = silhouettes(unit, codes)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_cluster_has_no_silhouette_and_equal_rows_have_zero() -> None:
    assert silhouettes(_unit(np.eye(5)), np.zeros(5, np.int64)) is None
    found = silhouettes(np.zeros((6, 3), np.float32), np.arange(6) % 2)
    assert found is not None
    assert (found == 0).all()


def _by_hand(unit: Table, classes: Ints, batches: Ints, k: int) -> tuple[float, float, float]:
    """Count same-batch neighbours of the same class, cell by cell."""
    rows = []
    for i in range(len(unit)):
        kin = [j for j in range(len(unit)) if j != i and classes[j] == classes[i]]
        n = min(k, len(kin) // 2)
        near = sorted(kin, key=lambda j: -float(unit[i].astype(float) @ unit[j].astype(float)))[:n]
        others = sum(int(batches[j] == batches[i]) for j in kin)
        if others:
            rows.append((np.mean(batches[near] == batches[i]), others / len(kin), min(others, n) / n))
    same, expected, attainable = np.mean(rows, axis=0)
    return float(same), float(expected), float((attainable - same) / (attainable - expected))


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 7, 500])
def test_mixing_is_what_counting_by_hand_gives(apart: float, k: int) -> None:
    unit, classes, batches = _planted(apart, n=80)
    found = _mixing(unit, classes, batches, neighbours=k)
    expected = _by_hand(unit, classes, batches, k)
    assert (found.same, found.expected, found.score) == pytest.approx(expected, abs=1e-9)


def test_batches_that_do_not_matter_are_mixed_as_by_chance() -> None:
    found = _mixing(*_planted(0.0))
    assert found.score == pytest.approx(1.0, abs=0.08)
    assert found.ilisi == pytest.approx(found.ilisi_random, rel=0.05)
    assert mixing_reading(found) == "mixed or nearly so"


def test_batches_wholly_apart_are_seen_as_such() -> None:
    found = _mixing(*_planted(60.0))
    assert found.score == pytest.approx(0.0, abs=1e-6)
    assert found.same == pytest.approx(found.attainable)
    assert found.ilisi < found.ilisi_random / 2
    assert mixing_reading(found) == "apart"


def test_batches_smaller_than_the_neighbourhood_can_still_be_wholly_apart() -> None:
    found = _mixing(*_planted(60.0, n=80, batches=8), neighbours=12)
    assert found.attainable < 1
    assert found.score == pytest.approx(0.0, abs=1e-6)


def test_a_class_that_one_batch_holds_is_not_blamed_on_the_backbone() -> None:
    unit, classes, batches = _planted(0.0)
    alone = _unit(np.concatenate([unit, np.random.default_rng(2).normal(size=(60, 12)) + 20]))
    with_it = _mixing(alone, np.append(classes, [9] * 60), np.append(batches, [9] * 60))
    assert with_it.cells == len(unit)
    assert with_it.score == pytest.approx(1.0, abs=0.1)


def test_nothing_is_said_where_every_class_has_one_batch() -> None:
    unit, classes, _ = _planted(0.0)
    assert mixing(unit, classes, classes) is None
    assert mixing(unit, classes, np.arange(len(unit))) is None  # one cell a batch
    assert mixing_reading(None) == "no class lies in several batches"


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9, 21])
def test_fewer_cells_than_neighbours_still_give_numbers(n: int) -> None:
    rng = np.random.default_rng(n)
    found = mixing(_unit(rng.normal(size=(n, 3))), np.zeros(n, np.int64), np.arange(n) % 2, neighbours=50)
    assert (found is None) == (n < 4)
    assert found is None or np.isfinite(list(vars(found).values())).all()


def test_neither_the_order_of_cells_nor_the_names_of_batches_matter() -> None:
    unit, classes, batches = _planted(1.5)
    order = np.random.default_rng(0).permutation(len(unit))
    renamed = np.array([7, 3, 11, 5])[batches]
    one, other = _mixing(unit, classes, batches), _mixing(unit[order], classes[order], renamed[order])
    assert (one.same, one.score, one.ilisi) == pytest.approx((other.same, other.score, other.ilisi))


def test_weights_have_the_perplexity_that_was_asked_for() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(0, 1, (40, 60)), axis=1)
    weights = neighbour_weights(distances, 20.0)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 20.0, rtol=1e-4)
    assert np.allclose(neighbour_weights(np.zeros((2, 9)), 3.0), 1 / 9)


def test_ilisi_counts_batches() -> None:
    """Even weights: two batches in equal shares count as two."""
    unit = _unit(np.repeat(np.eye(2), 46, axis=0) + np.random.default_rng(0).normal(0, 1e-4, (92, 2)))
    found = _mixing(unit, np.zeros(92, np.int64), np.arange(92) % 2)
    assert 1.9 < found.ilisi <= 2.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "one group only"),
        (-0.2, "interleaved"),
        (0.1, "hardly apart"),
        (0.6, "clearly apart"),
        (0.9, "far apart"),
    ],
)
def test_a_silhouette_is_put_into_words(value: float | None, words: str) -> None:
    assert silhouette_reading(value) == words
