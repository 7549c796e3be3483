"""A small iBOT in float64 and seeded batches for it, shared by the tests of the training step."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from cytobench.pretraining.heads import HeadShape
from cytobench.pretraining.ibot import IBOT, Masks, Objective, Temperatures
from cytobench.pretraining.masked_vit import ViTShape
from cytobench.pretraining.masking import index_masks

PATCHES = 16
VIT = ViTShape(
    arch="vit_tiny_patch16_224",
    size=32,
    local_sizes=(16,),
    drop_path=0.0,
    options={"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
)
HEAD = HeadShape(out_dim=24, patch_out_dim=20, hidden_dim=40, bottleneck_dim=12)


def make(objective: Objective = Objective(), head: HeadShape = HEAD, vit: ViTShape = VIT) -> IBOT:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return IBOT(vit, head, objective)
    finally:
        torch.set_default_dtype(before)


def fill_by_formula(module: nn.Module) -> None:
    """Give every parameter values that any program can make again from its name."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            offset = 1.0 if ("norm" in name or name.endswith("_g")) and not name.endswith("bias") else 0.0
            phase = float(sum(name.encode()) % 97)
            parameter.copy_(offset + 0.25 * waves(tuple(parameter.shape), phase))


def waves(shape: tuple[int, ...], phase: float) -> Tensor:
    """Return sin(phase + 0.37 * i + 0.011 * (i mod 101)) over the flat position i, float64."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(phase + 0.37 * i + 0.011 * (i % 101)).view(shape)


def checksums(module: nn.Module) -> dict[str, float]:
    """Return a number for every parameter that changes when any of its values does."""
    return {
        name: float((parameter.detach() * waves(tuple(parameter.shape), 0.5)).sum())
        for name, parameter in module.named_parameters()
    }


def masks_of(rows: list[list[int]]) -> np.ndarray:
    tokens = np.zeros((len(rows), PATCHES), dtype=bool)
    for crop, patches in enumerate(rows):
        tokens[crop, patches] = True
    return tokens


def batch(images: int, seed: int, local: int = 2, share: float = 0.3) -> tuple[Tensor, Tensor, Masks]:
    """Return global crops [2 * images], local crops [local * images] and random masks, float64."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    tokens = torch.rand((2 * images, PATCHES), generator=generator) < share
    tokens[0] = False
    indexed = index_masks(tokens.numpy(), dtype=np.float64)
    return (
        torch.randn((2 * images, 3, 32, 32), **options),
        torch.randn((local * images, 3, 16, 16), **options),
        Masks.of(indexed),
    )


def temperatures(cls_value: float = 0.05, patch_value: float = 0.06) -> Temperatures:
    return Temperatures.of(cls_value, patch_value, torch.zeros(0, dtype=torch.float64))
