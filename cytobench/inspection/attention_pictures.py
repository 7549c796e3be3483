"""Attention as strips of pictures, for a contact sheet and a page alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cytobench.images import RGB
from cytobench.inspection.attended import Attended
from cytobench.inspection.overlay import coloured, overlaid, ramp, top_of
from cytobench.inspection.subjects import Mask
from cytobench.pictures.page import picture_uri, render
from cytobench.pictures.sheet import Strip, Tile, contact_sheet

SIDE = 132
WIDE = 4
"""Columns that a field is wide."""
_DRAWN = 264
_BAR_HIGH = 16
_TEMPLATES = Path(__file__).parent / "templates"


def strips_of_images(found: Sequence[Attended]) -> list[Strip]:
    """Return two strips a picture: overlays of every head, of their mean and of rollout; then the bare maps.

    All heads and means share one scale, all rollouts another: bars at the end say which.
    """
    scales = _scales(found)
    made: list[Strip] = []
    for one in found:
        seen = _drawable(one.attention.seen)
        maps = [*one.attention.heads, one.attention.mean]
        names = [*(f"head {k + 1}" for k in range(len(one.attention.heads))), "mean of heads"]
        tiles = [Tile(_outlined(one.subject.crop, one.subject.cell), ("the picture",))]
        tiles += [Tile(overlaid(seen, m, top=scales[0]), (n,)) for m, n in zip(maps, names, strict=True)]
        tiles.append(Tile(overlaid(seen, one.attention.rollout, top=scales[1]), ("rollout",)))
        bare = [Tile(seen, ("as the network sees it",))] + [
            Tile(coloured(m, _DRAWN, top=scales[0])) for m in maps
        ]
        bare.append(Tile(coloured(one.attention.rollout, _DRAWN, top=scales[1])))
        made += [Strip(_heading(one), tiles), Strip("", bare)]
    return [*made, _bars(found, scales)]


def strips_of_classes(found: Sequence[Attended], each: int) -> list[Strip]:
    """Return a strip a class with `each` cells: as cut, under the heads' mean attention, under rollout."""
    scales = _scales(found)
    made = []
    for label in dict.fromkeys(one.subject.label for one in found):
        tiles = []
        for one in [one for one in found if one.subject.label == label][:each]:
            seen = _drawable(one.attention.seen)
            on = one.on_cell
            said = ("mean of heads", _on(on.attention, on.area)) if on else ("mean of heads",)
            rolled = ("rollout", _on(on.rollout, on.area)) if on else ("rollout",)
            tiles += [
                Tile(_outlined(one.subject.crop, one.subject.cell), (one.subject.name.rpartition("/")[2],)),
                Tile(overlaid(seen, one.attention.mean, top=scales[0]), said),
                Tile(overlaid(seen, one.attention.rollout, top=scales[1]), rolled),
            ]
        made.append(Strip(label, tiles))
    return [*made, _bars(found, scales)]


def sheet(title: str, strips: Sequence[Strip], notes: Sequence[str], *, columns: int) -> Image.Image:
    """Return the strips as a contact sheet."""
    return contact_sheet(strips, title=title, notes=notes, columns=columns, side=SIDE)


def page(
    title: str,
    strips: Sequence[Strip],
    notes: Sequence[str],
    table: dict[str, Any],
    said: Sequence[str] = (),
) -> str:
    """Return the strips as a self-contained page, below what is `said` and a table of figures.

    table: its `head`, `rows` and `caption`.
    """
    parted = any(strip.span == WIDE for strip in strips)  # what is not wide belongs to what is
    shown = [
        {
            "heading": strip.heading,
            "part": parted and strip.span == 1,
            "wide": strip.span == WIDE,
            "bar": strip.height == _BAR_HIGH,
            "tiles": [
                {
                    "uri": picture_uri(tile.pixels, side=_DRAWN * strip.span),
                    "lines": [line for line in tile.lines if line],
                    "frame": tile.frame,
                }
                for tile in strip.tiles
            ],
        }
        for strip in strips
    ]
    context = {"title": title, "strips": shown, "notes": list(notes), "table": table, "said": list(said)}
    return render("attend.html", context, folder=_TEMPLATES)


def bars(tops: Sequence[tuple[str, str]]) -> Strip:
    """Return bars of colours: of each what it is the scale of, and what its brightest colour stands for."""
    picture = ramp(3 * _DRAWN, 30)
    tiles = [Tile(picture, (what, f"dark 0, bright {top}")) for what, top in tops]
    return Strip("Colours", tiles, span=3, height=_BAR_HIGH)


def _scales(found: Sequence[Attended]) -> tuple[float, float]:
    """Return the brightest value of heads and of rollouts; both scales are those of the whole sheet."""
    heads = top_of(*(one.attention.heads for one in found))
    return heads, top_of(*(one.attention.rollout for one in found))


def _bars(found: Sequence[Attended], scales: tuple[float, float]) -> Strip:
    patches = found[0].attention.rollout.size
    tops = [f"{top * patches:.1f} x an even share and more" for top in scales]
    return bars(list(zip(("heads and their mean", "rollout"), tops, strict=True)))


def _heading(one: Attended) -> str:
    on = f", {_on(one.on_cell.attention, one.on_cell.area)}" if one.on_cell else ""
    return f"{one.subject.name}: attention of the {one.attention.asks}{on}"


def _on(share: float, area: float) -> str:
    return f"box {100 * share:.0f} % (area {100 * area:.0f} %)"


def _drawable(seen: RGB) -> RGB:
    """Return a picture large enough to draw on smoothly."""
    if max(seen.shape[:2]) >= _DRAWN:
        return seen
    return np.asarray(Image.fromarray(seen).resize((_DRAWN, _DRAWN), Image.Resampling.BICUBIC))


def _outlined(crop: RGB, cell: Mask | None) -> RGB:
    """Return a crop with the cell's box drawn in."""
    if cell is None:
        return crop
    scale = max(1, round(_DRAWN / crop.shape[0]))
    drawn = Image.fromarray(crop).resize(
        (crop.shape[1] * scale, crop.shape[0] * scale), Image.Resampling.BICUBIC
    )
    rows, columns = np.flatnonzero(cell.any(1)), np.flatnonzero(cell.any(0))
    corners = [scale * int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
    wide = max(2, drawn.width // 90)
    pen = ImageDraw.Draw(drawn)
    pen.rectangle(corners, outline="#ffffff", width=wide + 2)
    pen.rectangle(corners, outline="#0072B2", width=wide)
    return np.asarray(drawn)
