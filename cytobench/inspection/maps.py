"""The picture of maps: a row a backbone, coloured by class and by confounder side by side, figures below."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytobench.inspection.embedding import WARNING, Map, batch_lines, class_lines, heads, said, title, values
from cytobench.inspection.points import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 20
"""Values up to which each has its own colour and shape; of more, the largest do and the rest are grey."""
_LARGEST = 12
_MARKERS = "os^DvPX<>*"
_GREY, _INK, _PALE = "#c4c4c4", "#1a1a1a", "#555555"
_PANEL, _GAP, _MARGIN, _LINE = 4.5, 0.35, 0.3, 0.165  # inches
_HEAD, _TITLE, _AXIS = 0.55, 0.3, 0.18
_FONT, _LETTERS_PER_INCH = 8.0, 16.0
_CHUNKS = 8
_RASTER_FROM = 2000
_LONGEST = 26
_LOOKED_AT, _COMPANY = 400, 10


@dataclass(frozen=True)
class Colouring:
    """Values of a colouring: `codes` int64 [n] into `names`, -1 for what is grey, named by `rest`."""

    heading: str
    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    rest: str = ""

    @property
    def entries(self) -> int:
        """Number of lines in its legend."""
        return len(self.names) + bool(self.rest)


def by_class(points: Points) -> Colouring:
    """Return the colouring by class, in the order of the task's classes."""
    return _colouring("class", points.classes, points.class_codes)


def by_confounder(points: Points) -> Colouring:
    """Return the colouring by confounder; its values in the order of their names."""
    names = tuple(points.batches)
    shown = tuple(f"{points.confounder} {name}" if name.isdigit() else name for name in names)
    return _colouring(points.confounder, shown, points.batch_codes)


def _colouring(heading: str, names: Sequence[str], codes: npt.NDArray[np.int64]) -> Colouring:
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = np.flatnonzero(counts)
    if len(kept) > MOST:
        kept = np.sort(np.argsort(-counts, kind="stable")[:_LARGEST])
    place = np.full(len(names) + 1, -1)
    place[kept] = np.arange(len(kept))
    labels = tuple(
        f"{number + 1}  {_short(names[k])} ({counts[k]:,})" for number, k in enumerate(kept.tolist())
    )
    found = place[codes]
    grey, others = int((found < 0).sum()), int((counts > 0).sum()) - len(kept)
    words = [f"{others} smaller ones"] if others else []
    words += ["not given"] if (codes < 0).any() else []
    return Colouring(heading, labels, found, f"grey: {', '.join(words)} ({grey:,})" if words else "")


def _short(text: str) -> str:
    return textwrap.shorten(" ".join(text.split()), _LONGEST, placeholder="…") or text[: _LONGEST - 1] + "…"


def draw(task: str, maps: Sequence[Map], points: Points) -> Figure:
    """Return the picture of all maps; PCA has one scale for all, the others know no common one."""
    import seaborn as sns
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    plan = _Plan.of(maps, points)
    with rc_context(_STYLE | sns.axes_style("white")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # scripts the font lacks are drawn as boxes
        figure = Figure(figsize=(plan.width, plan.height), facecolor="white")
        sheet = _Sheet(figure, plan.width, plan.height)
        heading = textwrap.shorten(title(task, list(maps)), int(plan.width * 9))
        sheet.text(_MARGIN, 0.35, heading, size=12, weight="bold")
        for number, one in enumerate(maps):
            _draw_row(sheet, plan, number, one, _half_width(maps if one.method == "pca" else [one]))
        below = _HEAD + len(maps) * plan.row_height
        for column, colouring in enumerate(plan.colourings):
            sheet.legend(plan.left(column), below, colouring)
        sheet.lines(_MARGIN, below + plan.legend, plan.notes, colour=_PALE)
    return figure


@dataclass(frozen=True)
class _Plan:
    """What goes where, in inches: `captions` by row and column, `legend` is its height."""

    colourings: list[Colouring]
    captions: list[list[list[str]]]
    notes: list[str]
    row_height: float
    legend: float
    width: float
    height: float

    @classmethod
    def of(cls, maps: Sequence[Map], points: Points) -> _Plan:
        named = bool(points.confounder)
        colourings = [by_class(points), *([by_confounder(points)] if named else [])]
        captions = [
            [
                _wrapped(class_lines(one), _PANEL),
                *([_wrapped(batch_lines(one, points.confounder), _PANEL)] if named else []),
            ]
            for one in maps
        ]
        width = max(2 * _MARGIN + len(colourings) * (_PANEL + _GAP) - _GAP, 2 * _MARGIN + 1.3 * _PANEL)
        notes = _wrapped([said(list(maps), points) + _handling(colourings), WARNING], width - 2 * _MARGIN)
        lines = max(len(part) for row in captions for part in row)
        row_height = _TITLE + _PANEL + _AXIS + lines * _LINE + _GAP
        legend = max(-(-one.entries // 2) for one in colourings) * _LINE * 0.98 + 2 * _LINE
        height = _HEAD + len(maps) * row_height + legend + len(notes) * _LINE + _MARGIN
        return cls(colourings, captions, notes, row_height, legend, width, height)

    def left(self, column: int) -> float:
        return _MARGIN + column * (_PANEL + _GAP)


def _draw_row(sheet: _Sheet, plan: _Plan, number: int, one: Map, half: float) -> None:
    top = _HEAD + number * plan.row_height
    for column, colouring in enumerate(plan.colourings):
        left = plan.left(column)
        _panel(sheet.panel(left, top + _TITLE), one, colouring, half)
        sheet.text(left, top + _TITLE - 0.08, f"{_short(one.backbone)}, by {colouring.heading}", size=10)
        sheet.lines(left, top + _TITLE + _PANEL + _AXIS, plan.captions[number][column])


def save(figure: Figure, path: Path) -> Path:
    """Write a picture as PNG or SVG, by its suffix, and return its path; the same picture, the same bytes."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    svg = path.suffix.lower() == ".svg"
    with rc_context(_STYLE | {"svg.hashsalt": "cytobench"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(
            path, dpi=150, metadata={"Date": None} if svg else None, format=path.suffix[1:].lower()
        )
    return path


def page(task: str, maps: Sequence[Map], points: Points, figure: Figure) -> str:
    """Return a self-contained page with the picture, its figures as a table, and how to read them."""
    import io

    from PIL import Image

    from cytobench.pictures.page import picture_uri, render

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, dpi=150, format="png")
    picture = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
    context = {
        "title": title(task, list(maps)),
        "picture": picture_uri(picture, lossless=True),
        "said": said(list(maps), points),
        "handling": _handling(_Plan.of(maps, points).colourings).strip(),
        "warning": WARNING,
        "heads": heads(points),
        "rows": [{"name": one.backbone, "values": values(one, points)} for one in maps],
        "confounder": points.confounder,
    }
    return render("embed.html", context, folder=_TEMPLATES)


_TEMPLATES = Path(__file__).parent / "templates"
_STYLE: Any = {"text.parse_math": False, "font.size": _FONT, "axes.linewidth": 0.6}


@dataclass(frozen=True)
class _Sheet:
    """A figure measured in inches from its top left corner."""

    figure: Figure
    width: float
    height: float

    def panel(self, left: float, top: float) -> Axes:
        """Add a square of axes."""
        box = (left, self.height - top - _PANEL, _PANEL, _PANEL)
        scale = (self.width, self.height, self.width, self.height)
        return self.figure.add_axes(tuple(a / b for a, b in zip(box, scale, strict=True)))  # type: ignore[arg-type]

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line whose baseline is `top` below the upper edge."""
        self.figure.text(
            left / self.width, 1 - top / self.height, text, color=style.pop("color", _INK), **style
        )

    def lines(self, left: float, top: float, lines: Sequence[str], colour: str = _INK) -> None:
        """Write lines below each other."""
        for number, line in enumerate(lines):
            self.text(left, top + (number + 1) * _LINE, line, size=_FONT, color=colour)

    def legend(self, left: float, top: float, colouring: Colouring) -> None:
        """Write what colours, shapes and numbers stand for, in two columns."""
        from matplotlib.lines import Line2D

        styles = [*_styles(len(colouring.names)), *([(_GREY, "o")] if colouring.rest else [])]
        handles = [Line2D([], [], ls="", marker=mark, color=colour, ms=5) for colour, mark in styles]
        labels = [*colouring.names, *([colouring.rest] if colouring.rest else [])]
        self.figure.legend(
            handles,
            labels,
            title=colouring.heading,
            loc="upper left",
            bbox_to_anchor=(left / self.width, 1 - top / self.height),
            borderaxespad=0.0,
            borderpad=0.0,
            ncols=2,
            frameon=False,
            fontsize=_FONT,
            title_fontsize=_FONT,
            alignment="left",
            labelspacing=0.25,
            handletextpad=0.2,
            columnspacing=1.0,
        )


def _styles(count: int) -> list[tuple[Any, str]]:
    """Return a colour and a shape a value: up to ten differ in both, beyond that in one of them."""
    import seaborn as sns

    palette = [colour for k, colour in enumerate(sns.color_palette("colorblind", 10)) if k != 7]  # no grey
    return [
        (palette[k % len(palette)], _MARKERS[(k + 3 * (k // len(palette))) % len(_MARKERS)])
        for k in range(count)
    ]


def _half_width(maps: Sequence[Map]) -> float:
    """Return half the side of a panel that holds the widest of some maps."""
    spans = [np.ptp(one.projection.points, axis=0).max() / 2 for one in maps]
    return float(max(spans)) * 1.06 or 1.0


def _panel(axis: Axes, one: Map, colouring: Colouring, half: float) -> None:
    """Draw the points in a seeded order, so that no value lies on top of all others; number the values."""
    points, codes = one.projection.points, colouring.codes
    styles = _styles(len(colouring.names))
    size = float(np.clip(9000 / len(points), 4, 26))
    order = np.random.default_rng(one.seed).permutation(len(points))
    options: dict[str, Any] = {"linewidths": 0, "rasterized": len(points) > _RASTER_FROM}
    grey = codes < 0
    axis.scatter(points[grey, 0], points[grey, 1], s=size * 0.6, c=_GREY, alpha=0.6, **options)
    for chunk in np.array_split(order, _CHUNKS):
        for code, (colour, marker) in enumerate(styles):
            rows = chunk[codes[chunk] == code]
            axis.scatter(
                points[rows, 0], points[rows, 1], s=size, color=colour, marker=marker, alpha=0.75, **options
            )
    _number(axis, points, codes, styles)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    axis.set(
        xlim=(middle[0] - half, middle[0] + half),
        ylim=(middle[1] - half, middle[1] + half),
        xticks=[],
        yticks=[],
    )
    axis.set_xlabel(one.projection.axes[0], labelpad=3, color=_PALE)
    axis.set_ylabel(one.projection.axes[1], labelpad=2, color=_PALE)


def _number(
    axis: Axes, points: npt.NDArray[np.float64], codes: npt.NDArray[np.int64], styles: Sequence[Any]
) -> None:
    """Write each value's number at the median of its points, so that colour alone decides nothing."""
    from matplotlib.patheffects import withStroke

    for code, (colour, _) in enumerate(styles):
        mine = points[codes == code]
        if len(mine):
            dark = tuple(0.55 * part for part in colour)
            halo = [withStroke(linewidth=2.5, foreground="white")]
            x, y = _densest(mine)
            axis.text(
                x,
                y,
                str(code + 1),
                size=9,
                weight="bold",
                color=dark,
                path_effects=halo,
                ha="center",
                va="center",
            )


def _densest(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the point that has its nearest company closest; of many points some hundreds are looked at."""
    some = points[:: -(-len(points) // _LOOKED_AT)]
    distances = np.linalg.norm(some[:, None] - some[None], axis=-1)
    company = min(_COMPANY, len(some) - 1)
    return np.asarray(some[np.partition(distances, company, axis=1)[:, company].argmin()])


def _wrapped(lines: Sequence[str], width: float) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, int(width * _LETTERS_PER_INCH))]


def _handling(colourings: Sequence[Colouring]) -> str:
    cut = [one for one in colourings if "smaller ones" in one.rest]
    return "".join(
        f" The {len(one.names)} largest of many values of {one.heading} are coloured, the others grey."
        for one in cut
    )
