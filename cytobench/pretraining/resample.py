"""Cropping and resizing as two matrix products an image: antialiased bicubic, flips included.

A crop of `extent` pixels resized to `size` is linear in its source, so rows and columns are each one small
matrix: `rows @ image @ columns.T`. On a GPU a whole batch of different crops is two batched products. Equal
to `torchvision.transforms.v2.functional.resized_crop(…, BICUBIC, antialias=True)` on floats.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SUPPORT = 2.0  # of the cubic kernel, in output pixels where it shrinks and input pixels where it grows


def crop_matrix(start: Tensor, extent: Tensor, *, source: int, size: int, flip: Tensor) -> Tensor:
    """Return float32 [n, size, source], the weights of source pixels in each output pixel of n crops.

    start, extent: [n], where each crop begins and how many pixels it has, inside 0..source; flip: bool [n],
    reversed output. The kernel is Keys's cubic with a = -0.5, widened by the factor of reduction and cut off,
    then normalised, at the crop's borders (as Pillow and PyTorch do).
    """
    start, extent = start.to(torch.float32)[:, None, None], extent.to(torch.float32)[:, None, None]
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)[None, :, None]
    pixel = torch.where(flip[:, None, None], size - 1 - pixel, pixel)
    inside = torch.arange(source, device=start.device, dtype=torch.float32) - start
    scale = extent / size
    widened = scale.clamp(min=1.0)
    centre = scale * (pixel + 0.5)
    first = torch.floor(centre - _SUPPORT * widened + 0.5).clamp(min=0.0)
    last = torch.minimum(torch.floor(centre + _SUPPORT * widened + 0.5), extent)
    weights = _cubic((inside - centre + 0.5) / widened)
    weights = weights * ((inside >= first) & (inside < last))
    return weights / weights.sum(dim=-1, keepdim=True)


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return [v * b, c, s, s], crop-major: v crops of each of b images [b, h, w, c], clamped to 0..1.

    rows: [v * b, s, h]; columns: [v * b, s, w]. Rows of all channels are one product.
    """
    b, height, width, channels = images.shape
    flat = images.reshape(b, height, width * channels)
    crops = []
    for at in range(0, rows.shape[0], b):
        tall = (rows[at : at + b] @ flat).view(b, -1, width, channels).permute(0, 3, 1, 2)
        crops.append(tall @ columns[at : at + b, None].transpose(-1, -2))
    return torch.cat(crops).clamp_(0.0, 1.0)


def _cubic(x: Tensor) -> Tensor:
    """Keys's cubic convolution kernel with a = -0.5 (IEEE TASSP 1981)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
