"""Images that people drop on the page: checked by what they are, not by what they are called."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from PIL import Image

from cytobench import images
from cytobench.app.guard import MOST_BYTES, TOO_LARGE
from cytobench.errors import DataError
from cytobench.images import RGB
from cytobench.retrieval.query import SMALLEST, SUFFIXES

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""What is opened, whatever the file is called."""
MOST_PIXELS = 50_000_000
LONGEST = 16_384
"""The longest side of an image that is decoded, px."""
_NAME_SHOWN = 60


def read_upload(data: bytes, name: str, folder: Path) -> RGB:
    """Return an uploaded image: uint8 [h, w, 3]; nothing of it stays in `folder`.

    Raises DataError with a sentence for what is too large, too small, too long, damaged, or no image.
    """
    called = shown_name(name)
    if len(data) > MOST_BYTES:
        raise DataError(TOO_LARGE)
    if not data:
        raise DataError(f"{called} is empty (0 bytes); choose an image.")
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".upload") as kept:
        kept.write(data)
        kept.flush()
        _check_size(kept.name, called)
        try:
            return images.decode(kept.name)
        except DataError as error:
            raise DataError(str(error).replace(f"Image {kept.name}", called)) from None


def shown_name(name: str) -> str:
    """Return a file's name to be put into a sentence: its last part, printable, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable()).strip()
    if not clean:
        return "The file"
    return clean if len(clean) <= _NAME_SHOWN else f"{clean[: _NAME_SHOWN - 1]}…"


def _check_size(path: str, called: str) -> None:
    """Raise DataError for what is no image of a permitted format, judged by the header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, in words
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise DataError(_too_many(called)) from None
    except Exception:  # Pillow's plugins raise almost anything on damaged bytes
        raise DataError(f"{called} is no image that can be opened ({', '.join(SUFFIXES)}).") from None
    if min(width, height) < SMALLEST:
        raise DataError(
            f"{called} is {width} x {height} px: no cell can be told in fewer than {SMALLEST} px a side."
        )
    if max(width, height) > LONGEST or width * height > MOST_PIXELS:
        raise DataError(_too_many(called, f" ({width:,} x {height:,} px)"))


def _too_many(called: str, size: str = "") -> str:
    return (
        f"{called} is too large to be looked at whole{size}: at most {LONGEST:,} px a side and "
        f"{MOST_PIXELS // 10**6} megapixels; cut the field you mean out of it."
    )
