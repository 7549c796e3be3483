"""An inverse of the logistic Hessian that is good enough: class covariance (x) feature covariance.

The Hessian of C * sum of cross entropies + 0.5 ||W||^2 is

    I + C * sum_i (diag(p_i) - p_i p_i') (x) x_i x_i'

If what a row weighs did not depend on where it lies, the sum would be S (x) G with
S = sum_i diag(p_i) - p_i p_i' [K, K] and G the features' covariance [d, d]. The inverse of
I + C S (x) G is a division in the eigenbases of S and G. The eigenbasis of G serves all values of C and is
the only costly part; S is tiny. Conjugate gradients make up for what the approximation leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Directions below this share of the largest variance are left to the identity: dividing by them would only
# amplify rounding, and the penalty rules there anyway.
_RANK_TOLERANCE = 1e-11
# A basis of all rows serves every fold that trains on most of them: it costs a few more conjugate-gradient
# steps, each several times cheaper because one matrix is read instead of one a fold.
_SHARE_OF_ROWS = 0.5


@dataclass(frozen=True)
class Basis:
    """Eigenvectors and eigenvalues of the training features' covariance.

    vectors: float64 [B, d, r], orthonormal columns (or zero columns as padding); B is 1 (one basis serves all
    folds) or F. values: float64 [B, r], variance per training row.
    """

    vectors: Tensor
    values: Tensor

    def take(self, folds: Tensor) -> Basis:
        """Return the bases of the given folds (the shared basis serves any)."""
        return self if len(self.values) == 1 else Basis(self.vectors[folds], self.values[folds])


def _eigenbasis(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Eigen-decompose the covariance of centred `rows` [n, d] by the smaller of its Gram matrices."""
    n, d = rows.shape
    if n >= d:
        values, vectors = torch.linalg.eigh(rows.T @ rows / n)
    else:
        values, left = torch.linalg.eigh(rows @ rows.T / n)
        vectors = rows.T @ (left / (n * values.clamp_min(1e-300)).sqrt())
    kept = values > _RANK_TOLERANCE * values.max().clamp_min(1e-300)
    return vectors[:, kept], values[kept]


def feature_basis(features: Tensor, masks: Tensor, offset: Tensor, scale: Tensor) -> Basis:
    """Return the eigenbasis of each fold's centred and scaled training rows, or one where that will do.

    features: float64 [n, d]; masks: bool [F, n]; offset, scale: float64 [F, d].
    """
    if len(masks) > 1 and int(masks.sum(1).min()) >= _SHARE_OF_ROWS * len(features):
        rows = (features - offset.mean(0)) * scale.mean(0)
        vectors, values = _eigenbasis(rows)
        return Basis(vectors[None], values[None])
    pairs = [_eigenbasis((features[m] - o) * s) for m, o, s in zip(masks, offset, scale, strict=True)]
    rank = max(len(values) for _, values in pairs)
    padded = [
        (torch.nn.functional.pad(v, (0, rank - v.shape[1])), torch.nn.functional.pad(w, (0, rank - len(w))))
        for v, w in pairs
    ]
    return Basis(torch.stack([v for v, _ in padded]), torch.stack([w for _, w in padded]))


@dataclass(frozen=True)
class Preconditioner:
    """The approximate inverse Hessian at one point, for parameters [F, K, d + 1] (last: intercepts)."""

    basis: Basis
    classes: Tensor  # eigenvectors of S: [F, K, K]
    damping: Tensor  # 1 / (1 + C s_k g_j) - 1: [F, K, r]
    intercepts: Tensor  # 1 / (C s_k), 0 along the direction softmax does not see: [F, K, 1]

    def __call__(self, residual: Tensor) -> Tensor:
        """Apply the approximate inverse Hessian."""
        turned = self.classes.mT @ residual
        weights = turned[..., :-1]
        inner = self._project(weights, self.basis.vectors)
        weights = weights + self._project(inner * self.damping, self.basis.vectors.mT)
        return self.classes @ torch.cat([weights, turned[..., -1:] * self.intercepts], dim=-1)

    def take(self, folds: Tensor) -> Preconditioner:
        """Return the inverse for some folds only."""
        return Preconditioner(
            self.basis.take(folds), self.classes[folds], self.damping[folds], self.intercepts[folds]
        )

    @staticmethod
    def _project(weights: Tensor, matrix: Tensor) -> Tensor:
        if len(matrix) > 1:
            return weights @ matrix
        folds, classes, _ = weights.shape
        return (weights.reshape(folds * classes, -1) @ matrix[0]).view(folds, classes, -1)


def precondition(basis: Basis, probabilities: Tensor, strength: Tensor) -> Preconditioner:
    """Build the approximate inverse Hessian.

    probabilities: float64 [F, K, n], zero on rows that are not trained on; strength: C per fold, float64 [F].
    """
    spread = torch.diag_embed(probabilities.sum(-1)) - probabilities @ probabilities.mT
    values, vectors = (part.to(spread.device) for part in torch.linalg.eigh(spread.cpu()))
    values = (values * strength[:, None]).clamp_min(0.0)[..., None]
    seen = values > 1e-13 * values.amax(1, keepdim=True)
    intercepts = torch.where(seen, 1.0 / values.clamp_min(1e-300), 0.0)
    damping = -values * basis.values[:, None, :] / (1.0 + values * basis.values[:, None, :])
    return Preconditioner(basis, vectors, damping, intercepts)
