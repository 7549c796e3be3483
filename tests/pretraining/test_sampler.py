"""The order of images: without replacement, balanced, the same from any starting point."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cytobench.pretraining.sampler import Sampler

SIZES = [50, 400, 7]


def test_it_can_be_entered_anywhere() -> None:
    for balance in (0.0, 0.5, 1.0):
        sampler = Sampler(SIZES, balance=balance, seed=1)
        whole = sampler.take(0, 5000)
        again = Sampler(SIZES, balance=balance, seed=1)
        parts = [again.take(start, 125) for start in range(0, 5000, 125)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        np.testing.assert_array_equal(again.take(3217, 10), whole[3217:3227])


def test_every_image_comes_once_a_pass_in_a_new_order() -> None:
    sampler = Sampler(SIZES, balance=0.0, seed=0)
    first, second = sampler.take(0, 457), sampler.take(457, 457)
    assert sorted(first) == sorted(second) == list(range(457))
    assert (first != second).any()


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_sources_have_their_shares_and_are_each_gone_through_without_replacement(balance: float) -> None:
    sampler = Sampler(SIZES, balance=balance, seed=0)
    rows = sampler.take(0, 20 * 1024)
    edges = np.cumsum([0, *SIZES])
    for s, (a, b) in enumerate(pairwise(edges)):
        mine = rows[(rows >= a) & (rows < b)]
        assert len(mine) / len(rows) == pytest.approx(sampler.shares[s], abs=0.001)
        passes = mine[: len(mine) // SIZES[s] * SIZES[s]].reshape(-1, SIZES[s])
        assert all(sorted(one) == list(range(a, b)) for one in passes)
    if balance == 1.0:
        assert sampler.shares == pytest.approx([1 / 3] * 3)


def test_batches_of_one_source_each_keep_shares_and_passes() -> None:
    sampler = Sampler(SIZES, balance=0.5, seed=0, together=8)
    rows = sampler.take(0, 8 * 3 * 1024)
    source = np.searchsorted(np.cumsum(SIZES), rows, side="right").reshape(-1, 8)
    assert (source == source[:, :1]).all()
    for s, share in enumerate(sampler.shares):
        assert (source[:, 0] == s).mean() == pytest.approx(share, abs=0.001)
    mine = rows[(rows >= 50) & (rows < 450)]
    assert all(len(set(one)) == 400 for one in mine[: len(mine) // 400 * 400].reshape(-1, 400))
    np.testing.assert_array_equal(sampler.take(8 * 100 + 3, 20), rows[8 * 100 + 3 : 8 * 100 + 23])


def test_another_seed_is_another_order_and_an_empty_source_is_refused() -> None:
    one, other = (Sampler(SIZES, balance=0.5, seed=seed).take(0, 100) for seed in (0, 1))
    assert (one != other).any()
    with pytest.raises(ValueError, match="at least one image"):
        Sampler([3, 0], balance=0.5, seed=0)
