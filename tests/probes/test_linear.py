"""The linear probe: scikit-learn's optimum, for every fold and C, whatever the data look like."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cytobench.errors import DataError, ProtocolError, UsageError
from cytobench.probes import linear, multinomial, newton
from cytobench.probes.linear import default_C, fit_path
from tests.probes.conftest import make_table

CS = (1e-4, 1e-1, 10.0, 1e4)


def reference(features, labels, mask, C, standardise):
    """Fit scikit-learn to a tight optimum: the model, and the features as it sees them."""
    if standardise:
        features = (
            StandardScaler().fit(features[mask].astype(np.float64)).transform(features.astype(np.float64))
        )
    features = features.astype(np.float64)
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=500)
    return model.fit(features[mask], labels[mask]), features


def objective(model, features, labels, C):
    """The sum scikit-learn minimises."""
    chosen = model.predict_proba(features)[np.arange(len(labels)), np.searchsorted(model.classes_, labels)]
    return -C * np.log(chosen).sum() + 0.5 * (model.coef_**2).sum()


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_equals_scikit_learn_at_its_optimum(table, n_classes, standardise):
    features, labels, masks = table(n_classes=n_classes)
    path = fit_path(
        features,
        labels,
        n_classes=n_classes,
        Cs=CS,
        train_masks=masks,
        standardise=standardise,
        tolerance=1e-13,
    )
    assert path.converged.all()
    for fold, mask in enumerate(masks):
        for i, C in enumerate(CS):
            model, seen = reference(features, labels, mask, C, standardise)
            np.testing.assert_allclose(
                path.probabilities(features, fold, i), model.predict_proba(seen), atol=2e-6
            )
            assert path.objective[fold, i] == pytest.approx(
                objective(model, seen[mask], labels[mask], C), rel=1e-9
            )


def test_separable_classes_reach_the_optimum_at_every_c(table):
    features, labels, masks = table(n=120, d=60, overlap=0.3)
    Cs = np.logspace(-6, 5, 12)
    path = fit_path(features, labels, n_classes=4, Cs=Cs, train_masks=masks, standardise=False)
    assert path.converged.all()
    for i, C in enumerate(Cs):
        model, seen = reference(features, labels, masks[0], C, False)
        best = objective(model, seen[masks[0]], labels[masks[0]], C)
        assert path.objective[0, i] <= best * (1 + 1e-6)


def test_stated_gap_is_the_distance_to_the_optimum(table):
    features, labels, masks = table(n=300, d=40)
    arguments = {"n_classes": 4, "Cs": np.logspace(-4, 4, 9), "train_masks": masks, "standardise": False}
    rough = fit_path(features, labels, tolerance=1e-4, **arguments)
    exact = fit_path(features, labels, tolerance=1e-14, **arguments)
    gap = rough.objective - exact.objective
    assert (gap >= -1e-12 * exact.objective).all()
    assert (gap <= 3 * rough.gap + 1e-12 * exact.objective).all()
    assert rough.converged.all()


def test_more_than_float64_can_give_is_reported_as_not_converged(table):
    features, labels, masks = table()
    path = fit_path(
        features, labels, n_classes=4, Cs=[1.0, 1e5], train_masks=masks, standardise=False, tolerance=0.0
    )
    assert not path.converged.any()
    assert np.isfinite(path.weights).all()


def test_held_out_rows_have_no_influence(table):
    features, labels, masks = table()
    other = features.copy()
    other[~masks[0]] += 100.0
    both = [
        fit_path(
            f, labels, n_classes=4, Cs=[1.0], train_masks=masks[:1], standardise=True, tolerance=1e-13
        ).weights
        for f in (features, other)
    ]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize(("n", "d", "most"), [(400, 8, True), (400, 8, False), (60, 90, False)])
def test_each_fold_is_fitted_as_if_alone(table, standardise, n, d, most):
    features, labels, masks = table(n=n, d=d)
    masks = masks if most else ~masks  # training on two thirds or on one third of the rows
    together = fit_path(
        features, labels, n_classes=4, Cs=CS, train_masks=masks, standardise=standardise, tolerance=1e-13
    )
    alone = fit_path(
        features[masks[1]],
        labels[masks[1]],
        n_classes=4,
        Cs=CS[2:3],
        train_masks=np.ones((1, masks[1].sum()), bool),
        standardise=standardise,
        tolerance=1e-13,
    )
    np.testing.assert_allclose(together.weights[1, 2], alone.weights[0, 0], rtol=1e-4, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), n_classes=st.integers(2, 4), standardise=st.booleans())
def test_order_of_rows_does_not_matter(seed, n_classes, standardise):
    features, labels, masks = make_table(n=60, d=6, n_classes=n_classes, folds=2, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    arguments = {"n_classes": n_classes, "Cs": [0.01, 100.0], "standardise": standardise, "tolerance": 1e-12}
    plain = fit_path(features, labels, train_masks=masks, **arguments)
    shuffled = fit_path(features[order], labels[order], train_masks=masks[:, order], **arguments)
    for fold in range(2):
        np.testing.assert_allclose(
            plain.path_probabilities(features, fold), shuffled.path_probabilities(features, fold), atol=1e-5
        )


def test_same_input_gives_identical_bits(table):
    features, labels, masks = table()
    first, second = (
        fit_path(features, labels, n_classes=4, Cs=CS, train_masks=masks, standardise=True) for _ in range(2)
    )
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_order_and_repetition_of_c_do_not_matter(table):
    features, labels, masks = table()
    path = fit_path(features, labels, n_classes=4, Cs=[10.0, 0.1, 10.0], train_masks=masks, standardise=False)
    sorted_path = fit_path(
        features, labels, n_classes=4, Cs=[0.1, 10.0], train_masks=masks, standardise=False
    )
    np.testing.assert_array_equal(path.weights, sorted_path.weights[:, [1, 0, 1]])
    np.testing.assert_array_equal(path.Cs, [10.0, 0.1, 10.0])


@pytest.mark.parametrize("standardise", [False, True])
def test_more_features_than_rows(table, standardise):
    features, labels, masks = table(n=20, d=300, n_classes=2, folds=5)
    path = fit_path(
        features, labels, n_classes=2, Cs=CS, train_masks=masks, standardise=standardise, tolerance=1e-12
    )
    assert path.converged.all()
    for i, C in enumerate(CS):
        model, seen = reference(features, labels, masks[3], C, standardise)
        np.testing.assert_allclose(path.probabilities(features, 3, i), model.predict_proba(seen), atol=1e-4)


@pytest.mark.parametrize("present", [(0, 1, 3), (1, 3)])
def test_class_without_training_rows_gets_probability_zero(table, present):
    features, labels, masks = table()
    masks = masks.copy()
    masks[0] &= np.isin(labels, present)
    path = fit_path(
        features, labels, n_classes=4, Cs=[0.1, 10.0], train_masks=masks, standardise=False, tolerance=1e-12
    )
    model, seen = reference(features, labels, masks[0], 10.0, False)
    expected = np.zeros((len(labels), 4))
    expected[:, list(present)] = model.predict_proba(seen)
    np.testing.assert_allclose(path.probabilities(features, 0, 1), expected, atol=1e-5)
    assert (path.probabilities(features, 1, 1) > 0).all()


def test_one_class_alone_is_certain(table):
    features, labels, _masks = table()
    mask = (labels == 2)[None]
    path = fit_path(features, labels, n_classes=4, Cs=CS, train_masks=mask, standardise=True)
    np.testing.assert_array_equal(path.probabilities(features, 0, 3), np.eye(4)[np.full(len(labels), 2)])
    assert path.converged.all()


@pytest.mark.parametrize("constant", [0.0, 1000.3])
def test_constant_columns_change_nothing(table, constant):
    features, labels, masks = table()
    wider = np.column_stack([features, np.full(len(features), constant, np.float32)])
    wider[~masks[0], -1] += 1.0  # constant where the first fold trains, not elsewhere
    for standardise in (False, True):
        arguments = {"n_classes": 4, "Cs": CS, "standardise": standardise, "tolerance": 1e-13}
        path = fit_path(wider, labels, train_masks=masks[:1], **arguments)
        plain = fit_path(features, labels, train_masks=masks[:1], **arguments)
        np.testing.assert_allclose(
            path.path_probabilities(wider, 0), plain.path_probabilities(features, 0), atol=1e-6
        )
        assert np.abs(path.weights[..., -1]).max() < 1e-9


def test_features_that_never_vary_give_the_class_frequencies(table):
    _, labels, masks = table()
    flat = np.full((len(labels), 5), 3.7, np.float32)
    for standardise in (False, True):
        path = fit_path(flat, labels, n_classes=4, Cs=CS, train_masks=masks, standardise=standardise)
        frequencies = np.bincount(labels[masks[0]], minlength=4) / masks[0].sum()
        np.testing.assert_allclose(path.probabilities(flat[:1], 0, 2)[0], frequencies, atol=1e-6)


def test_columns_of_wildly_different_scale(table):
    features, labels, masks = table()
    stretched = features * np.logspace(-3, 4, features.shape[1]).astype(np.float32)
    for standardise in (False, True):
        path = fit_path(stretched, labels, n_classes=4, Cs=CS, train_masks=masks, standardise=standardise)
        assert path.converged.all()
        model, seen = reference(stretched, labels, masks[0], CS[1], standardise)
        best = objective(model, seen[masks[0]], labels[masks[0]], CS[1])
        assert path.objective[0, 1] == pytest.approx(best, rel=1e-6)


def histograms():
    """Nearly collinear columns: colour histograms of three kinds of picture, which sum to one."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), 60)
    scores = rng.normal(size=(180, 24)) + 1.2 * rng.normal(size=(3, 24))[labels]
    counts = np.exp(np.cumsum(scores, axis=1) / 4)
    features = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
    return features, labels, np.stack([np.arange(180) % 3 != k for k in range(3)])


def test_factoring_the_hessian_saves_most_of_the_work_and_changes_nothing(monkeypatch):
    features, labels, masks = histograms()
    products = {"factored": 0, "plain": 0}
    original = multinomial.Problem.curve

    def fit(kind):
        def counted(self, *arguments):
            products[kind] += 1
            return original(self, *arguments)

        monkeypatch.setattr(multinomial.Problem, "curve", counted)
        return fit_path(
            features, labels, n_classes=3, Cs=np.logspace(-2, 5, 29), train_masks=masks, standardise=True
        )

    factored = fit("factored")
    monkeypatch.setattr(newton, "prices", lambda *_: None)
    plain = fit("plain")
    assert factored.converged.all()
    np.testing.assert_allclose(factored.objective, plain.objective, rtol=2e-6)
    assert products["factored"] < products["plain"] / 3


def test_the_gap_is_honest_with_a_factored_hessian():
    features, labels, masks = histograms()
    Cs = np.logspace(-2, 5, 29)
    rough = fit_path(
        features, labels, n_classes=3, Cs=Cs, train_masks=masks, standardise=True, tolerance=1e-4
    )
    tight = fit_path(
        features, labels, n_classes=3, Cs=Cs, train_masks=masks, standardise=True, tolerance=1e-12
    )
    distance = rough.objective - tight.objective
    assert (distance <= 1e-4 * rough.objective).all()
    assert (distance <= 4.0 * rough.gap + 1e-10 * rough.objective).all()  # an estimate to second order


def test_a_single_weak_penalty_is_led_up_to_and_not_begun_from_nothing(monkeypatch):
    features, labels, masks = histograms()
    arguments = {"n_classes": 3, "Cs": [1e3], "train_masks": masks, "standardise": True}
    patient = fit_path(features, labels, **arguments)
    monkeypatch.setattr(newton, "_NEWTON_STEPS", 4)
    led = fit_path(features, labels, **arguments)
    assert led.Cs.tolist() == [1e3]
    assert led.converged.all()
    np.testing.assert_allclose(led.objective, patient.objective, rtol=1e-6)
    monkeypatch.setattr(linear, "_approach", lambda smallest: [])
    assert not fit_path(features, labels, **arguments).converged.any()


def test_path_probabilities_are_those_of_each_c(table):
    features, labels, masks = table()
    path = fit_path(features, labels, n_classes=4, Cs=CS, train_masks=masks, standardise=True)
    for i in range(len(CS)):
        np.testing.assert_allclose(
            path.path_probabilities(features, 2)[i], path.probabilities(features, 2, i), atol=1e-12
        )


def test_default_c_is_that_of_uni_and_dinobloom():
    assert default_C(768, 8) == pytest.approx(61.44)


@pytest.mark.gpu
def test_gpu_finds_the_same_optimum(table):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    features, labels, masks = table()
    arguments = {"n_classes": 4, "Cs": CS, "train_masks": masks, "standardise": True, "tolerance": 1e-12}
    paths = [fit_path(features, labels, device=device, **arguments) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(paths[0].objective, paths[1].objective, rtol=1e-9)
    np.testing.assert_allclose(
        paths[0].path_probabilities(features, 0), paths[1].path_probabilities(features, 0), atol=1e-5
    )


def test_bad_input_is_one_sentence(table):
    features, labels, masks = table()
    good = {"n_classes": 4, "Cs": CS, "train_masks": masks, "standardise": False}
    broken = features.copy()
    broken[7, 3] = np.nan
    with pytest.raises(DataError, match=r"Row 7 .* NaN"):
        fit_path(broken, labels, **good)
    with pytest.raises(ProtocolError, match="class index 9"):
        fit_path(features, np.where(labels == 3, 9, labels), **good)
    with pytest.raises(ProtocolError, match="Fold 1 has no training row"):
        fit_path(features, labels, **{**good, "train_masks": masks * np.array([[1], [0], [1]])})
    with pytest.raises(ProtocolError, match="masks cover"):
        fit_path(features, labels, **{**good, "train_masks": masks[:, :-1]})
    with pytest.raises(UsageError, match="positive"):
        fit_path(features, labels, **{**good, "Cs": [1.0, 0.0]})
