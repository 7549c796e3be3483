"""Contact sheets: captioned pictures in rows, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cytobench.images import RGB

RIGHT, WRONG, QUERY = "#009E73", "#D55E00", "#0072B2"
"""Frames by meaning, from Okabe and Ito's palette, told apart by colour-blind people too."""

_GAP, _FRAME, _LINE = 8, 4, 15
_INK, _PALE, _PAPER = "#1a1a1a", "#666666", "#ffffff"


@dataclass(frozen=True)
class Tile:
    """One picture, uint8 [h, w, 3], the lines below it, and the colour of its frame ("": none)."""

    pixels: RGB
    lines: tuple[str, ...] = ()
    frame: str = ""


@dataclass(frozen=True)
class Strip:
    """A heading and the tiles below it, which wrap where the sheet ends.

    `span`: how many columns a tile is wide; `height`: of its picture in px, 0 for as high as wide.
    """

    heading: str
    tiles: Sequence[Tile] = field(default_factory=tuple)
    span: int = 1
    height: int = 0


def contact_sheet(
    strips: Sequence[Strip], *, title: str = "", notes: Sequence[str] = (), columns: int = 8, side: int = 112
) -> Image.Image:
    """Lay tiles out below their headings, `columns` abreast, each fitted into `side` px and never stretched.

    Captions that are too long end in an ellipsis; `notes` stand below everything and wrap.
    """
    pitch = side + 2 * _FRAME + _GAP
    abreast = max(1, min(columns, max((len(strip.tiles) * strip.span for strip in strips), default=1)))
    width = max(abreast * pitch + _GAP, 420)
    heights = [_height_of(strip, abreast, side) for strip in strips]
    wrapped = [line for note in notes for line in _wrap(note, width - 2 * _GAP)]
    head = _LINE + 2 * _GAP if title else _GAP
    sheet = Image.new("RGB", (width, head + sum(heights) + len(wrapped) * _LINE + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((_GAP, _GAP), _fit(title, width - 2 * _GAP, 14), fill=_INK, font=_font(14))
    top = head
    for strip, height in zip(strips, heights, strict=True):
        _draw_strip(sheet, pen, strip, top, abreast, side)
        top += height
    for line in wrapped:
        pen.text((_GAP, top), line, fill=_PALE, font=_font(11))
        top += _LINE
    return sheet


def save(sheet: Image.Image, path: Path) -> Path:
    """Write a sheet as PNG (or what the suffix says) and return its path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _lines_of(strip: Strip) -> int:
    return max((len(tile.lines) for tile in strip.tiles), default=0)


def _size(strip: Strip, side: int) -> tuple[int, int]:
    """Return the width and height that a strip's pictures are fitted into."""
    width = strip.span * side + (strip.span - 1) * (2 * _FRAME + _GAP)
    return width, strip.height or width


def _row_height(strip: Strip, side: int) -> int:
    return _size(strip, side)[1] + 2 * _FRAME + _lines_of(strip) * _LINE + _GAP


def _height_of(strip: Strip, abreast: int, side: int) -> int:
    rows = -(-len(strip.tiles) // max(1, abreast // strip.span))
    return (_LINE + 4 if strip.heading else 0) + rows * _row_height(strip, side) + _GAP


def _draw_strip(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, strip: Strip, top: int, abreast: int, side: int
) -> None:
    if strip.heading:
        pen.text((_GAP, top), _fit(strip.heading, sheet.width - 2 * _GAP, 13), fill=_INK, font=_font(13))
        top += _LINE + 4
    in_row, size = max(1, abreast // strip.span), _size(strip, side)
    for place, tile in enumerate(strip.tiles):
        left = _GAP + (place % in_row) * (size[0] + 2 * _FRAME + _GAP)
        _draw_tile(sheet, pen, tile, (left, top + place // in_row * _row_height(strip, side)), size)


def _draw_tile(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], size: tuple[int, int]
) -> None:
    (left, top), (wide, high) = at, (size[0] + 2 * _FRAME, size[1] + 2 * _FRAME)
    if tile.frame:
        pen.rectangle((left, top, left + wide - 1, top + high - 1), outline=tile.frame, width=_FRAME - 1)
    picture = fitted(tile.pixels, *size)
    sheet.paste(picture, (left + (wide - picture.width) // 2, top + (high - picture.height) // 2))
    for number, line in enumerate(tile.lines):
        below = (left + 1, top + high + number * _LINE)
        pen.text(below, _fit(line, wide, 11), fill=_INK if number == 0 else _PALE, font=_font(11))


def fitted(pixels: RGB, width: int, height: int | None = None) -> Image.Image:
    """Return a picture scaled to fit into `width` x `height` px, by default a square."""
    picture = Image.fromarray(pixels)
    scale = min(width / picture.width, (height or width) / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return picture.resize(size, resample)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _fit(text: str, width: int, size: int) -> str:
    """Return `text`, or its beginning and an ellipsis where it is wider than `width` px."""
    text = " ".join(text.split())
    if _length(text, size) <= width:
        return text
    while text and _length(text + "...", size) > width:
        text = text[:-1]
    return text + "..."


def _wrap(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and _length(f"{lines[-1]} {word}", 11) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
