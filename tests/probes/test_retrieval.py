"""The retrieval probe: average precision by hand and by brute force, votes with ties, chance, hubness."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skew
from sklearn.metrics import average_precision_score

from cytobench.errors import DataError, ProtocolError
from cytobench.probes.hubness import hubness_of, occurrences
from cytobench.probes.retrieval import (
    Ranked,
    average_precision_at,
    chance_by_class,
    names_of,
    precision_at,
    ranked,
    scores_by_class,
    vote_shares,
)
from tests.probes.conftest import make_table

KS = (1, 5, 10)


def unit(features, centre):
    shifted = features.astype(np.float64) - centre
    return shifted / np.maximum(np.linalg.norm(shifted, axis=1, keepdims=True), 1e-300)


def by_hand(gallery, labels, query_labels, queries, k, gallery_groups=None, query_groups=None):
    """Score every query with its label in plain loops: average precision, precision, and the right vote."""
    centre = gallery.mean(0, dtype=np.float64)
    similarity = unit(queries, centre) @ unit(gallery, centre).T
    out = []
    for row, values in enumerate(similarity):
        allowed = np.arange(len(gallery))
        if gallery_groups is not None:
            allowed = allowed[gallery_groups != query_groups[row]]
        best = allowed[np.argsort(-values[allowed].round(9), kind="stable")][:k]
        hits, total = 0, 0.0
        for place, one in enumerate(best, start=1):
            if labels[one] == query_labels[row]:
                hits += 1
                total += hits / place
        relevant = sum(labels[allowed] == query_labels[row])
        counts = {}
        for place, one in enumerate(best):
            votes, alike, first = counts.get(labels[one], (0, 0.0, -place))
            counts[labels[one]] = (votes + 1, alike + values[one], first)
        winner = max(counts, key=counts.__getitem__) if counts else None
        out.append(
            (total / min(k, relevant) if relevant else 0.0, hits / k, float(winner == query_labels[row]))
        )
    return np.array(out).T


def of_label(scores, labels):
    return {name: values[np.arange(len(labels)), labels] for name, values in scores.items()}


def test_a_case_worked_out_on_paper():
    # hit, miss, hit, hit, miss: precisions 1, 2/3, 3/4 at the hits
    hits = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)
    three = np.array([3, 3, 3])
    assert average_precision_at(hits, three, 5) == pytest.approx([(1 + 2 / 3 + 3 / 4) / 3, 1 / 5 / 3, 0.0])
    # many more could have been found: the five places are the measure
    many = np.array([400, 400, 400])
    assert average_precision_at(hits, many, 5) == pytest.approx([(1 + 2 / 3 + 3 / 4) / 5, 1 / 5 / 5, 0.0])
    assert average_precision_at(hits, many, 3) == pytest.approx([(1 + 2 / 3) / 3, 0.0, 0.0])
    assert average_precision_at(hits, np.array([1, 1, 0]), 1) == pytest.approx([1.0, 0.0, 0.0])
    assert precision_at(hits, 5) == pytest.approx([3 / 5, 1 / 5, 0.0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), n_groups=st.sampled_from([0, 3, 30]))
def test_equals_brute_force(seed, n_groups):
    features, labels, masks = make_table(n=150, d=6, seed=seed)
    train = masks[0]
    groups = np.random.default_rng(seed).integers(0, n_groups, len(labels)) if n_groups else None
    both = (groups[train], groups[~train]) if n_groups else (None, None)
    arguments = (features[train], labels[train])
    found = ranked(
        *arguments, features[~train], n_classes=4, k=10, gallery_groups=both[0], query_groups=both[1]
    )
    scores = of_label(scores_by_class(found, KS), labels[~train])
    for k in KS:
        expected = by_hand(*arguments, labels[~train], features[~train], k, *both)
        np.testing.assert_allclose(scores[f"precision_at_{k}"], expected[1], atol=1e-12)
        if k > 1:
            np.testing.assert_allclose(scores[f"map_at_{k}"], expected[0], atol=1e-12)
            np.testing.assert_array_equal(scores[f"majority_vote_at_{k}"], expected[2])


def test_over_the_whole_gallery_it_is_scikit_learns_average_precision():
    features, labels, masks = make_table(n=120, overlap=2.0)
    gallery, queries = features[masks[0]], features[~masks[0]]
    found = ranked(gallery, labels[masks[0]], queries, n_classes=4, k=len(gallery))
    scores = of_label(scores_by_class(found, [len(gallery)]), labels[~masks[0]])[f"map_at_{len(gallery)}"]
    centre = gallery.mean(0, dtype=np.float64)
    similarity = unit(queries, centre) @ unit(gallery, centre).T
    expected = [
        average_precision_score(labels[masks[0]] == label, row)
        for label, row in zip(labels[~masks[0]], similarity, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_order_of_the_gallery_does_not_matter(seed):
    features, labels, masks = make_table(n=90, d=6, seed=seed)
    gallery, own, queries = features[masks[0]], labels[masks[0]], features[~masks[0]]
    order = np.random.default_rng(seed).permutation(len(own))
    plain, mixed = (
        scores_by_class(ranked(gallery[rows], own[rows], queries, n_classes=4, k=10), KS)
        for rows in (np.arange(len(own)), order)
    )
    for name in names_of(KS):
        np.testing.assert_allclose(plain[name], mixed[name], atol=1e-12)


def test_classes_far_apart_are_found_perfectly_however_few_there_are():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 40, 3])  # three of the last class can be found, not ten
    gallery = (10 * np.eye(3)[labels] + rng.normal(0, 0.1, (83, 3))).astype(np.float32)
    scores = of_label(scores_by_class(ranked(gallery, labels, gallery, n_classes=3, k=10), KS), labels)
    for k in (5, 10):
        np.testing.assert_allclose(scores[f"map_at_{k}"], 1.0)
    np.testing.assert_allclose(scores["precision_at_10"], np.where(labels == 2, 0.3, 1.0))
    np.testing.assert_allclose(scores["precision_at_1"], 1.0)


def test_chance_is_the_mean_over_all_orders_of_a_gallery():
    labels = np.array([0, 0, 0, 1, 1, 2])
    orders = np.array(list(permutations(range(6))))
    chance = chance_by_class(labels, 4, (1, 2, 5, 10))
    for code, k in ((code, k) for code in range(4) for k in (1, 2, 5, 10)):
        hits = labels[orders] == code
        relevant = np.full(len(orders), (labels == code).sum())
        assert chance[f"precision_at_{k}"][code] == pytest.approx(precision_at(hits, k).mean())
        if k > 1:
            expected = average_precision_at(hits, relevant, k).mean()
            assert chance[f"map_at_{k}"][code] == pytest.approx(expected)
    np.testing.assert_array_equal(chance["majority_vote_at_5"], [1, 0, 0, 0])


def test_shuffled_labels_score_as_chance_does():
    features, labels, _ = make_table(n=3000, d=8)
    labels = np.random.default_rng(1).permutation(labels)
    found = ranked(features[:2000], labels[:2000], features[2000:], n_classes=4, k=10)
    scores = of_label(scores_by_class(found, KS), labels[2000:])
    chance = chance_by_class(labels[:2000], 4, KS)
    for name in ("map_at_5", "map_at_10", "precision_at_1", "precision_at_10"):
        error = scores[name].std() / np.sqrt(1000)
        assert scores[name].mean() == pytest.approx(chance[name][labels[2000:]].mean(), abs=4 * error)


def ballot(classes, similarity, n_classes=3):
    near = np.array([classes])
    relevant = np.full((1, n_classes), 9)
    return Ranked(near, np.array([similarity], np.float32), relevant)


@pytest.mark.parametrize(
    ("classes", "similarity", "winner"),
    [
        ([2, 1, 1, 0], [0.9, 0.8, 0.7, 0.6], 1),  # more votes
        ([2, 1, 1, 2], [0.9, 0.8, 0.7, 0.1], 1),  # equal votes: more alike together
        ([2, 0, 0, 2], [0.8, 0.7, 0.6, 0.5], 2),  # equal votes, equally alike: the nearer one
    ],
)
def test_ties_of_a_vote_go_to_the_more_alike_then_to_the_nearer(classes, similarity, winner):
    shares = vote_shares(ballot(classes, similarity), 4)[0]
    assert shares.argmax() == winner
    np.testing.assert_allclose(shares, np.bincount(classes, minlength=3) / 4, atol=1e-8)
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.sort(shares)[-1] > np.sort(shares)[-2]


def test_a_vote_without_a_tie_is_the_shares_themselves():
    shares = vote_shares(ballot([1, 1, 0, 2, 1], [0.9] * 5), 5)[0]
    np.testing.assert_array_equal(shares, [1 / 5, 3 / 5, 1 / 5])


def test_a_query_without_neighbours_gets_class_frequencies_and_finds_nothing():
    features, labels, _ = make_table(n=30)
    found = ranked(
        features, labels, features[:2], n_classes=4, k=5,
        gallery_groups=np.zeros(30, np.int64), query_groups=np.array([0, 1]),
    )  # fmt: skip
    assert (found.relevant[0] == 0).all()
    np.testing.assert_array_equal(found.relevant[1], np.bincount(labels, minlength=4))
    np.testing.assert_allclose(vote_shares(found, 5)[0], np.bincount(labels, minlength=4) / 30)
    scores = scores_by_class(found, (1, 5))
    assert (scores["map_at_5"][0] == 0).all()
    assert scores["map_at_5"][1].any()


def test_a_gallery_smaller_than_k_is_ranked_to_its_end():
    found = ranked(
        np.eye(3, dtype=np.float32), np.array([0, 0, 1]), np.eye(3, dtype=np.float32), n_classes=2, k=10
    )
    assert (found.classes[:, 3:] == -1).all()
    scores = scores_by_class(found, (1, 10))
    np.testing.assert_allclose(scores["map_at_10"][2], [(1 / 2 + 2 / 3) / 2, 1.0])
    np.testing.assert_allclose(scores["precision_at_10"], [[0.2, 0.1]] * 3)


def test_copies_of_a_cell_never_make_two_runs_differ():
    features, _, _ = make_table(n=40, d=24)
    gallery = np.tile(features, (12, 1))
    labels = np.repeat(np.arange(12) % 4, len(features))
    whole = ranked(gallery, labels, features, n_classes=4, k=10)
    alone = [ranked(gallery, labels, features[i : i + 1], n_classes=4, k=10) for i in range(len(features))]
    np.testing.assert_array_equal(whole.classes, np.concatenate([one.classes for one in alone]))
    np.testing.assert_array_equal(whole.classes[:, :4], [[0, 1, 2, 3]] * len(features))


def test_bad_input_is_one_sentence():
    features, labels, _ = make_table(n=20)
    with pytest.raises(DataError, match="test features holds NaN"):
        ranked(features, labels, np.full_like(features, np.nan), n_classes=4, k=3)
    with pytest.raises(ProtocolError, match="class index 3"):
        ranked(features, labels, features, n_classes=3, k=3)
    with pytest.raises(DataError, match="training features"):
        occurrences(features[:5], np.arange(6), 3)


@pytest.mark.parametrize("sizes", ["single", "small", "middle", "large"])
def test_occurrences_are_counted(sizes):
    features, _, _ = make_table(n=260, d=6)
    parts = {"single": 260, "small": 60, "middle": 5, "large": 2}[sizes]
    groups = np.arange(260) % parts
    if sizes == "middle":
        groups[:30] = 100 + np.arange(30)
    towards = unit(features, features.mean(0, dtype=np.float64))
    similarity = np.where(groups[:, None] == groups[None], -np.inf, towards @ towards.T)
    expected = np.bincount(np.argsort(-similarity, axis=1)[:, :7].ravel(), minlength=260)
    found = occurrences(features, groups, 7)
    np.testing.assert_array_equal(found, expected)
    assert found.sum() == 7 * 260
    hubs = hubness_of(found)
    assert hubs.skewness == pytest.approx(skew(expected))
    assert hubs.antihubs == pytest.approx((expected == 0).mean())


def test_a_cell_that_is_next_to_all_is_a_hub_and_even_lists_have_none():
    rng = np.random.default_rng(0)
    rays = rng.standard_normal((200, 300)).astype(np.float32)
    rays -= rays.mean(0)
    even = hubness_of(occurrences(rays, np.arange(200), 5))
    drawn_together = rays + 4 * rays[:3].sum(0) * (np.arange(200) < 100)[:, None]
    drawn = hubness_of(occurrences(drawn_together, np.arange(200), 5))
    assert drawn.skewness > even.skewness + 1
    assert drawn.antihubs > even.antihubs
    circle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([np.cos(circle), np.sin(circle)], axis=1).astype(np.float32)
    counts = occurrences(ring, np.arange(40), 2)
    np.testing.assert_array_equal(counts, 2)  # each has the one before and the one after it
    assert np.isnan(hubness_of(counts).skewness)
    assert hubness_of(counts).antihubs == 0
