"""The linear probe: L2-penalised multinomial logistic regression along a path of C, for all folds at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cytobench.errors import ProtocolError, UsageError
from cytobench.probes.inputs import check_features, check_labels
from cytobench.probes.multinomial import Problem
from cytobench.probes.newton import follow_path
from cytobench.probes.preconditioner import feature_basis

_Doubles = npt.NDArray[np.float64]
# A column whose spread is below what float32 resolves at its magnitude holds rounding, not information.
_CONSTANT = float(np.finfo(np.float32).eps)
_APPROACH, _EASY = 5.0, 1e-3
"""The smallest C asked for is led up to by factors of 5 from about 1e-3, where every problem is easy."""


def default_C(n_features: int, n_classes: int) -> float:  # noqa: N802 (the symbol of the field)
    """Return the untuned C = M * K / 100 for M feature dimensions and K classes (UNI, DinoBloom)."""
    return n_features * n_classes / 100.0


@dataclass(frozen=True)
class LinearPath:
    """Fitted regressions for F folds and c values of C over d features and K classes.

    The probabilities of a row x are softmax(((x - mean) / std) @ weights.T + bias) of its fold and C.

    Cs: float64 [c], as asked for. weights: float64 [F, c, K, d]. bias: float64 [F, c, K], -inf for classes
    without a training row. mean, std: float64 [F, d], zeros and ones unless standardised. objective: float64
    [F, c], scikit-learn's: C * summed cross entropy + 0.5 ||weights||^2. gradient_norm: float64 [F, c], its
    gradient's length. gap: float64 [F, c], estimated distance of the objective to its optimum.
    converged: bool [F, c], gap <= tolerance * objective.
    """

    Cs: _Doubles
    weights: _Doubles
    bias: _Doubles
    mean: _Doubles
    std: _Doubles
    objective: _Doubles
    gradient_norm: _Doubles
    gap: _Doubles
    converged: npt.NDArray[np.bool_]

    def probabilities(self, test: npt.NDArray[np.float32], fold: int, c_index: int) -> _Doubles:
        """Return the class probabilities of test rows (float32 [m, d]) for one fold and C: float64 [m, K]."""
        only: _Doubles = self._softmax(test, fold, slice(c_index, c_index + 1))[0]
        return only

    def path_probabilities(self, test: npt.NDArray[np.float32], fold: int) -> _Doubles:
        """Return the class probabilities of test rows (float32 [m, d]) for every C: float64 [c, m, K]."""
        return self._softmax(test, fold, slice(None))

    def _softmax(self, test: npt.NDArray[np.float32], fold: int, chosen: slice) -> _Doubles:
        rows = check_features(test, None, "test").astype(np.float64)
        weights: _Doubles = self.weights[fold, chosen] / self.std[fold]
        bias = self.bias[fold, chosen] - weights @ self.mean[fold]
        candidates, classes, d = weights.shape
        products = weights.reshape(candidates * classes, d) @ rows.T
        logits = products.reshape(candidates, classes, len(rows)) + bias[:, :, None]
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        probabilities: _Doubles = (odds / odds.sum(axis=1, keepdims=True)).transpose(0, 2, 1)
        return probabilities


def _check_masks(train_masks: npt.ArrayLike, n: int) -> npt.NDArray[np.bool_]:
    masks = np.atleast_2d(np.asarray(train_masks, dtype=bool))
    if masks.shape[1] != n:
        raise ProtocolError(
            f"The training masks cover {masks.shape[1]} rows, the features have {n}: make the folds again."
        )
    empty = np.flatnonzero(~masks.any(axis=1))
    if len(empty):
        raise ProtocolError(f"Fold {empty[0]} has no training row: use fewer folds.")
    return masks


def _check_penalties(Cs: Sequence[float]) -> _Doubles:
    checked = np.asarray(Cs, dtype=np.float64)
    if checked.ndim != 1 or checked.size == 0 or not np.isfinite(checked).all() or checked.min() <= 0:
        raise UsageError("The linear probe needs at least one value of C, each positive and finite.")
    return checked


@dataclass(frozen=True)
class _Posed:
    """A problem for the solver, where to start, and how its parameters read on the features as given."""

    problem: Problem
    start: torch.Tensor
    mean: _Doubles
    std: _Doubles
    standardise: bool

    def read(self, parameters: torch.Tensor) -> tuple[_Doubles, _Doubles]:
        """Return weights [F, K, d] and bias [F, K] for the columns a user of `LinearPath` sees."""
        values = (parameters.cpu().numpy(), self.problem.floor.cpu().numpy())
        weights, bias = values[0][..., :-1], values[0][..., -1] + values[1][..., 0]
        if not self.standardise:
            bias = bias - np.einsum("fkd,fd->fk", weights, self.mean)
        return weights, bias


def _pose(
    table: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    masks: npt.NDArray[np.bool_],
    n_classes: int,
    standardise: bool,
    device: str,
    loss_slack: float,
) -> _Posed:
    """Centre the features once for all folds, measure each fold's columns and find the feature basis."""
    features = torch.from_numpy(table).to(device=device, dtype=torch.float64)
    centre = features.mean(0)
    features -= centre
    trained, classes = torch.from_numpy(masks).to(device), torch.from_numpy(labels).to(device)
    offset = torch.stack([features[mask].mean(0) for mask in trained])
    scale = torch.ones_like(offset)
    if standardise:
        spread = torch.stack([features[mask].std(0, correction=0) for mask in trained])
        varies = spread > _CONSTANT * (offset + centre).abs()
        scale = torch.where(varies, 1.0 / spread.clamp_min(1e-300), 0.0)
    start, floor = _start(classes, trained, features.shape[1], n_classes)
    factor = torch.where((floor == 0).sum((1, 2)) == 2, 0.5, 1.0).to(torch.float64)
    basis = feature_basis(features, trained, offset, scale)
    slack = loss_slack * math.log(max(n_classes, 2)) * factor * trained.sum(1)
    problem = Problem(features, classes, trained, offset, scale, floor, factor, slack, basis)
    std = np.where(scale.cpu().numpy() > 0, 1.0 / np.maximum(scale.cpu().numpy(), 1e-300), 1.0)
    return _Posed(problem, start, (offset + centre).cpu().numpy(), std, standardise)


def _start(
    labels: torch.Tensor, masks: torch.Tensor, d: int, n_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the parameters that predict each fold's class frequencies, and the floor of absent classes."""
    hits = torch.nn.functional.one_hot(labels, n_classes).to(torch.float64)
    counts = masks.to(torch.float64) @ hits
    present = counts > 0
    log_odds = torch.where(present, counts.clamp_min(1.0).log(), 0.0)
    centre = log_odds.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    parameters = torch.zeros(len(masks), n_classes, d + 1, dtype=torch.float64, device=labels.device)
    parameters[..., -1] = torch.where(present, log_odds - centre, 0.0)
    return parameters, torch.where(present, 0.0, -torch.inf)[..., None].to(torch.float64)


def _approach(smallest: float) -> list[float]:
    """Return the values of C, rising, that lead up to the smallest one asked for.

    Each solution starts the next. Begun from nothing, nearly collinear features and a weak penalty exhaust
    Newton's steps far from the optimum, and take longer at that.
    """
    steps = max(0, math.floor(math.log(smallest / _EASY, _APPROACH)))
    return [smallest / _APPROACH**step for step in range(steps, 0, -1)]


def fit_path(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer[Any]],
    *,
    n_classes: int,
    Cs: Sequence[float],
    train_masks: npt.NDArray[np.bool_],
    standardise: bool,
    device: str = "cpu",
    tolerance: float = 1e-7,
    loss_slack: float = 0.0,
) -> LinearPath:
    """Fit all values of C on all folds to convergence.

    Minimises scikit-learn's LogisticRegression objective, C * sum of cross entropies + 0.5 ||W||^2 with free
    intercepts. As there, two (present) classes share one weight vector w whose 0.5 ||w||^2 is penalised,
    which is the softmax form with weights +-w/2 and half the C; the weights returned are the softmax's.

    Args:
        features: float32 [n, d].
        labels: class indices, integer [n].
        n_classes: number of classes K; one without a training row in a fold gets probability 0 there.
        Cs: inverse penalties, any order, repeated or not.
        train_masks: bool [F, n], True where a fold trains; no other row influences that fold's solution.
        standardise: scale each column by mean and deviation of the fold's training rows first; columns
            without variance become 0.
        device: torch device that holds the features and computes.
        tolerance: largest estimated distance to the optimal objective, relative to the objective.
        loss_slack: distance to the optimal objective that is good enough in any case, as a share of
            the loss of guessing, n ln K (times C): at a large C with separable classes the objective is tiny
            and its last digits cost most of the time, while no prediction depends on them.

    Raises:
        DataError: features are not finite or not one row per label.
        ProtocolError: labels or masks do not fit.
        UsageError: a C is not positive.
    """
    checked = check_labels(labels, n_classes)
    table = check_features(features, len(checked), "training")
    masks = _check_masks(train_masks, len(checked))
    wanted = _check_penalties(Cs)
    used = masks.any(axis=0)
    posed = _pose(table[used], checked[used], masks[:, used], n_classes, standardise, device, loss_slack)
    ordered, places = np.unique(wanted, return_inverse=True)
    lead = _approach(float(ordered[0]))
    read, numbers = [], []
    states = follow_path(posed.problem, posed.start, [*lead, *ordered.tolist()], tolerance)
    for state in islice(states, len(lead), None):
        read.append(posed.read(state.parameters))
        measured = torch.stack([state.objective, state.gradient_norm, state.gap]) / posed.problem.factor
        numbers.append(measured.cpu().numpy())
    objective, gradient_norm, gap = np.stack(numbers, axis=-1)[:, :, places]
    mean, std = posed.mean, posed.std
    allowed = (posed.problem.slack / posed.problem.factor).cpu().numpy()[:, None] * wanted
    return LinearPath(
        Cs=wanted,
        weights=np.stack([weights for weights, _ in read], axis=1)[:, places],
        bias=np.stack([bias for _, bias in read], axis=1)[:, places],
        mean=mean if standardise else np.zeros_like(mean),
        std=std,
        objective=objective,
        gradient_norm=gradient_norm,
        gap=gap,
        converged=gap <= np.maximum(tolerance * objective, allowed),
    )
