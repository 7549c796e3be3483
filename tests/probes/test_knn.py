"""The kNN probe: scikit-learn's neighbours, all k from one search, ties and groups handled exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from cytobench.errors import DataError, UsageError
from cytobench.probes.knn import knn_probabilities
from tests.probes.conftest import make_table

KS = (1, 5, 20)
BOTH = ("uniform", "similarity")


def unit(features, centre):
    shifted = features.astype(np.float64) - centre
    return shifted / np.maximum(np.linalg.norm(shifted, axis=1, keepdims=True), 1e-300)


def by_hand(train, labels, test, n_classes, k, how, train_groups=None, test_groups=None):
    """Sort every pair in float64: the definition, without any speed."""
    centre = train.mean(0, dtype=np.float64)
    similarity = unit(test, centre) @ unit(train, centre).T
    out = np.zeros((len(test), n_classes))
    for row, values in enumerate(similarity):
        allowed = np.arange(len(train))
        if train_groups is not None:
            allowed = allowed[train_groups != test_groups[row]]
        best = allowed[np.argsort(-values[allowed].round(9), kind="stable")][:k]
        weights = np.ones(len(best)) if how == "uniform" else np.exp(values[best] / 0.07)
        np.add.at(out[row], labels[best], weights)
    frequencies = np.bincount(labels, minlength=n_classes) / len(labels)
    total = out.sum(1, keepdims=True)
    return np.where(total > 0, out / np.where(total > 0, total, 1), frequencies)


@pytest.mark.parametrize("k", KS)
def test_equals_scikit_learn(table, k):
    features, labels, masks = table(n=300)
    train, test = features[masks[0]], features[~masks[0]]
    centre = train.mean(0, dtype=np.float64)
    found = knn_probabilities(train, labels[masks[0]], test, n_classes=4, ks=KS, weighting=BOTH)
    for column, weights in enumerate(("uniform", lambda distance: np.exp((1 - distance**2 / 2) / 0.07))):
        model = KNeighborsClassifier(k, weights=weights).fit(unit(train, centre), labels[masks[0]])
        expected = model.predict_proba(unit(test, centre))
        np.testing.assert_allclose(found[KS.index(k), column], expected, atol=1e-5)


def test_k_beyond_the_training_rows_uses_them_all(table):
    features, labels, _ = table(n=30)
    found = knn_probabilities(
        features[:10], labels[:10], features[10:], n_classes=4, ks=[500, 10], weighting=BOTH
    )
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0, 0], [np.bincount(labels[:10], minlength=4) / 10] * 20)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), n_groups=st.sampled_from([2, 5, 40]))
def test_own_group_is_ignored_however_large(seed, n_groups):
    features, labels, masks = make_table(n=120, d=6, seed=seed)
    groups = np.minimum(np.random.default_rng(seed).geometric(1 / n_groups, len(labels)), n_groups)
    train = masks[0]
    arguments = (features[train], labels[train], features[~train])
    found = knn_probabilities(
        *arguments,
        n_classes=4,
        ks=[3, 15, 200],
        weighting=BOTH,
        train_groups=groups[train],
        test_groups=groups[~train],
    )
    for i, k in enumerate([3, 15, 200]):
        for j, how in enumerate(BOTH):
            expected = by_hand(*arguments, 4, k, how, groups[train], groups[~train])
            np.testing.assert_allclose(found[i, j], expected, atol=1e-5)


def test_row_whose_group_is_all_there_is_gets_the_class_frequencies(table):
    features, labels, _ = table(n=30)
    found = knn_probabilities(
        features, labels, features[:2], n_classes=4, ks=[3], weighting=BOTH,
        train_groups=np.full(30, "a"), test_groups=np.array(["a", "b"]),
    )  # fmt: skip
    np.testing.assert_allclose(found[0, 0, 0], np.bincount(labels, minlength=4) / 30)
    assert not np.allclose(found[0, 0, 1], found[0, 0, 0])


def test_groups_without_overlap_change_nothing(table):
    features, labels, masks = table()
    train = masks[0]
    arguments = (features[train], labels[train], features[~train])
    plain = knn_probabilities(*arguments, n_classes=4, ks=KS, weighting=BOTH)
    grouped = knn_probabilities(
        *arguments, n_classes=4, ks=KS, weighting=BOTH,
        train_groups=np.arange(train.sum()), test_groups=-1 - np.arange((~train).sum()),
    )  # fmt: skip
    np.testing.assert_array_equal(plain, grouped)


@pytest.mark.parametrize("copies", [2, 400])
def test_equal_neighbours_are_ranked_by_index(table, copies):
    features, _, _ = table(n=40, d=24)
    train = np.tile(features, (copies, 1))
    labels = np.repeat(np.arange(copies) % 4, len(features))
    for k in (1, 2, 5):
        found = knn_probabilities(train, labels, features, n_classes=4, ks=[k, 7], weighting=["uniform"])
        if k <= copies:  # the k copies with the lowest indices are exactly the first k blocks
            expected = np.bincount(np.arange(k) % 4, minlength=4) / k
            np.testing.assert_allclose(found[0, 0], np.tile(expected, (len(features), 1)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_order_of_training_rows_does_not_matter(seed):
    features, labels, masks = make_table(n=90, d=6, seed=seed)
    train, test = features[masks[0]], features[~masks[0]]
    order = np.random.default_rng(seed).permutation(len(train))
    arguments = {"n_classes": 4, "ks": KS, "weighting": BOTH}
    plain = knn_probabilities(train, labels[masks[0]], test, **arguments)
    shuffled = knn_probabilities(train[order], labels[masks[0]][order], test, **arguments)
    np.testing.assert_allclose(plain, shuffled, atol=1e-4)


def test_rows_without_a_direction_do_not_give_nan(table):
    features, labels, _ = table(n=50)
    flat = np.full((3, features.shape[1]), 2.5, np.float32)
    centre = np.float32(features.mean(0, dtype=np.float64))[None]
    for train, test in ((features, centre), (np.repeat(flat, 17, axis=0)[:50], flat)):
        found = knn_probabilities(train, labels, test, n_classes=4, ks=[1, 4], weighting=BOTH)
        np.testing.assert_allclose(found.sum(-1), 1.0)
        # no neighbour is nearer than another, so the first ones count
        np.testing.assert_array_equal(found[1, 0], [np.bincount(labels[:4], minlength=4) / 4] * len(test))


def test_one_test_row_and_one_training_row():
    found = knn_probabilities(
        np.ones((1, 3), np.float32),
        np.array([1]),
        np.zeros((1, 3), np.float32),
        n_classes=2,
        ks=[20],
        weighting=BOTH,
    )
    np.testing.assert_array_equal(found, np.tile([0.0, 1.0], (1, 2, 1, 1)))


def test_bad_input_is_one_sentence(table):
    features, labels, _ = table(n=20)
    good = {"n_classes": 4, "ks": [3], "weighting": ["uniform"]}
    with pytest.raises(UsageError, match="at least 1"):
        knn_probabilities(features, labels, features, **{**good, "ks": [0]})
    with pytest.raises(UsageError, match="not 'distance'"):
        knn_probabilities(features, labels, features, **{**good, "weighting": ["distance"]})
    with pytest.raises(UsageError, match="or of neither"):
        knn_probabilities(features, labels, features, **good, train_groups=labels)
    with pytest.raises(DataError, match="test features holds NaN"):
        knn_probabilities(features, labels, np.full_like(features, np.nan), **good)
