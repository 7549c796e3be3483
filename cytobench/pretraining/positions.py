"""Position embeddings of crops smaller than the table was made for, as a constant matrix.

Bicubic resampling is linear in what it resamples: `matrix @ table` is the resized table, which costs one
small product, compiles, and needs no interpolation in the training step.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

PositionMode = Literal["ibot", "timm"]


def position_matrix(source: int, target: int, mode: PositionMode) -> Tensor:
    """Return float64 [target * target, source * source] that resizes a square table of embeddings.

    `ibot`: bicubic by the factor (target + 0.1) / source, without antialiasing, as iBOT's and DINO's models
    do; `timm`: bicubic to the size, antialiased, as timm resizes. Equal sizes give the identity.
    """
    basis = torch.eye(source * source, dtype=torch.float64)
    if source == target:
        return basis
    images = basis.reshape(-1, 1, source, source)
    if mode == "ibot":
        factor = (target + 0.1) / source
        resized = interpolate(images, scale_factor=(factor, factor), mode="bicubic")
    else:
        resized = interpolate(images, size=(target, target), mode="bicubic", antialias=True)
    return resized.flatten(1).T.contiguous()
