"""A transformer block over images of several resolutions at once.

Tokens of all images lie in one list [T, D]: norms, linear layers and MLPs see a single large matrix;
attention runs once for each resolution, over whole images only.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Layout = tuple[tuple[int, int], ...]
"""(images, tokens an image) of each resolution, in the order in which their tokens lie."""


class PackedBlock(Block):
    """timm's pre-norm block, with its parameters and their names, on packed tokens."""

    def forward(  # type: ignore[override]  # packed tokens need their layout
        self, tokens: Tensor, layout: Layout, keep: Tensor | None = None
    ) -> Tensor:
        """Return tokens [T, D] after attention and MLP.

        keep: [2, images], the factor of each image's attention and MLP branch (stochastic depth: 0, or one
        over the probability of being kept); None keeps all.
        """
        attended = self.ls1(self._attend(self.norm1(tokens), layout))
        tokens = _add(tokens, attended, None if keep is None else _per_token(keep[0], layout))
        perceived = self.ls2(self.mlp(self.norm2(tokens)))
        return _add(tokens, perceived, None if keep is None else _per_token(keep[1], layout))

    def _attend(self, tokens: Tensor, layout: Layout) -> Tensor:
        attention: Any = self.attn
        heads: int = attention.num_heads
        mixed = []
        parts = torch.split(attention.qkv(tokens), [images * length for images, length in layout])
        for part, (images, length) in zip(parts, layout, strict=True):
            qkv = part.view(images, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            q, k = attention.q_norm(q), attention.k_norm(k)
            values = scaled_dot_product_attention(q, k, v)
            mixed.append(values.transpose(1, 2).reshape(images * length, -1))
        projected: Tensor = attention.proj(torch.cat(mixed) if len(mixed) > 1 else mixed[0])
        return projected


def _add(tokens: Tensor, branch: Tensor, factor: Tensor | None) -> Tensor:
    return tokens + branch if factor is None else tokens + branch * factor


def _per_token(factor: Tensor, layout: Layout) -> Tensor:
    """Spread factors of images [images] over their tokens [T, 1]."""
    parts = torch.split(factor, [images for images, _ in layout])
    spread = [
        part[:, None].expand(-1, length).reshape(-1, 1)
        for part, (_, length) in zip(parts, layout, strict=True)
    ]
    return torch.cat(spread) if len(spread) > 1 else spread[0]
