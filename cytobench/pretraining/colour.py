"""Colour, stain, blur and solarisation of batches, every image with its own draw.

Images are float [n, 3, h, w] in 0..1; factors are [n]. Brightness, contrast, saturation and hue are those of
torchvision's `ColorJitter` on floats.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)

# Optical densities of haematoxylin, eosin and DAB (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 2001).
_HED = np.array([(0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)])

Matrix = tuple[tuple[float, ...], ...]


def _rows(matrix: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in matrix)


_MIX = _rows(_HED / np.linalg.norm(_HED, axis=1, keepdims=True))
_UNMIX = _rows(np.linalg.inv(np.array(_MIX)))


def grey(x: Tensor) -> Tensor:
    """Return the luma of images, [n, 1, h, w]."""
    red, green, blue = _LUMA
    return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]


def brighten(x: Tensor, factor: Tensor) -> Tensor:
    """Scale all channels by `factor`."""
    return (x * _each(factor)).clamp_(0.0, 1.0)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean luma by `factor`."""
    mean = grey(x).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, _each(factor)).clamp_(0.0, 1.0)


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from each pixel's luma by `factor`."""
    return torch.lerp(grey(x).expand_as(x), x, _each(factor)).clamp_(0.0, 1.0)


def turn_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full circle, at constant value and saturation (HSV)."""
    value = x.amax(dim=1)
    chroma = value - x.amin(dim=1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    red, green, blue = x.unbind(dim=1)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    # channel n of 5, 3, 1 is value - chroma * max(0, min(k, 4 - k, 1)) with k = (n + hue in sixths) mod 6
    turned = hue + 6.0 * shift[:, None, None]
    k = torch.remainder(torch.stack([turned + 5.0, turned + 3.0, turned + 1.0], dim=1), 6.0)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4.0 - k).clamp_(0.0, 1.0)


def jitter_stain(x: Tensor, scale: Tensor, shift: Tensor, *, stains: str) -> Tensor:
    """Scale and shift the stains' densities; scale, shift: [n, 3].

    stains "hed": haematoxylin, eosin and a rest, unmixed by Beer-Lambert's law (Tellez et al., IEEE TMI
    2018); "od": the optical densities of red, green and blue themselves, which suits any stain.
    """
    density = -torch.log((x * 255.0 + 1.0) / 256.0)
    scale, shift = scale[:, :, None, None], shift[:, :, None, None]
    if stains == "hed":
        density = _mixed(_mixed(density, _UNMIX) * scale + shift, _MIX)
    else:
        density = density * scale + shift
    return ((torch.exp(-density) * 256.0 - 1.0) / 255.0).clamp_(0.0, 1.0)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur by a Gaussian of `sigma` px, the image mirrored at its borders, as two products an image."""
    kernel = _gaussian(sigma, x.shape[-1])[:, None]
    return kernel @ x @ kernel.transpose(-1, -2)


def solarise(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert every value from `threshold` on."""
    return torch.where(x >= threshold, 1.0 - x, x)


def _gaussian(sigma: Tensor, size: int) -> Tensor:
    """Return [n, size, size]: each output pixel's weights, with what lies outside mirrored back inside."""
    at = torch.arange(size, device=sigma.device, dtype=torch.float32)
    out, inside = at[:, None], at[None, :]
    spread = (-0.5 / sigma.square())[:, None, None]
    weights = torch.exp(spread * (out - inside).square())
    weights = weights + torch.exp(spread * (out + inside).square()) * (inside > 0)
    mirrored = 2.0 * (size - 1) - inside
    weights = weights + torch.exp(spread * (out - mirrored).square()) * (inside < size - 1)
    return weights / weights.sum(dim=-1, keepdim=True)


def _mixed(x: Tensor, matrix: Matrix) -> Tensor:
    """Return sums of the channels weighted by the columns of `matrix`: plain numbers, no waiting."""
    red, green, blue = x.unbind(dim=1)
    return torch.stack([a * red + b * green + c * blue for a, b, c in zip(*matrix, strict=True)], dim=1)


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]
