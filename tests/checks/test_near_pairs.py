"""The search for near pairs misses none and invents none."""

import numpy as np
import pytest

from cytobench.checks import near
from cytobench.checks.near import near_pairs, unit_rows


@pytest.mark.parametrize("least", [0.5, 0.9, 0.99])
def test_pairs_equal_those_of_all_products(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_BLOCK", 50)
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 96))
    unit = unit_rows(np.concatenate([base, base[:40] + 0.3 * rng.normal(size=(40, 96)), base[:9]]))
    pairs = near_pairs(unit, least=least)
    left, right = np.nonzero(np.triu(unit @ unit.T >= least, 1))
    assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == set(
        zip(left.tolist(), right.tolist(), strict=True)
    )
    assert len(pairs) >= 9


def test_pairs_of_two_sets_equal_those_of_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_BLOCK", 50)
    rng = np.random.default_rng(1)
    mine, others = rng.normal(size=(130, 60)), rng.normal(size=(170, 60))
    others[:20] = mine[50:70] + 0.1 * rng.normal(size=(20, 60))
    a, b = unit_rows(mine), unit_rows(others)
    pairs = near_pairs(a, b, least=0.8)
    left, right = np.nonzero(a @ b.T >= 0.8)
    assert (pairs.left.tolist(), pairs.right.tolist()) == (left.tolist(), right.tolist())
    assert len(left) >= 20


def test_no_rows_have_no_pairs() -> None:
    assert len(near_pairs(np.zeros((0, 8), np.float32), least=0.9)) == 0
