"""The factored Hessian is the inverse of the Hessian, whatever strips its factor is kept in."""

import numpy as np
import pytest
import torch

from cytobench.probes import curvature
from cytobench.probes.curvature import FactoredHessian, factor_hessian


def _problem(classes: int, features: int, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rows with a column of ones, probabilities, and the Hessian summed row by row, C = 3."""
    rng = np.random.default_rng(5)
    rows = torch.from_numpy(np.column_stack([rng.normal(size=(n, features)), np.ones(n)]))
    probabilities = torch.softmax(torch.from_numpy(rng.normal(size=(classes, n)) * 2), dim=0)
    size = classes * (features + 1)
    hessian = torch.zeros(size, size, dtype=torch.float64)
    for row, p in zip(rows, probabilities.T, strict=True):
        hessian += 3.0 * torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(row, row))
    penalty = torch.ones(classes, features + 1, dtype=torch.float64)
    penalty[:, -1] = 0.0
    return rows, probabilities, hessian + torch.diag(penalty.flatten())


@pytest.mark.parametrize("tall", [7, 16, 33, 128])
def test_it_undoes_the_hessian(tall: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "_STRIP", tall)
    monkeypatch.setattr(curvature, "_BLOCK", 8)
    classes, features = 3, 10
    rows, probabilities, hessian = _problem(classes, features, 80)
    strips = factor_hessian(rows, probabilities, 3.0)
    assert strips is not None
    assert len(strips) == -(-33 // tall)
    direction = torch.from_numpy(np.random.default_rng(6).normal(size=(1, classes, features + 1)))
    direction[..., -1] -= direction[..., -1].mean()  # a shift of all intercepts is not seen by softmax
    product = (hessian @ direction.flatten()).view_as(direction)
    undone = FactoredHessian([strips])(product)
    undone[..., -1] -= undone[..., -1].mean()
    torch.testing.assert_close(undone, direction, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        FactoredHessian([strips]).grown(2.0)(product) * 2, FactoredHessian([strips])(product)
    )


def test_a_matrix_that_rounding_made_indefinite_is_no_factor() -> None:
    rows, probabilities, _ = _problem(3, 10, 80)
    assert factor_hessian(rows, probabilities * float("nan"), 3.0) is None
