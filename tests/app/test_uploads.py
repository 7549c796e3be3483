"""What may be dropped on the page: judged by its bytes, in words, and never kept."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytobench.app.guard import MOST_BYTES
from cytobench.app.uploads import FORMATS, read_upload, shown_name
from cytobench.errors import DataError


def picture(width: int = 32, height: int = 24, kind: str = "PNG") -> bytes:
    """Return an image file."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """Return a small PNG file whose header promises this many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, body)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_permitted_format_is_read_and_nothing_stays(tmp_path: Path, kind: str) -> None:
    assert read_upload(picture(kind=kind), f"cell.{kind}", tmp_path).shape == (24, 32, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello, this is no image at all", "no image that can be opened"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            "no image that can be opened",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image that can be opened"),
        (picture(1, 1), "1 x 1 px"),
        (picture(20_000, 8), "too large to be looked at whole (20,000 x 8 px)"),
        (png_that_says(16_000, 16_000), "too large to be looked at whole"),
        (png_that_says(65_000, 65_000), "too large to be looked at whole"),
        (picture()[:200], "damaged"),
        (bytes(MOST_BYTES + 1), "larger than 20 MB"),
    ],
)
def test_nonsense_gets_a_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_upload(data, "cell.png", tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        (r"C:\cells\a.png", "a.png"),
        ("a\x00b\n\u202ec.png", "abc.png"),
        ("", "The file"),
        ("x" * 300, "x" * 59 + "…"),
    ],
)
def test_names_are_shown_and_never_used(tmp_path: Path, name: str, shown: str) -> None:
    assert shown_name(name) == shown
    read_upload(picture(), name, tmp_path)
    assert not list(tmp_path.iterdir())
