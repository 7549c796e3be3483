"""The objective of multinomial logistic regression for many folds at once: value, gradient, curvature.

Parameters are float64 [F, K, d + 1]: fold, class, weights and (last) the intercept, which is not penalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cytobench.probes.preconditioner import Basis


@dataclass(frozen=True)
class Problem:
    """The data of F regressions over the same rows, without C.

    features: float64 [n, d], shared by all folds and never copied; fold f sees
    (features - offset[f]) * scale[f]. labels: int64 [n]. masks: bool [F, n], True where fold f trains.
    floor: float64 [F, K, 1], -inf for a class without training rows, else 0. factor: float64 [F], what C is
    multiplied with (1; 0.5 for two classes, see `fit_path`).
    slack: float64 [F], distance to the optimum allowed in any case, times C.
    """

    features: Tensor
    labels: Tensor
    masks: Tensor
    offset: Tensor
    scale: Tensor
    floor: Tensor
    factor: Tensor
    slack: Tensor
    basis: Basis

    def take(self, folds: Tensor) -> Problem:
        """Return the same problem for some folds only."""
        if len(folds) == len(self.masks):
            return self
        per_fold = (self.masks, self.offset, self.scale, self.floor, self.factor, self.slack)
        masks, offset, scale, floor, factor, slack = (part[folds] for part in per_fold)
        return Problem(
            self.features, self.labels, masks, offset, scale, floor, factor, slack, self.basis.take(folds)
        )

    def seen(self, fold: int) -> Tensor:
        """Return a fold's training rows as its regression sees them, and a column of ones: [n, d + 1]."""
        rows = (self.features[self.masks[fold]] - self.offset[fold]) * self.scale[fold]
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)

    def logits(self, parameters: Tensor) -> Tensor:
        """Return features x weights + intercept: [F, K, n]."""
        weights = parameters[..., :-1] * self.scale[:, None, :]
        intercept = parameters[..., -1] - (weights * self.offset[:, None, :]).sum(-1)
        folds, classes, d = weights.shape
        products = weights.reshape(folds * classes, d) @ self.features.T
        return products.view(folds, classes, -1) + intercept[..., None]

    def pull_back(self, residuals: Tensor) -> Tensor:
        """Apply the transpose of `logits` to residuals [F, K, n]: the parameters' gradient [F, K, d + 1]."""
        folds, classes, n = residuals.shape
        products = (residuals.view(folds * classes, n) @ self.features).view(folds, classes, -1)
        intercept = residuals.sum(-1, keepdim=True)
        weights = (products - intercept * self.offset[:, None, :]) * self.scale[:, None, :]
        return torch.cat([weights, intercept], dim=-1)

    def objective(self, parameters: Tensor, logits: Tensor, C: float) -> tuple[Tensor, Tensor]:
        """Return C * summed cross entropy + 0.5 ||W||^2 [F], and log-sum-exp of the logits [F, 1, n].

        The loss of a row is softplus(log-sum-exp of the other logits minus its own), which keeps its digits
        when it is tiny and C is huge.
        """
        hits = self.labels.expand(len(logits), 1, -1)
        chosen = logits.gather(1, hits)
        others = (logits - chosen + self.floor).scatter_(1, hits, -torch.inf)
        loss = torch.logsumexp(others, dim=1, keepdim=True)
        loss = torch.logaddexp(loss, torch.zeros_like(loss))
        total = torch.where(self.masks, loss[:, 0], 0.0).sum(-1)
        return self.factor * C * total + 0.5 * (parameters[..., :-1] ** 2).sum((1, 2)), chosen + loss

    def gradient(self, parameters: Tensor, probabilities: Tensor, C: float) -> Tensor:
        """Return the gradient [F, K, d + 1]; probabilities [F, K, n] are zero off the training rows."""
        hits = self.labels.expand(len(probabilities), 1, -1)
        residuals = probabilities.scatter(
            1, hits, 0.0
        )  # p - 1 of the own class as -(sum of the others): exact
        residuals.scatter_(1, hits, -residuals.sum(1, keepdim=True))
        gradient = self.pull_back(residuals) * (self.factor * C)[:, None, None]
        gradient[..., :-1] += parameters[..., :-1]
        return gradient

    def curve(self, direction: Tensor, probabilities: Tensor, C: float) -> Tensor:
        """Return the Hessian times `direction` [F, K, d + 1]."""
        weighted = self.logits(direction).mul_(probabilities)
        weighted.addcmul_(probabilities, weighted.sum(1, keepdim=True), value=-1.0)
        product = self.pull_back(weighted) * (self.factor * C)[:, None, None]
        product[..., :-1] += direction[..., :-1]
        return product
