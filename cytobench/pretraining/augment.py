"""The crops of a batch, made on the device: cut, turn, colour, stain, blur, solarise, normalise.

One code path on CPU and GPU. Chance was decided before, on the host (`draws`), so which images an operation
touches is known without asking the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cytobench.pretraining import colour
from cytobench.pretraining.draws import Augmentation, CropKind, Draws
from cytobench.pretraining.resample import crop_matrix, resample

_COLOUR: Mapping[int, Callable[[Tensor, Tensor], Tensor]] = {
    0: colour.brighten,
    1: colour.contrast,
    2: colour.saturate,
    3: colour.turn_hue,
}


def make_crops(images: Tensor, draws: Draws, kind: CropKind, change: Augmentation) -> Tensor:
    """Return normalised crops, float [n, 3, s, s], crop-major; images: uint8 [b, side, side, 3]."""
    with torch.autocast(images.device.type, enabled=False):
        x = _cut(images, draws, kind.size)
        _colour(x, draws)
        _apply(x, draws.stained, lambda part, rows: _stain(part, rows, draws, change.stain))
        _apply(x, draws.greyed, lambda part, _: colour.grey(part).expand_as(part))
        _apply(x, draws.blurred, lambda part, rows: colour.blur(part, _on(part, draws.sigma[rows])))
        _apply(x, draws.solarised, lambda part, _: colour.solarise(part))
        mean, std = (x.new_tensor(value)[:, None, None] for value in (change.mean, change.std))
        return x.sub_(mean).div_(std)


def _cut(images: Tensor, draws: Draws, size: int) -> Tensor:
    pixels = images.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)
    top, left, height, width = (
        _on(pixels, part) for part in (draws.top, draws.left, draws.height, draws.width)
    )
    side = images.shape[1]
    rows = crop_matrix(top, height, source=side, size=size, flip=_on(pixels, draws.mirror_rows))
    columns = crop_matrix(left, width, source=side, size=size, flip=_on(pixels, draws.mirror_columns))
    x = resample(pixels, rows, columns)
    _apply(x, draws.transpose, lambda part, _: part.transpose(-1, -2))
    return x


def _colour(x: Tensor, draws: Draws) -> None:
    """Four operations, each image in its own order: those whose turn it is go together."""
    for place in range(draws.order.shape[1]):
        for which, change in _COLOUR.items():
            factors = draws.factors[:, which]
            neutral = 0.0 if which == 3 else 1.0
            touched = draws.coloured & (draws.order[:, place] == which) & (factors != neutral)
            _apply(x, touched, partial(_by_factor, change=change, factors=factors))


def _by_factor(
    part: Tensor,
    rows: NDArray[np.int64],
    *,
    change: Callable[[Tensor, Tensor], Tensor],
    factors: NDArray[np.floating[Any]],
) -> Tensor:
    return change(part, _on(part, factors[rows]))


def _stain(part: Tensor, rows: NDArray[np.int64], draws: Draws, stains: str) -> Tensor:
    scale, shift = _on(part, draws.stain_scale[rows]), _on(part, draws.stain_shift[rows])
    return colour.jitter_stain(part, scale, shift, stains=stains)


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
