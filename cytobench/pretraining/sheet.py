"""A contact sheet of augmented crops: whether views are as different, and as alike, as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cytobench.pretraining.augment import make_crops
from cytobench.pretraining.draws import Augmentation, MultiCrop, draw, kinds_of

_GAP = 4
_CAPTION = 16


def views_sheet(
    pictures: NDArray[np.uint8], crops: MultiCrop, change: Augmentation, path: Path, *, seed: int = 0
) -> Path:
    """Write a PNG with a row for each picture [n, side, side, 3]: itself and all its crops.

    Global crops are shown at their size, local ones at theirs; normalisation is undone.
    """
    images = torch.from_numpy(np.ascontiguousarray(pictures))
    columns: list[tuple[str, Sequence[NDArray[np.uint8]]]] = [("picture", list(_scaled(pictures, crops)))]
    mean, std = (torch.tensor(value)[:, None, None] for value in (change.mean, change.std))
    for number, kind in enumerate(kinds_of(crops, change)):
        rng = np.random.default_rng([seed, number])
        made = make_crops(images, draw(kind, change, len(pictures), pictures.shape[1], rng), kind, change)
        shown = ((made * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        tiles = shown.permute(0, 2, 3, 1).numpy().reshape(kind.count, len(pictures), kind.size, kind.size, 3)
        name = "global" if number == 0 else "local"
        columns += [(f"{name} {i + 1}", list(tile)) for i, tile in enumerate(tiles)]
    sheet = _lay_out(columns, len(pictures), crops.global_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _scaled(pictures: NDArray[np.uint8], crops: MultiCrop) -> list[NDArray[np.uint8]]:
    size = (crops.global_size,) * 2
    return [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in pictures]


def _lay_out(
    columns: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], rows: int, height: int
) -> Image.Image:
    widths = [tiles[0].shape[1] for _, tiles in columns]
    size = (sum(widths) + _GAP * (len(columns) + 1), _CAPTION + rows * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    left = _GAP
    for (name, tiles), width in zip(columns, widths, strict=True):
        pen.text((left, 2), name, fill="black")
        for row, tile in enumerate(tiles):
            top = _CAPTION + row * (height + _GAP) + (height - tile.shape[0]) // 2
            sheet.paste(Image.fromarray(tile), (left, top))
        left += width + _GAP
    return sheet
