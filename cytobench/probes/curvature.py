"""The logistic Hessian itself, factored: the better preconditioner where conjugate gradients grow long.

With nearly collinear columns and weak penalties the approximation of `preconditioner` leaves hundreds of
steps to conjugate gradients. A Cholesky factor of the true Hessian leaves a handful, also at the values of C
that follow, since the curvature changes slowly along the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Above this many parameters a fold (classes x columns), or bytes for all folds, factors are not worth having:
# a solve reads more memory than the products it saves.
_LARGEST = 3200
_MOST_BYTES = 2**30
# Softmax does not see a shift of all intercepts: the Hessian is zero along it, and this share of its mean
# diagonal keeps the factor defined. The gradient has no part along it, so nothing else changes.
_RIDGE = 1e-10
# What an arithmetic operation costs, relative to one in a large matrix product: in the thin products of a
# Hessian-vector product, and in a product of a matrix and one vector, which waits for memory.
_THIN, _READING = 2.0, 2.0
_BLOCK = 512  # triangular matrices up to this size are inverted by the library's solver
_STRIP = 128  # rows of a factor that stay in a core's own cache between their two products


Strips = Sequence[Tensor]
"""A lower triangular matrix by runs of rows, each without the zeros right of its last row's diagonal."""


@dataclass(frozen=True)
class FactoredHessian:
    """The inverse Cholesky factor of each fold's Hessian at one point, for parameters [F, K, d + 1].

    factors: one lower triangle a fold, the inverse of the Cholesky factor, P = K (d + 1) rows in strips:
    float32 [rows, columns up to the strip's last row]; scale: what the Hessian has grown by since.

    Inverted, because two products with a matrix are many times faster than two triangular solves; the inverse
    factor and not the inverse, because its square is positive definite whatever the rounding; and float32
    halves what is read, while the factor's condition is only the root of the Hessian's. In strips, because
    the zeros above the diagonal need not be read, and the rest is read from memory once instead of twice.
    """

    factors: Sequence[Strips]
    scale: float = 1.0

    def __call__(self, residual: Tensor) -> Tensor:
        """Apply the inverse of the factored Hessian."""
        columns = residual.flatten(1)
        length = columns.norm(dim=1, keepdim=True).clamp_min(1e-300)  # float32 has no room for 1e-40
        small = (columns / length).float()
        solved = [_square(strips, column) for column, strips in zip(small, self.factors, strict=True)]
        whole: Tensor = torch.stack(solved).double() * (length / self.scale)
        return whole.view_as(residual)

    def take(self, folds: Tensor) -> FactoredHessian:
        """Return the inverse for some folds only."""
        if len(folds) == len(self.factors):
            return self
        return FactoredHessian([self.factors[fold] for fold in folds.tolist()], self.scale)

    def grown(self, ratio: float) -> FactoredHessian:
        """Return the inverse for a C that is `ratio` times the one it was made at."""
        return FactoredHessian(self.factors, ratio)


@dataclass(frozen=True)
class Prices:
    """What a fold's work costs, in operations of a large matrix product.

    product: a Hessian-vector product and what goes with it; solve: applying a factor; factoring: assembling
    and factoring the Hessian.
    """

    product: float
    solve: float
    factoring: float

    def step(self, *, factored: bool) -> float:
        """Return the cost of one step of conjugate gradients."""
        return self.product + self.solve if factored else self.product


def prices(n_folds: int, n_rows: int, n_classes: int, n_features: int) -> Prices | None:
    """Return the costs for F folds of n rows, K classes and d features; None where factors are too large."""
    size = n_classes * (n_features + 1)
    if size > _LARGEST or n_folds * size * size * 4 > _MOST_BYTES:
        return None
    return Prices(
        product=_THIN * 4.0 * size * n_rows,
        solve=_READING * 4.0 * size * size,
        factoring=float(size) * size * n_rows + size**3 * 2.0 / 3.0,
    )


def factor_hessian(rows: Tensor, probabilities: Tensor, strength: float) -> Strips | None:
    """Assemble and factor I + C sum_i (diag(p_i) - p_i p_i') (x) x_i x_i' of one fold.

    Intercepts are not penalised. rows: float64 [n, d + 1], the fold's centred and scaled training features
    and a column of ones; probabilities: float64 [K, n]; strength: C. Returns the inverse of the lower factor
    [P, P] in float32 strips, or None where rounding leaves a matrix that is not positive definite.
    """
    n_classes, width = len(probabilities), rows.shape[1]
    size = n_classes * width
    weighted = (probabilities.T[:, :, None].contiguous() * rows[:, None, :]).view(-1, size)
    matrix = torch.zeros(size, size, dtype=rows.dtype, device=rows.device)
    for k in range(n_classes):  # the lower half only: a Cholesky factorisation reads no more
        own = slice(k * width, (k + 1) * width)
        pulled = weighted[:, own] * strength
        matrix[k * width :, own] = weighted[:, k * width :].mT @ -pulled
        matrix[own, own] += pulled.mT @ rows
    penalty = torch.ones(n_classes, width, dtype=rows.dtype, device=rows.device)
    penalty[:, -1] = 0.0
    diagonal = matrix.diagonal()
    diagonal += penalty.flatten() + _RIDGE * diagonal.mean() + 1e-300
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed):
        return None
    inverse = _inverse(factor)
    tall = _STRIP if rows.device.type == "cpu" else size
    ends = range(tall, size + tall, tall)
    return [inverse[end - tall : end, :end].to(torch.float32, copy=True).contiguous() for end in ends]


def _square(strips: Strips, column: Tensor) -> Tensor:
    """Return L'L times a column [P], float32, for the L whose strips are given."""
    product = torch.zeros_like(column)
    for strip in strips:
        seen = strip.shape[1]
        product[:seen].addmv_(strip.T, strip @ column[:seen])
    return product


def _inverse(lower: Tensor) -> Tensor:
    """Invert a lower triangular matrix by halves: all in large products, where a solver is half as fast."""
    size = len(lower)
    if size <= _BLOCK:
        solved: Tensor = torch.linalg.solve_triangular(lower, torch.eye(size).to(lower), upper=False)
        return solved
    half = size // 2
    inverse = torch.zeros_like(lower)
    inverse[:half, :half] = _inverse(lower[:half, :half])
    inverse[half:, half:] = _inverse(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ (lower[half:, :half] @ inverse[:half, :half])
    return inverse
