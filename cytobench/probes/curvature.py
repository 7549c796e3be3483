"""The logistic Hessian itself, factored: the better preconditioner where conjugate gradients grow long.

With nearly collinear columns and weak penalties the approximation of `preconditioner` leaves hundreds of
steps to conjugate gradients. A Cholesky factor of the true Hessian leaves a handful, also at the values of C
that follow, since the curvature changes slowly along the path.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Above this many parameters a fold (classes x columns) a solve reads more memory than the products it saves.
_LARGEST = 800
# Softmax does not see a shift of all intercepts: the Hessian is zero along it, and this share of its mean
# diagonal keeps the factor defined. The gradient has no part along it, so nothing else changes.
_RIDGE = 1e-10


@dataclass(frozen=True)
class FactoredHessian:
    """Cholesky factors of each fold's Hessian at one point, for parameters [F, K, d + 1].

    factors: float64 [F, P, P] with P = K (d + 1), lower triangular; scale: float64 [F], what the Hessian has
    grown by since.
    """

    factors: Tensor
    scale: Tensor

    def __call__(self, residual: Tensor) -> Tensor:
        """Apply the inverse of the factored Hessian."""
        solved = torch.cholesky_solve(residual.flatten(1)[..., None], self.factors)
        return solved.view_as(residual) / self.scale[:, None, None]

    def take(self, folds: Tensor) -> FactoredHessian:
        """Return the inverse for some folds only."""
        if len(folds) == len(self.scale):
            return self
        return FactoredHessian(self.factors[folds], self.scale[folds])

    def grown(self, ratio: float) -> FactoredHessian:
        """Return the inverse for a C that is `ratio` times the one it was made at."""
        return FactoredHessian(self.factors, torch.full_like(self.scale, ratio))


def fits(n_classes: int, n_features: int) -> bool:
    """Tell whether a Hessian of this size is worth factoring."""
    return n_classes * (n_features + 1) <= _LARGEST


def price(n_classes: int, n_features: int) -> int:
    """Return what factoring costs, in Hessian-vector products of the same problem (by arithmetic)."""
    return (n_classes + 1) * (n_features + 1) // 4 + 1


def factor_hessian(rows: Tensor, probabilities: Tensor, strength: Tensor) -> FactoredHessian | None:
    """Assemble and factor I + C sum_i (diag(p_i) - p_i p_i') (x) x_i x_i', intercepts unpenalised.

    rows: float64 [F, n, d + 1], each fold's centred and scaled features and a column of ones; probabilities:
    float64 [F, K, n], zero on rows that are not trained on; strength: C per fold, float64 [F]. Returns None
    where rounding leaves a matrix that is not positive definite.
    """
    folds, n_classes, _ = probabilities.shape
    width = rows.shape[2]
    hessian = torch.zeros(folds, n_classes, width, n_classes, width, dtype=rows.dtype, device=rows.device)
    for k in range(n_classes):
        weighted = rows * probabilities[:, k, :, None]
        for other in range(k, n_classes):
            share = -probabilities[:, other, :, None] + (1.0 if other == k else 0.0)
            block = rows.mT @ (weighted * share)
            hessian[:, k, :, other] = block
            hessian[:, other, :, k] = block.mT
    matrix = hessian.view(folds, n_classes * width, n_classes * width) * strength[:, None, None]
    penalty = torch.ones(n_classes, width, dtype=rows.dtype, device=rows.device)
    penalty[:, -1] = 0.0
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal += penalty.flatten() + _RIDGE * diagonal.mean(1, keepdim=True) + 1e-300
    factors, failed = torch.linalg.cholesky_ex(matrix)
    return None if bool(failed.any()) else FactoredHessian(factors, torch.ones_like(strength))
