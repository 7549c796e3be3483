"""The crops of a batch, made on the device: cut, turn, colour, stain, blur, solarise, normalise.

One code path on CPU and GPU. Chance was decided before, on the host (`draws`), so which images an operation
touches is known without asking the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cytobench.pretraining import colour
from cytobench.pretraining.draws import Augmentation, CropKind, Draws
from cytobench.pretraining.precision import full_precision
from cytobench.pretraining.resample import crop_matrix, resample

Change = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Operations:
    """The operations that crops are made by; compiled ones give the same pictures in fewer passes."""

    crop_matrix: Callable[..., Tensor] = crop_matrix
    jitters: tuple[Change, ...] = (colour.brighten, colour.contrast, colour.saturate, colour.turn_hue)
    stain: Callable[..., Tensor] = colour.jitter_stain
    blur: Change = colour.blur

    @classmethod
    def compiled(cls) -> Operations:
        """Return operations compiled for any number of images; each costs some seconds when first used."""
        plain = cls()
        return cls(
            crop_matrix=_compiled(plain.crop_matrix),
            jitters=tuple(_compiled(one) for one in plain.jitters),
            stain=_compiled(plain.stain),
            blur=_compiled(plain.blur),
        )


EAGER = Operations()


def make_crops(
    images: Tensor, draws: Draws, kind: CropKind, change: Augmentation, operations: Operations = EAGER
) -> Tensor:
    """Return normalised crops, float [n, 3, s, s], crop-major.

    images: [b, side, side, 3], uint8 or float32 in 0..1.
    """
    with full_precision(images):
        x = _cut(images, draws, kind.size, operations)
        _colour(x, draws, operations)
        _apply(x, draws.stained, partial(_stain, draws=draws, stains=change.stain, operations=operations))
        _apply(x, draws.greyed, lambda part, _: colour.grey(part).expand_as(part))
        _apply(x, draws.blurred, partial(_by_factor, change=operations.blur, factors=draws.sigma))
        _apply(x, draws.solarised, lambda part, _: colour.solarise(part))
        for channel, mean, std in zip(x.unbind(dim=1), change.mean, change.std, strict=True):
            channel.sub_(mean).div_(std)  # numbers, not tensors: nothing to bring to the device
        return x


def _cut(images: Tensor, draws: Draws, size: int, operations: Operations) -> Tensor:
    pixels = images.to(torch.float32).div(255.0) if images.dtype == torch.uint8 else images
    top, left, height, width = (
        _on(pixels, part) for part in (draws.top, draws.left, draws.height, draws.width)
    )
    side = images.shape[1]
    matrix = operations.crop_matrix
    rows = matrix(top, height, source=side, size=size, flip=_on(pixels, draws.mirror_rows))
    columns = matrix(left, width, source=side, size=size, flip=_on(pixels, draws.mirror_columns))
    x = resample(pixels, rows, columns)
    _apply(x, draws.transpose, lambda part, _: part.transpose(-1, -2))
    return x


def _colour(x: Tensor, draws: Draws, operations: Operations) -> None:
    """Four operations, each image in its own order: those whose turn it is go together."""
    for place in range(draws.order.shape[1]):
        for which, change in enumerate(operations.jitters):
            factors = draws.factors[:, which]
            neutral = 0.0 if which == 3 else 1.0
            touched = draws.coloured & (draws.order[:, place] == which) & (factors != neutral)
            _apply(x, touched, partial(_by_factor, change=change, factors=factors))


def _by_factor(
    part: Tensor, rows: NDArray[np.int64], *, change: Change, factors: NDArray[np.floating[Any]]
) -> Tensor:
    return change(part, _on(part, factors[rows]))


def _stain(
    part: Tensor, rows: NDArray[np.int64], *, draws: Draws, stains: str, operations: Operations
) -> Tensor:
    scale, shift = _on(part, draws.stain_scale[rows]), _on(part, draws.stain_shift[rows])
    return operations.stain(part, scale, shift, stains=stains)


def _apply(
    x: Tensor, touched: NDArray[np.bool_], change: Callable[[Tensor, NDArray[np.int64]], Tensor]
) -> None:
    """Change the touched images of `x` in place."""
    rows = np.flatnonzero(touched)
    if len(rows):
        at = _on(x, rows)
        x.index_copy_(0, at, change(x.index_select(0, at), rows))


def _on(like: Tensor, values: NDArray[np.generic]) -> Tensor:
    """Bring an array to `like`'s device without waiting for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if like.device.type != "cuda":
        return tensor.to(like.device)
    return tensor.pin_memory().to(like.device, non_blocking=True)


def _compiled(operation: Any) -> Any:
    return torch.compile(operation, dynamic=True)
