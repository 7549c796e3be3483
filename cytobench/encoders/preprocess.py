"""Crops as a backbone was trained to see them: Pillow's resize and a centre crop, pixel for pixel.

Normalisation is left to the device (`network.py`), so that workers hand over one byte a value. Geometry and
rounding follow torchvision's `Resize` and `CenterCrop` and timm's `ResizeKeepRatio` and `CenterCropOrPad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from cytobench.cards import Preprocess
from cytobench.errors import DataError

Pixels = npt.NDArray[np.uint8]
Fill = Literal["mean", "black"]

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def make_prepare(preprocess: Preprocess, *, fill: Fill = "mean") -> Callable[[Pixels], Pixels]:
    """Return the function from a crop, uint8 [h, w, 3], to the network's input, uint8 [size, size, 3].

    `fill` is the border of `resize_mode = "pad"`: timm pads with the mean colour, open_clip with black. The
    function raises DataError for anything but 8-bit RGB pixels.
    """
    resample = _RESAMPLING[preprocess.interpolation]
    size = preprocess.size
    scale = math.floor(size / preprocess.crop_pct)
    mode = preprocess.resize_mode
    colour = _border(preprocess, fill)

    def prepare(crop: Pixels) -> Pixels:
        _refuse_other_than_rgb(crop)
        height, width = crop.shape[:2]
        target = _resized(width, height, scale, mode)
        image = Image.fromarray(crop)
        if target != (width, height):
            image = image.resize(target, resample)
        if target != (size, size):
            image = _centre(image, size, colour)
        return np.asarray(image)

    return prepare


def prepare_key(preprocess: Preprocess, *, fill: Fill = "mean") -> str:
    """Return a key that is equal for two backbones exactly when `make_prepare` gives them equal pixels."""
    parts: list[Any] = [preprocess.size, preprocess.resize_mode, preprocess.interpolation]
    parts.append(math.floor(preprocess.size / preprocess.crop_pct))
    if preprocess.resize_mode == "pad":
        parts.append("-".join(str(value) for value in _border(preprocess, fill)))
    return "/".join(str(part) for part in parts)


def _border(preprocess: Preprocess, fill: Fill) -> tuple[int, int, int]:
    if fill == "black":
        return 0, 0, 0
    red, green, blue = (round(255 * value) for value in preprocess.mean)
    return red, green, blue


def _refuse_other_than_rgb(crop: Pixels) -> None:
    """An image already scaled to 0..1 would be normalised twice and give plausible nonsense; refuse it."""
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or 0 in crop.shape:
        raise DataError(
            f"a crop must be 8-bit RGB, uint8 [height, width, 3] with values 0..255, not {crop.dtype} "
            f"{list(crop.shape)}; decode it with cytobench.images.decode."
        )


def _resized(width: int, height: int, scale: int, mode: str) -> tuple[int, int]:
    """Width and height after the resize, rounded as torchvision and timm round them."""
    if mode == "squash":
        return scale, scale
    if mode == "pad":
        ratio = max(height / scale, width / scale)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    if width <= height:
        return scale, int(scale * height / width)
    return int(scale * width / height), scale


def _centre(image: Image.Image, size: int, colour: tuple[int, int, int]) -> Image.Image:
    """Crop the middle `size` x `size` pixels, with a border where the image is smaller."""
    width, height = image.size
    if width < size or height < size:
        canvas = Image.new("RGB", (max(width, size), max(height, size)), colour)
        canvas.paste(image, (max(0, size - width) // 2, max(0, size - height) // 2))
        image, (width, height) = canvas, canvas.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))
