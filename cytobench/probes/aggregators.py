"""From the instances of bags to class scores: attention-based pooling, for a stack of models at once.

A stack is T models of one shape, each with its own weights, that look at the same instances. All tensors
carry the stack first: T models, R instances of B bags, d features, H hidden units, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cytobench.probes.bags import ATTENTION, HIDDEN

Weights = Mapping[str, Tensor]
"""Weights by name, [T, ...]; those of matrices are [T, out, in]."""


class Ragged(NamedTuple):
    """Which bag each of R instances belongs to: `bag`, int64 [R], ascending; `bags`: how many there are."""

    bag: Tensor
    bags: int


class Scores(NamedTuple):
    """What a stack says about bags.

    `logits`: [T, B, K], whose softmax predicts; `terms`: logits [T, B, K] whose cross entropies are averaged
    in training; `attention`: [T, R], sums to 1 in each bag.
    """

    logits: Tensor
    terms: tuple[Tensor, ...]
    attention: Tensor


class Aggregator(Protocol):
    """A model of bags."""

    def shapes(self, d: int, n_classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight of one model: matrices [out, in], biases and vectors [n]."""

    def forward(self, weights: Weights, x: Tensor, ragged: Ragged, hidden: Tensor | None = None) -> Scores:
        """Return scores of the bags of instances `x` [R, d]; `hidden`: bool [T, R], what is not attended."""


def draw_weights(
    shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the weights of one model: uniform within 1 / sqrt(inputs) as torch.nn.Linear draws, biases 0."""
    drawn = {}
    for name, shape in shapes.items():
        if name.endswith("bias"):
            drawn[name] = torch.zeros(shape, dtype=dtype)
        else:
            bound = 1.0 / math.sqrt(math.prod(shape[1:]) if len(shape) > 1 else shape[0])
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
            drawn[name] = ((2.0 * uniform - 1.0) * bound).to(dtype)
    return drawn


def segment_softmax(scores: Tensor, ragged: Ragged) -> Tensor:
    """Return the softmax of scores [T, R] within each bag, without padding."""
    if ragged.bags == 1:
        return scores.softmax(-1)
    bag = ragged.bag.expand_as(scores)
    largest = scores.new_full((len(scores), ragged.bags), -torch.inf)
    largest = largest.scatter_reduce(1, bag, scores.detach(), "amax")
    odds = (scores - largest.gather(1, bag)).exp()
    total = scores.new_zeros(len(scores), ragged.bags).scatter_add(1, bag, odds)
    return odds / total.gather(1, bag)


def pool(attention: Tensor, values: Tensor, ragged: Ragged) -> Tensor:
    """Return the sums [T, B, H] of values [T, R, H] weighted by attention [T, R] over each bag."""
    if ragged.bags == 1:
        return torch.bmm(attention[:, None], values)
    spread = attention.new_zeros(len(attention), ragged.bags, attention.shape[1])
    spread = spread.scatter(1, ragged.bag.expand_as(attention)[:, None], attention[:, None])
    return torch.bmm(spread, values)


def embed(weights: Weights, x: Tensor) -> Tensor:
    """Return relu(W x + b) of every model for the same instances x [R, d]: [T, R, H]."""
    shared = x.expand(len(weights["embed.bias"]), *x.shape)
    return affine(weights, "embed", shared).relu()


def affine(weights: Weights, name: str, values: Tensor) -> Tensor:
    """Return W v + b of every model's own values [T, R, in]: [T, R, out]."""
    return torch.baddbmm(weights[f"{name}.bias"][:, None], values, weights[f"{name}.weight"].transpose(1, 2))


@dataclass(frozen=True)
class GatedAttention:
    r"""ABMIL: gated attention over instances (Ilse, Tomczak and Welling, ICML 2018, equations 8 and 9).

    With h_k = relu(E x_k + e) of instance k (as in their code, a trained layer lies before the attention):
    a_k = softmax_k w^T (tanh(V h_k + v) * sigmoid(U h_k + u)), z = sum_k a_k h_k, logits = C z + c.
    The names of weights: embed (E, e), gate (V above U), score (w), classify (C, c).
    """

    width: int = HIDDEN
    attention: int = ATTENTION

    def shapes(self, d: int, n_classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one model's weights."""
        return {
            "embed.weight": (self.width, d),
            "embed.bias": (self.width,),
            "gate.weight": (2 * self.attention, self.width),
            "gate.bias": (2 * self.attention,),
            "score.weight": (self.attention,),
            "classify.weight": (n_classes, self.width),
            "classify.bias": (n_classes,),
        }

    def forward(self, weights: Weights, x: Tensor, ragged: Ragged, hidden: Tensor | None = None) -> Scores:
        """Attend, pool and classify."""
        h = embed(weights, x)  # [T, R, H]
        signal, gate = torch.split(affine(weights, "gate", h), self.attention, dim=-1)  # [T, R, A] each
        scores = ((signal.tanh() * gate.sigmoid()) * weights["score.weight"][:, None]).sum(-1)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        attention = segment_softmax(scores, ragged)
        logits = affine(weights, "classify", pool(attention, h, ragged))
        return Scores(logits, (logits,), attention)


@dataclass(frozen=True)
class DualStream:
    r"""DSMIL: attention by likeness to the most telling instance (Li, Li and Eliceiri, CVPR 2021).

    With h_k = relu(E x_k + e): the first stream scores instances, s_k = I h_k + i, and takes per class the
    highest one, m. The second attends by likeness to it, a_k = softmax_k (Q h_k + q)^T (Q h_m + q) / sqrt(A),
    and classifies the pooled z_m of all classes together. Both streams are trained, their mean predicts.
    """

    width: int = HIDDEN
    attention: int = ATTENTION

    def shapes(self, d: int, n_classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one model's weights."""
        return {
            "embed.weight": (self.width, d),
            "embed.bias": (self.width,),
            "instance.weight": (n_classes, self.width),
            "instance.bias": (n_classes,),
            "query.weight": (self.attention, self.width),
            "query.bias": (self.attention,),
            "classify.weight": (n_classes, n_classes * self.width),
            "classify.bias": (n_classes,),
        }

    def forward(self, weights: Weights, x: Tensor, ragged: Ragged, hidden: Tensor | None = None) -> Scores:
        """Score instances, attend by likeness to the best of each class, pool and classify."""
        h = embed(weights, x)
        instance = affine(weights, "instance", h)  # [T, R, K]
        if hidden is not None:
            instance = instance.masked_fill(hidden[..., None], -torch.inf)
        highest, where = _highest(instance, ragged)  # [T, B, K]
        query = affine(weights, "query", h)  # [T, R, A]
        pooled, attention = [], torch.zeros_like(instance[..., 0])
        for k in range(instance.shape[-1]):
            critical = query.gather(1, where[..., k, None].expand(-1, -1, query.shape[-1]))  # [T, B, A]
            likeness = (query * critical[:, ragged.bag]).sum(-1) / math.sqrt(query.shape[-1])
            if hidden is not None:
                likeness = likeness.masked_fill(hidden, -torch.inf)
            weight = segment_softmax(likeness, ragged)
            pooled.append(pool(weight, h, ragged))
            attention = attention + weight / instance.shape[-1]
        bag = affine(weights, "classify", torch.cat(pooled, dim=-1))
        return Scores((bag + highest) / 2, (bag, highest), attention)


def _highest(instance: Tensor, ragged: Ragged) -> tuple[Tensor, Tensor]:
    """Return the highest score of each bag and class, [T, B, K], and the row of the instance that has it."""
    stack, rows, classes = instance.shape
    bag = ragged.bag[None, :, None].expand(stack, rows, classes)
    best = instance.new_full((stack, ragged.bags, classes), -torch.inf)
    best = best.scatter_reduce(1, bag, instance.detach(), "amax")
    row = torch.arange(rows, device=instance.device)[None, :, None].expand_as(bag)
    first = torch.where(instance.detach() == best.gather(1, bag), row, rows)
    where = torch.full_like(best, rows, dtype=torch.int64).scatter_reduce(1, bag, first, "amin")
    return instance.gather(1, where), where


AGGREGATORS: Mapping[str, Aggregator] = MappingProxyType({"abmil": GatedAttention(), "dsmil": DualStream()})
"""Models of bags by the name of their probe."""
