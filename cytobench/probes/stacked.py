"""Training models of bags: a stack of equal shape in one program, epoch by epoch; some may be dropped.

Every model of a stack sees the same bags in the same order, starts from the same weights and forgets the same
instances: what it learns does not depend on which other models are in the stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cytobench.probes.aggregators import Aggregator, Ragged, Scores, draw_weights
from cytobench.probes.bags import Bags
from cytobench.probes.inputs import check_features, check_labels

_ROWS_AT_ONCE = 8_192
_SMALLEST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Fitting:
    """How one model is fitted: AdamW (Loshchilov and Hutter 2019) at a constant rate.

    instance_dropout: share of a bag's instances that are hidden from the attention in each step.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-2
    instance_dropout: float = 0.0


@dataclass(frozen=True)
class BagSet:
    """Bags on the device that computes: `features` [N, d], `offsets` [n + 1], `labels` [n] or None."""

    features: Tensor
    offsets: npt.NDArray[np.int64]
    labels: Tensor | None

    @classmethod
    def of(
        cls, bags: Bags, labels: npt.NDArray[np.int64] | None, n_classes: int, device: str, what: str
    ) -> BagSet:
        """Return `bags` on `device`; raises DataError for features or labels that cannot be used."""
        table = check_features(bags.features, None, what)
        codes = None if labels is None else torch.from_numpy(check_labels(labels, n_classes)).to(device)
        return cls(torch.from_numpy(table).to(device), bags.offsets, codes)

    def __len__(self) -> int:
        """Return the number of bags."""
        return len(self.offsets) - 1

    def rows(self, which: npt.NDArray[np.int64]) -> tuple[Tensor, Ragged]:
        """Return the rows of some bags and which of these bags each row belongs to."""
        sizes = np.diff(self.offsets)[which]
        ends = np.cumsum(sizes)
        rows = np.arange(ends[-1]) + np.repeat(self.offsets[which] - ends + sizes, sizes)
        bag = np.repeat(np.arange(len(which)), sizes)
        device = self.features.device
        return torch.from_numpy(rows).to(device), Ragged(torch.from_numpy(bag).to(device), len(which))


class Stack:
    """The weights of T models of one shape, flat float [T, P], and the AdamW that moves each at its own rate.

    `weights`: [T, ...] views of them by name.
    """

    def __init__(self, start: Mapping[str, Tensor], fittings: Sequence[Fitting], device: str) -> None:
        self._shapes = {name: tuple(one.shape) for name, one in start.items()}
        flat = torch.cat([one.flatten() for one in start.values()]).to(device)
        self._place(flat.repeat(len(fittings), 1), fittings)

    def _place(self, flat: Tensor, fittings: Sequence[Fitting]) -> None:
        self.flat, self.fittings = flat, tuple(fittings)
        gradient = torch.zeros_like(flat)
        self.weights = {name: one.detach().requires_grad_() for name, one in _views(flat, self._shapes)}
        self._slots = [slot for _, slot in _views(gradient, self._shapes)]
        self._rows = [row.detach().requires_grad_() for row in flat]
        for row, slot in zip(self._rows, gradient, strict=True):
            row.grad = slot
        groups = [
            {"params": [row], "lr": one.lr, "weight_decay": one.weight_decay}
            for row, one in zip(self._rows, fittings, strict=True)
        ]
        self._optimiser = torch.optim.AdamW(groups, fused=True)

    def step(self, loss: Tensor) -> None:
        """Move all weights along the gradients of `loss`, the sum over models of their own losses."""
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        for slot, one in zip(self._slots, gradients, strict=True):
            slot.copy_(one)
        self._optimiser.step()

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the models only."""
        moments = [self._optimiser.state[self._rows[index]] for index in models]
        self._place(self.flat[list(models)].clone(), [self.fittings[index] for index in models])
        for row, moment in zip(self._rows, moments, strict=True):
            self._optimiser.state[row] = moment

    def copied(self, model: int) -> dict[str, Tensor]:
        """Return a deep copy of one model's weights, [1, ...] each."""
        return {name: one.detach()[model : model + 1].clone() for name, one in self.weights.items()}


def _views(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the [T, ...] views of flat [T, P] by name."""
    start = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        yield name, flat[:, start : start + size].view(len(flat), *shape)
        start += size


@dataclass(frozen=True)
class Scaling:
    """The mean and inverse deviation of each feature over training instances; a constant one becomes 0."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scaling:
        """Measure the columns of features [N, d]."""
        wide = features.to(torch.float64)
        mean, deviation = wide.mean(0), wide.std(0, correction=0)
        varies = deviation > _SMALLEST * mean.abs()
        factor = torch.where(varies, 1.0 / deviation.clamp_min(1e-300), 0.0)
        return cls(mean, factor)

    def __call__(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the scaled features, [R, d]."""
        return (features.to(dtype) - self.mean.to(dtype)) * self.factor.to(dtype)


class StackedFit:
    """T models of one kind fitted to the same bags; one call of `epoch` shows every bag once.

    Args:
        bags, labels: the training bags and their classes, int64 [n].
        n_classes: number of classes K; classes are weighted by the inverse of their frequency.
        aggregator: the kind of model.
        fittings: one entry per model.
        seed: what draws starting weights, the order of bags and hidden instances, for all models alike.
        validation: bags and labels that say which epoch was best; they never change a weight.
        bags_per_step: bags behind one update.

    Raises:
        DataError: features are not finite or not one bag per label.
        ProtocolError: a label lies outside 0..K-1.
    """

    def __init__(
        self,
        bags: Bags,
        labels: npt.NDArray[np.int64],
        *,
        n_classes: int,
        aggregator: Aggregator,
        fittings: Sequence[Fitting],
        seed: int,
        validation: tuple[Bags, npt.NDArray[np.int64]] | None = None,
        bags_per_step: int = 1,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.aggregator, self.n_classes, self.dtype = aggregator, n_classes, dtype
        self._bags_per_step = bags_per_step
        self._train = BagSet.of(bags, labels, n_classes, device, "training")
        self._held = (
            BagSet.of(validation[0], validation[1], n_classes, device, "validation") if validation else None
        )
        self.scaling = Scaling.of(self._train.features)
        self._rng = np.random.default_rng(seed)
        shapes = aggregator.shapes(bags.dim, n_classes)
        start = draw_weights(shapes, torch.Generator().manual_seed(seed), dtype)
        self.stack = Stack(start, fittings, device)
        self._weight = _class_weight(labels, n_classes).to(device=device, dtype=dtype)
        self.epochs = 0
        self.best = [Best(np.inf, 0, None, None) for _ in fittings]
        self.active = list(range(len(fittings)))

    def epoch(self) -> None:
        """Show every training bag once in a new order, then measure the validation bags."""
        order = self._rng.permutation(len(self._train))
        for first in range(0, len(order), self._bags_per_step):
            self._step(order[first : first + self._bags_per_step])
        self.epochs += 1
        if self._held is not None:
            self._measure(self._held)

    def keep(self, models: Sequence[int]) -> None:
        """Go on with some of the models (numbers as at the start) only."""
        if models and list(models) != self.active:
            self.stack.keep([self.active.index(model) for model in models])
        self.active = list(models)

    def models(self) -> list[Fitted]:
        """Return the models still active as they are now."""
        return [self._fitted(place) for place in range(len(self.active))]

    def _fitted(self, place: int) -> Fitted:
        return Fitted(self.aggregator, self.stack.copied(place), self.scaling, self.dtype)

    def _step(self, which: npt.NDArray[np.int64]) -> None:
        rows, ragged = self._train.rows(which)
        x = self.scaling(self._train.features[rows], self.dtype)
        hidden = self._hidden(ragged, len(rows))
        scores = self.aggregator.forward(self.stack.weights, x, ragged, hidden)
        if self._train.labels is None:
            return
        labels = self._train.labels[torch.from_numpy(which).to(x.device)]
        self.stack.step(self._loss(scores, labels).sum())

    def _loss(self, scores: Scores, labels: Tensor) -> Tensor:
        """Return the weighted cross entropy of every model, [T]: the mean over bags, and over terms."""
        target = labels.expand(len(scores.logits), -1)[..., None]
        losses = [
            -(one.log_softmax(-1).gather(-1, target).squeeze(-1) * self._weight[labels]).mean(-1)
            for one in scores.terms
        ]
        return torch.stack(losses).mean(0)

    def _hidden(self, ragged: Ragged, rows: int) -> Tensor | None:
        """Return which instances each model does not attend to, [T, R]: never all of a bag."""
        # Drawn in any case, so that models without dropout go through the same random numbers.
        draw = torch.from_numpy(self._rng.random(rows)).to(ragged.bag.device)
        rates = [one.instance_dropout for one in self.stack.fittings]
        if not any(rates):
            return None
        highest = draw.new_zeros(ragged.bags).scatter_reduce(0, ragged.bag, draw, "amax")
        draw = torch.where(draw == highest[ragged.bag], torch.ones_like(draw), draw)
        return draw < torch.tensor(rates, dtype=draw.dtype, device=draw.device)[:, None]

    def _measure(self, held: BagSet) -> None:
        losses, probabilities = [], []
        with torch.no_grad():
            for which, scores in _scored(self.aggregator, self.stack.weights, held, self.scaling, self.dtype):
                labels = held.labels[torch.from_numpy(which).to(scores.logits.device)]  # type: ignore[index]
                chosen = scores.logits.log_softmax(-1).gather(
                    -1, labels.expand(len(scores.logits), -1)[..., None]
                )
                losses.append(-chosen.squeeze(-1) * self._weight[labels])
                probabilities.append(scores.logits.softmax(-1))
        loss = torch.cat(losses, dim=1).double().mean(1).cpu().numpy()
        predicted = torch.cat(probabilities, dim=1).double().cpu().numpy()
        for place, model in enumerate(self.active):
            if loss[place] < self.best[model].loss:
                self.best[model] = Best(
                    float(loss[place]), self.epochs, predicted[place].copy(), self._fitted(place)
                )


@dataclass(frozen=True)
class Best:
    """The best epoch of one model: validation loss, number, probabilities [m, K] there, and its weights."""

    loss: float
    epoch: int
    probabilities: npt.NDArray[np.float64] | None
    fitted: Fitted | None


@dataclass(frozen=True)
class Fitted:
    """One fitted model of bags."""

    aggregator: Aggregator
    weights: dict[str, Tensor]
    scaling: Scaling
    dtype: torch.dtype

    def predict(self, bags: Bags) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Return class probabilities, float64 [n, K], and each instance's attention, float32 [N]."""
        device = str(self.scaling.mean.device)
        held = BagSet.of(bags, None, 0, device, "test")
        probabilities, attention = [], []
        with torch.no_grad():
            for _, scores in _scored(self.aggregator, self.weights, held, self.scaling, self.dtype):
                probabilities.append(scores.logits[0].double().softmax(-1))
                attention.append(scores.attention[0].float())
        return torch.cat(probabilities).cpu().numpy(), torch.cat(attention).cpu().numpy()


def _scored(
    aggregator: Aggregator, weights: dict[str, Tensor], bags: BagSet, scaling: Scaling, dtype: torch.dtype
) -> Iterator[tuple[npt.NDArray[np.int64], Scores]]:
    """Yield the scores of all bags in order, some thousand instances at a time."""
    for which in _portions(np.diff(bags.offsets)):
        rows, ragged = bags.rows(which)
        yield which, aggregator.forward(weights, scaling(bags.features[rows], dtype), ragged)


def _portions(sizes: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield consecutive positions of bags that together hold some thousand instances, or one larger bag."""
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if position > start and (total + size > _ROWS_AT_ONCE or position - start >= 16):
            yield np.arange(start, position)
            start, total = position, 0
        total += int(size)
    if len(sizes):
        yield np.arange(start, len(sizes))


def _class_weight(labels: npt.NDArray[np.int64], n_classes: int) -> Tensor:
    """Return n / (present classes * frequency) of each class, [K]; 0 for an absent one."""
    counts = np.bincount(labels, minlength=n_classes)
    present = counts > 0
    weight = np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weight)
