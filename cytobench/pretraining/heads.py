"""The projection head: tokens of a ViT to scores over prototypes (iBOT section 3.3, DINO appendix).

Three linear layers with GELU, L2 normalisation, then a weight-normalised linear layer without bias: one for
class tokens, and one for patches or the same for both. The two halves are separate calls, because the mean
score over many tokens needs only their mean normalised vector (the last layer is linear).

Parameter names are those of published iBOT checkpoints: `mlp.{0,2,4}.{weight,bias}`,
`last_layer.weight_{g,v}`, `last_layer2.weight_{g,v}` (the same tensors twice when the layer is shared).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from cytobench.pretraining.precision import widen


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a projection head; the defaults are iBOT's.

    `norm_last_layer` freezes the prototypes' lengths at 1 (iBOT: off for ViT-S, on for ViT-B). With `shared`,
    patches use the class tokens' prototypes and `patch_out_dim` is ignored.
    """

    out_dim: int = 8192
    patch_out_dim: int = 8192
    hidden_dim: int = 2048
    bottleneck_dim: int = 256
    norm_last_layer: bool = False
    shared: bool = True

    @property
    def patch_prototypes(self) -> int:
        """How many prototypes patches are compared with."""
        return self.out_dim if self.shared else self.patch_out_dim


class PrototypeLayer(nn.Module):
    """A linear layer without bias whose rows have direction `weight_v` and length `weight_g`.

    Weight normalisation (Salimans & Kingma 2016) under its classic parameter names, but deep-copyable.
    """

    def __init__(self, in_dim: int, out_dim: int, *, fixed_length: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_dim)
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=not fixed_length)
        self.weight_v = nn.Parameter(torch.empty(out_dim, in_dim).uniform_(-bound, bound))

    def weight(self) -> Tensor:
        """Return the rows [out_dim, in_dim]."""
        rows: Tensor = self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))
        return rows

    def forward(self, x: Tensor) -> Tensor:
        """Return scores [..., out_dim] of vectors [..., in_dim]."""
        return linear(x, self.weight())


class ProjectionHead(nn.Module):
    """Tokens [n, in_dim] to unit vectors [n, bottleneck_dim] (`forward`), and those to scores (`scores`)."""

    def __init__(self, in_dim: int, shape: HeadShape) -> None:
        super().__init__()
        self.shared = shape.shared
        layers = [
            nn.Linear(in_dim, shape.hidden_dim),
            nn.GELU(),
            nn.Linear(shape.hidden_dim, shape.hidden_dim),
            nn.GELU(),
            nn.Linear(shape.hidden_dim, shape.bottleneck_dim),
        ]
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.mlp = nn.Sequential(OrderedDict((str(i), layer) for i, layer in enumerate(layers)))
        fixed = shape.norm_last_layer
        self.last_layer = PrototypeLayer(shape.bottleneck_dim, shape.out_dim, fixed_length=fixed)
        self.last_layer2 = (
            self.last_layer
            if shape.shared
            else PrototypeLayer(shape.bottleneck_dim, shape.patch_out_dim, fixed_length=fixed)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return unit vectors [n, bottleneck_dim], at least float32, of tokens [n, in_dim]."""
        return normalize(widen(self.mlp(tokens)), dim=-1)

    def scores(self, unit: Tensor, n_cls: int) -> tuple[Tensor, Tensor]:
        """Return scores of the first `n_cls` rows as class tokens and of the others as patches.

        unit: [n, bottleneck_dim] -> [n_cls, out_dim], [n - n_cls, patch prototypes].
        """
        sizes = [n_cls, unit.shape[0] - n_cls]
        if self.shared:
            cls_scores, patch_scores = torch.split(self.last_layer(unit), sizes)
        else:
            cls_rows, patch_rows = torch.split(unit, sizes)
            cls_scores, patch_scores = self.last_layer(cls_rows), self.last_layer2(patch_rows)
        return cls_scores, patch_scores
