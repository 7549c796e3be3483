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
        self, tokens: Tensor, layout: Layout, keep: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Return tokens [T, D] after attention and MLP, or those at `rows` alone.

        keep: [2, images], the factor of each image's attention and MLP branch (stochastic depth: 0, or one
        over the probability of being kept); None keeps all. rows: int64 [R]; all tokens are attended to, but
        only these leave the block, [R, D], and only these cost an MLP.
        """
        factors = None if keep is None else _per_token(keep, layout)
        mixed = self._mix(self.norm1(tokens), layout)
        if rows is not None:
            mixed, tokens = mixed.index_select(0, rows), tokens.index_select(0, rows)
            factors = None if factors is None else factors.index_select(1, rows)
        attention: Any = self.attn
        tokens = _add(tokens, self.ls1(attention.proj(mixed)), factors, 0)
        return _add(tokens, self.ls2(self.mlp(self.norm2(tokens))), factors, 1)

    def _mix(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Return the heads' attended values [T, D], before their projection."""
        attention: Any = self.attn
        heads: int = attention.num_heads
        mixed = []
        parts = torch.split(attention.qkv(tokens), [images * length for images, length in layout])
        for part, (images, length) in zip(parts, layout, strict=True):
            qkv = part.view(images, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            values = _attend(attention.q_norm(q), attention.k_norm(k), v)
            mixed.append(values.transpose(1, 2).reshape(images * length, -1))
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v, [images, heads, tokens, d].

    PyTorch's fused attention is meant for long sequences: on a CPU the plain products are several times
    faster for crops of ten to fifty tokens, backwards above all, and about as fast for two hundred.
    """
    if q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v)
    weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
    return weights @ v


def _add(tokens: Tensor, branch: Tensor, factors: Tensor | None, which: int) -> Tensor:
    return tokens + branch if factors is None else tokens + branch * factors[which]


def _per_token(keep: Tensor, layout: Layout) -> Tensor:
    """Spread factors of images [2, images] over their tokens [2, T, 1]."""
    parts = torch.split(keep, [images for images, _ in layout], dim=1)
    spread = [
        part[:, :, None].expand(-1, -1, length).flatten(1)
        for part, (_, length) in zip(parts, layout, strict=True)
    ]
    return torch.cat(spread, dim=1)[..., None]
