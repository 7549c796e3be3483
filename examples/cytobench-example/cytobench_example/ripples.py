"""A backbone of a few lines: fixed Gabor filters of four widths and six directions, no weights to learn."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from cytobench.cards import BackboneCard

WIDTHS, DIRECTIONS = (4.0, 6.0, 9.0, 13.0), 6


def build(card: BackboneCard, weights: Path | None) -> nn.Module:
    """Return the network that the card's `loader` names; `weights` is None: the card says "none"."""
    return Ripples()


class Ripples(nn.Module):
    """From normalised pixels, float [b, 3, size, size], to features, [b, 48]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _filters())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the mean and the spread of every filter's answer over the picture."""
        grey = pixels.mean(dim=1, keepdim=True)
        answers = nn.functional.conv2d(grey, self.filters, padding="same").abs()
        return torch.cat([answers.mean(dim=(2, 3)), answers.std(dim=(2, 3))], dim=1)


def _filters(size: int = 31) -> torch.Tensor:
    """Return the filters, float [24, 1, size, size]; each is free of the picture's mean grey."""
    axis = torch.arange(size) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    made = []
    for width in WIDTHS:
        bump = torch.exp(-(x**2 + y**2) / (2 * (width / 2) ** 2))
        for step in range(DIRECTIONS):
            angle = math.pi * step / DIRECTIONS
            wave = bump * torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / width)
            wave = wave - bump * (wave.sum() / bump.sum())
            made.append(wave / wave.norm())
    return torch.stack(made)[:, None]
