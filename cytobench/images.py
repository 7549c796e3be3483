"""Images become arrays here: decode a file to 8-bit RGB, cut what a view shows, lay tiles over a field.

Everything is a pure function of its arguments and safe to call from many threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from cytobench.errors import DataError

if TYPE_CHECKING:
    from cytobench.cards import View

RGB = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_WIDE_INTEGER_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WHITE_ABOVE, _GREY_BELOW, _BLACK_BELOW = 210, 20, 16


def decode(path: str | Path) -> RGB:
    """Read an image file as 8-bit RGB: uint8 [h, w, 3], upright, transparency laid on white.

    Ordinary files come out byte-identical to `PIL.Image.open(path).convert("RGB")`. 16-bit values keep their
    high byte. Raises DataError when the file is missing, truncated, no image, or too large to be one.
    """
    try:
        with Image.open(path) as image:
            orientation = _orientation(image)
            pixels = _to_rgb(image)
    except DataError as error:
        raise DataError(f"Image {path} {error}") from None
    except Exception as error:  # Pillow's plugins raise almost anything on damaged bytes
        raise _unreadable(path, error) from error
    return pixels if orientation == 1 else _upright(pixels, orientation)


def size(path: str | Path) -> tuple[int, int]:
    """Read (width, height) in px from the header only, as `decode` shows the image; raises DataError."""
    try:
        with Image.open(path) as image:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
                turned = image.tag_v2.get(_ORIENTATION, 1) >= 5
            else:
                width, height = image.size
                turned = _orientation(image) >= 5
    except Exception as error:  # as in `decode`
        raise _unreadable(path, error) from error
    return (height, width) if turned else (width, height)


def cut(image: RGB, box: Sequence[int] | None, view: View, mpp: float | None = None) -> RGB:
    """Cut the square that `view` shows of an instance: uint8 [s, s, 3], never rescaled, never stretched.

    image: uint8 [h, w, 3]; box: x, y, w, h in pixels (w = h = 0 is a point, None the whole image); mpp:
    micrometres per pixel, needed by windows in "um". A window has the view's side and the box's centre; a box
    is widened to a square; a tile is its own box. What leaves the image is padded as `view.pad` says.
    Raises DataError.
    """
    left, top, side = frame(image.shape[1], image.shape[0], box, view, mpp)
    return square(image, left, top, side, pad=view.pad)


def frame(
    width: int, height: int, box: Sequence[int] | None, view: View, mpp: float | None = None
) -> tuple[int, int, int]:
    """Return the square that `cut` cuts from an image of this size: left, top (may lie outside), side, px."""
    x, y, w, h = (int(v) for v in box) if box is not None else (0, 0, width, height)
    if view.kind == "precomputed":
        raise DataError("These are features of another tool: there is no picture of their tiles to look at.")
    if view.kind == "window":
        side = _pixels(view.size, view.unit, mpp)
    elif view.kind == "tile" and box is None:
        raise DataError(
            "A tile view needs a box for every instance: expand the field with `tile_boxes` first."
        )
    else:
        side = max(w, h)
    if side < 1:
        raise DataError(
            f"The box {x, y, w, h} has no area: use a window view (a point has no size of its own)."
        )
    return x + (w - side) // 2, y + (h - side) // 2, side


def square(image: RGB, left: int, top: int, side: int, *, pad: str = "reflect") -> RGB:
    """Cut the square of `side` px at (left, top), which may leave the image: uint8 [side, side, 3]."""
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return image[top : top + side, left : left + side].copy()
    return _padded(image, left, top, side, pad)


def tile_boxes(width: int, height: int, view: View, mpp: float | None = None) -> list[Box]:
    """Lay square tiles over a field of `width` x `height` pixels, row by row; remainders are dropped.

    An axis shorter than a tile gets one centred tile that leaves the field, so that no field vanishes. The
    stride is the view's, or the tile's own side. Raises DataError for views in "um" without `mpp`.
    """
    side = _pixels(view.size, view.unit, mpp)
    return grid(width, height, side, _pixels(view.stride, view.unit, mpp) if view.stride else side)


def grid(width: int, height: int, side: int, stride: int) -> list[Box]:
    """Lay squares of `side` every `stride` px, as `tile_boxes` says."""
    return [(x, y, side, side) for y in _starts(height, side, stride) for x in _starts(width, side, stride)]


def tissue_fraction(crop: RGB) -> float:
    """Return the share of pixels of uint8 [h, w, 3] that are neither bright and unsaturated nor black."""
    brightest, darkest = crop.max(axis=2), crop.min(axis=2)
    glass = (darkest >= _WHITE_ABOVE) & (brightest - darkest <= _GREY_BELOW)
    return float(1.0 - np.mean(glass | (brightest <= _BLACK_BELOW)))


def _starts(length: int, side: int, stride: int) -> list[int]:
    if length < side:
        return [(length - side) // 2]
    return list(range(0, length - side + 1, stride))


def _pixels(extent: float | None, unit: str, mpp: float | None) -> int:
    if extent is None:
        raise DataError("This view has no size, so it can be neither a window nor a grid of tiles.")
    if unit == "px":
        return max(1, round(extent))
    if mpp is None or not math.isfinite(mpp) or mpp <= 0:
        raise DataError(
            'This view is given in "um", but the instance has no micrometres per pixel: '
            'give the manifest an "mpp" column, or give the view in "px".'
        )
    return max(1, round(extent / mpp))


def _padded(image: RGB, left: int, top: int, side: int, pad: str) -> RGB:
    height, width = image.shape[:2]
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    if pad in ("reflect", "edge"):
        place = _reflected if pad == "reflect" else _clamped
        inside: RGB = image[place(rows, height)[:, None], place(columns, width)]
        return inside
    out = np.full((side, side, 3), 255 if pad == "white" else 0, dtype=np.uint8)
    rows_in, columns_in = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    out[np.ix_(rows_in, columns_in)] = image[np.ix_(rows[rows_in], columns[columns_in])]
    return out


def _reflected(index: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Mirror positions at the borders, border pixels not repeated, as often as needed (numpy's "reflect")."""
    if length == 1:
        return np.zeros_like(index)
    wave = np.mod(index, 2 * (length - 1))
    folded: npt.NDArray[np.intp] = np.minimum(wave, 2 * (length - 1) - wave)
    return folded


def _clamped(index: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    return np.clip(index, 0, length - 1)


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation 1..8 as the header tells it (Pillow turns TIFF files upright by itself)."""
    if image.format == "TIFF" or not any(key in image.info for key in _EXIF_KEYS):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        KeyError,
        OSError,
    ):  # a broken remark does not spoil the picture
        return 1
    return value if value in _UPRIGHT else 1


def _upright(pixels: RGB, orientation: int) -> RGB:
    return np.asarray(Image.fromarray(pixels).transpose(_UPRIGHT[orientation]))


def _to_rgb(image: Image.Image) -> RGB:
    """Convert any Pillow image to uint8 [h, w, 3]."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode in _WIDE_INTEGER_MODES:
        return _stacked((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":
        return _stacked(_narrowed(np.asarray(image), sixteen_bit=image.format == "PNG"))
    if image.mode == "F":
        return _stacked(_quantised(np.asarray(image)))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _on_white(image)
    return np.asarray(image.convert("RGB"))


def _on_white(image: Image.Image) -> RGB:
    straight = image.convert("LA") if image.mode == "La" else image
    layer = straight.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def _stacked(grey: npt.NDArray[np.uint8]) -> RGB:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _narrowed(values: npt.NDArray[np.int32], *, sixteen_bit: bool) -> npt.NDArray[np.uint8]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise DataError(
            f"holds whole numbers from {lowest} to {highest}: save it with 8 or 16 bits per channel."
        )
    return (values >> 8 if sixteen_bit or highest > 255 else values).astype(np.uint8)


def _quantised(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= 255):  # also true of NaN
        raise DataError(f"holds fractions from {lowest:g} to {highest:g}: rescale it to 0..1 or 0..255.")
    return np.rint(values * 255 if highest <= 1 else values).astype(np.uint8)


def _unreadable(path: str | Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"Image {path} does not exist: check the data folder, or read the data set again.")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path} is a folder where an image file was expected: check the data folder.")
    if isinstance(error, PermissionError):
        return DataError(f"Image {path} may not be read: change its permissions.")
    if isinstance(error, Image.DecompressionBombError):
        return DataError(f"Image {path} is too large to decode whole ({error}): cut it into fields first.")
    if isinstance(error, UnidentifiedImageError):
        empty = Path(path).stat().st_size == 0
        what = "is empty (0 bytes)" if empty else "is not an image of a known format"
        return DataError(f"Image {path} {what}: replace the file or leave it out.")
    reason = str(error) or type(error).__name__
    return DataError(f"Image {path} is damaged ({reason}): download or copy the file again.")
