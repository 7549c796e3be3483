"""A figure once drawn: as SVG inside a page, in the page's own colours, and as SVG and PNG files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from markupsafe import Markup, escape
from PIL import Image

from cytobench.leaderboard.site.names import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, PALE, LINE, PAPER = "#262626", "#5a636f", "#cccccc", "#fefefe"
"""Colours of text, remarks, grids and ground; inside a page they follow its theme."""
_THEME = {INK: "currentColor", PAPER: "none"}
_VARIABLES = {PALE: "pale", LINE: "line", "#0173b2": "accent"}
"""The last is the palette's first colour, which is too dark on dark paper."""
_FONTS = "'DejaVu Sans', Arial, sans-serif"
_DPI = 120


@dataclass(frozen=True)
class Drawing:
    """A figure, what it shows in words, and the numbers it was drawn from.

    `name`: the stem of its files; `description`: what a reader who does not see it is told.
    """

    name: str
    title: str
    description: str
    svg: str
    png: bytes
    data: pl.DataFrame

    @property
    def inline(self) -> Markup:
        """The SVG for a page: named, described, in the theme's colours, with ids of its own."""
        body = self.svg[self.svg.index("<svg") :]
        themed = _THEME | {colour: f"var(--{name})" for colour, name in _VARIABLES.items()}
        for colour, seen in themed.items():
            body = body.replace(f": {colour}", f": {seen}")
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        body = _own_ids(body, self.name)
        label = f"{self.name}-title {self.name}-desc"
        head = f'<svg role="img" aria-labelledby="{label}" '
        words = f'<title id="{self.name}-title">{escape(self.title)}</title>'
        words += f'<desc id="{self.name}-desc">{escape(self.description)}</desc>'
        opening, _, rest = body.partition(">")
        return Markup(head + opening.removeprefix("<svg ") + ">" + words + rest)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the site's style inside the block: seaborn's, colour-blind safe, text kept as text."""
    import matplotlib as mpl
    import seaborn as sns

    # Names are other people's: they are no formulas, and may be in letters that no font here has.
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85)
        mpl.rcParams.update(
            {
                "text.parse_math": False,
                "svg.fonttype": "none",
                "svg.hashsalt": "cytobench",
                "figure.facecolor": PAPER,
                "axes.facecolor": PAPER,
                "axes.edgecolor": LINE,
                "grid.color": LINE,
                "text.color": INK,
                "axes.labelcolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "legend.facecolor": PAPER,
                "legend.edgecolor": LINE,
            }
        )
        yield


def finish(figure: Figure, name: str, title: str, description: str, data: pl.DataFrame) -> Drawing:
    """Return a figure as SVG and PNG with all that belongs to it; the same numbers give the same bytes."""
    return Drawing(name, title, description, _smaller(_svg(figure, title)), _png(figure), data)


def _svg(figure: Figure, title: str) -> str:
    """Return the figure as SVG by one drawing; `savefig` draws everything twice."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas: Any = FigureCanvasSVG(figure)
    vector = io.StringIO()
    canvas.print_svg(vector, metadata={"Date": None, "Title": printable(title)})
    return vector.getvalue()


def _smaller(svg: str) -> str:
    """Return an SVG in half the bytes: coordinates to a hundredth of a point, the font named once."""
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    return svg.replace("<svg ", f'<svg style="font-family: {_FONTS}" ', 1)


def _png(figure: Figure) -> bytes:
    """Return the figure as PNG in at most 256 colours: a third of the bytes, without a visible difference."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    smaller = io.BytesIO()
    drawn.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(smaller, "PNG")
    return smaller.getvalue()


def _own_ids(svg: str, name: str) -> str:
    """Drop ids nobody refers to and put the drawing's name before the others: a page holds many figures."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]*)"', renamed, svg)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
