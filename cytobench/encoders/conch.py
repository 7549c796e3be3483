"""CONCH's image tower (Lu et al., Nature Medicine 2024): a timm ViT whose tokens are pooled by attention.

The embedding is what the authors give for linear probes, `encode_image(proj_contrast=False,
normalize=False)`: one learned query attends to all tokens, then a norm. The caption head, the projection
shared with text and the text tower are neither built nor loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from open_clip.transformer import AttentionalPooler
from torch import nn

from cytobench.cards import BackboneCard
from cytobench.encoders import checkpoint
from cytobench.encoders.checkpoint import State

_TOWER = "visual."
_UNUSED = ("attn_pool_caption.", "ln_caption.", "proj_contrast", "head.")
_HEADS = 8


class ConchFeatures(nn.Module):
    """The trunk, the pooler and its norm, under the names of the published checkpoint."""

    def __init__(self, trunk: Any, dim: int) -> None:
        super().__init__()
        width = int(trunk.num_features)
        self.trunk: Any = trunk
        self.attn_pool_contrast = AttentionalPooler(dim, width, n_head=_HEADS, n_queries=1)
        self.ln_contrast = nn.LayerNorm(dim)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features [b, dim] of normalised pixels [b, 3, s, s]."""
        pooled: torch.Tensor = self.attn_pool_contrast(self.trunk.forward_features(pixels))
        features: torch.Tensor = self.ln_contrast(pooled[:, 0])
        return features


def build(card: BackboneCard, path: Path | None) -> nn.Module:
    """Return CONCH's image tower with the weights at `path`, loaded strictly, or as made for None.

    `arch` is the trunk's timm name, `arch_options` its options; raises WeightsError for weights that do not
    fit.
    """
    trunk = timm.create_model(card.arch, pretrained=False, num_classes=0, **card.arch_options)
    module = ConchFeatures(trunk, card.dim)
    if path is not None:
        state = checkpoint.strip_prefixes(checkpoint.tensors(checkpoint.read(path), path))
        checkpoint.load_strictly(module, _tower(state), path, card.arch)
    return module


def _tower(state: State) -> State:
    """Return the weights of the image tower; those of no known part stay, so that loading names them."""
    visual = {key.removeprefix(_TOWER): value for key, value in state.items() if key.startswith(_TOWER)}
    return {key: value for key, value in visual.items() if not key.startswith(_UNUSED)}
