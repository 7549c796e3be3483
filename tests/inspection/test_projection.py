"""Maps of a feature space: the same seed, the same picture; bad tables are refused in a sentence."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from cytobench.errors import DataError, UsageError
from cytobench.inspection.projection import Method, principal_components, project, require
from cytobench.probes.neighbours import directions

METHODS: tuple[Method, ...] = ("pca", "umap", "tsne")


def _unit(n: int = 60, d: int = 8, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    rows[: n // 2, 0] += 6
    return directions(rows, rows)[0]


def _installed(method: Method) -> None:
    if method == "umap":
        pytest.importorskip("umap")


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_map(method: Method) -> None:
    _installed(method)
    one, other = project(_unit(), method, seed=3), project(_unit(), method, seed=3)
    assert one.points.shape == (60, 2)
    assert np.isfinite(one.points).all()
    assert (one.points == other.points).all()


@pytest.mark.parametrize("method", METHODS)
def test_planted_groups_stay_apart(method: Method) -> None:
    _installed(method)
    points = project(_unit(), method).points
    centres = points[:30].mean(axis=0), points[30:].mean(axis=0)
    nearer = [np.linalg.norm(points - centre, axis=1) for centre in centres]
    assert ((nearer[0] < nearer[1]) == (np.arange(60) < 30)).mean() > 0.9


def test_signs_of_principal_components_do_not_depend_on_the_order_of_rows() -> None:
    unit, order = _unit(), np.random.default_rng(1).permutation(60)
    points, shares = principal_components(unit, 2)
    np.testing.assert_allclose(principal_components(unit[order], 2)[0], points[order], atol=1e-9)
    assert 0 < shares[1] < shares[0] < 1


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    unit = _unit(n=20, d=30)  # wide tables too
    points, _ = principal_components(unit, 3)
    centred = unit.astype(float) - unit.astype(float).mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :3] * s[:3]), atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d"), [(4, 1), (5, 2), (7, 40)])
def test_tiny_tables_are_mapped_without_a_fault(method: Method, n: int, d: int) -> None:
    _installed(method)
    points = project(_unit(n, d), method).points
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_mapped_is_said(method: Method) -> None:
    with pytest.raises(DataError, match="too few"):
        project(_unit(3), method)
    with pytest.raises(DataError, match="the same for every point"):
        project(np.zeros((9, 4), np.float32), method)


def test_a_missing_library_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install umap-learn"):
        require("umap")
    require("pca")
    require("tsne")
