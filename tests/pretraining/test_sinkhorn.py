"""Sinkhorn-Knopp in logarithms: equal to exponentials where those are safe, and safe where they are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cytobench.pretraining.sinkhorn import sinkhorn


def by_exponentials(scores: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Scale rows and columns of exp(scores / temperature) in turn, as SwAV's appendix writes it."""
    q = torch.exp(scores / temperature).T
    k, n = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / k
        q = q / q.sum(dim=0, keepdim=True) / n
    return (q * n).T


def test_logarithms_and_exponentials_agree() -> None:
    scores = torch.randn(40, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = sinkhorn(scores, 0.07)
    torch.testing.assert_close(got, by_exponentials(scores, 0.07), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(40, dtype=torch.float64))


def test_large_scores_neither_overflow_nor_vanish() -> None:
    scores = torch.randn(16, 8, generator=torch.Generator().manual_seed(1)) * 20
    assert not torch.isfinite(by_exponentials(scores, 0.04)).all()
    got = sinkhorn(scores, 0.04)
    assert torch.isfinite(got).all()
    assert got.sum(dim=1).tolist() == pytest.approx([1.0] * 16, abs=1e-5)


def test_many_iterations_use_all_prototypes_equally() -> None:
    scores = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    scores[:, 0] += 2.0
    columns = sinkhorn(scores, 0.5, iterations=200).sum(dim=0)
    torch.testing.assert_close(columns, torch.full((6,), 5.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_padding_takes_no_part() -> None:
    scores = torch.randn(10, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    padded = torch.cat([scores, torch.full((4, 5), 7.0, dtype=torch.float64)])
    valid = torch.arange(14) < 10
    got = sinkhorn(padded, 0.1, valid=valid)
    torch.testing.assert_close(got[:10], sinkhorn(scores, 0.1), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(got[10:].sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_no_samples_and_nothing_but_padding_are_no_error() -> None:
    assert sinkhorn(torch.zeros(0, 5), 0.1).shape == (0, 5)
    only_padding = sinkhorn(torch.randn(3, 5), 0.1, valid=torch.zeros(3, dtype=torch.bool))
    assert torch.isfinite(only_padding).all()
