"""iBOT's vision transformer written out from the papers (ViT, DINO, iBOT): an oracle of plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import gelu


def forward(
    state: Mapping[str, torch.Tensor], pixels: torch.Tensor, heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the class token [b, d] and patch tokens [b, n, d] after the final norm."""
    tokens = embed(state, pixels)
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    for block in range(depth):
        tokens = tokens + attend(
            state, f"blocks.{block}", norm(state, f"blocks.{block}.norm1", tokens), heads
        )
        tokens = tokens + perceive(state, f"blocks.{block}", norm(state, f"blocks.{block}.norm2", tokens))
    tokens = norm(state, "norm", tokens)
    return tokens[:, 0], tokens[:, 1:]


def embed(state: Mapping[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Cut into patches, project each, put the class token first, add positions."""
    kernel, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    side = kernel.shape[-1]
    batch, channels, height, width = pixels.shape
    grid = pixels.reshape(batch, channels, height // side, side, width // side, side)
    patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * side * side)
    projected = patches @ kernel.reshape(kernel.shape[0], -1).T + bias
    return torch.cat([state["cls_token"].expand(batch, -1, -1), projected], dim=1) + state["pos_embed"]


def norm(state: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """Layer normalisation with epsilon 1e-6."""
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.pow(2).mean(dim=-1, keepdim=True) + 1e-6)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attend(state: Mapping[str, torch.Tensor], block: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head self-attention; the joint projection holds queries, keys and values in this order."""
    batch, n, width = x.shape
    query, key, value = linear(state, f"{block}.attn.qkv", x).split(width, dim=-1)
    split = [part.reshape(batch, n, heads, -1).transpose(1, 2) for part in (query, key, value)]
    weights = torch.softmax(split[0] @ split[1].transpose(-1, -2) * (width // heads) ** -0.5, dim=-1)
    mixed = (weights @ split[2]).transpose(1, 2).reshape(batch, n, width)
    return linear(state, f"{block}.attn.proj", mixed)


def perceive(state: Mapping[str, torch.Tensor], block: str, x: torch.Tensor) -> torch.Tensor:
    return linear(state, f"{block}.mlp.fc2", gelu(linear(state, f"{block}.mlp.fc1", x)))
