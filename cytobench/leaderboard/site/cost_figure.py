"""Accuracy against cost: a point a backbone, over parameters and over images a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from cytobench.leaderboard.site.cost import Cost, device_of
from cytobench.leaderboard.site.drawing import PALE, Drawing, finish
from cytobench.leaderboard.site.names import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_DOMAINS = {"cytology": ("C0", "D"), "histology": ("C1", "s"), "natural": ("C2", "^"), "none": ("C7", "o")}
_PLACES = [(7, 0), (-7, 0)] + [
    (side, up * sign) for up in (10, 20, 30, 42, 54) for sign in (1, -1) for side in (9, -9)
]
"""Where a name may stand beside its point, in pt, best first."""
_MARGIN = 0.12
_SCALE = 1.25
"""Parameters of a backbone that has none are drawn so many powers of ten below the fewest."""


@dataclass(frozen=True)
class Point:
    """How good a backbone is, with its interval where there is one, and where its features come from."""

    backbone: str
    value: float
    low: float | None
    high: float | None
    domain: str


def cost_figure(
    points: Sequence[Point], costs: Mapping[str, Cost], *, name: str, what: str, lower_is_better: bool
) -> Drawing | None:
    """Draw points over what they cost: a panel for parameters and one for images/s where known.

    `what` names the vertical axis. Returns None where no cost is known.
    """
    device = device_of(costs)
    panels: list[tuple[str, dict[str, float]]] = []
    sizes = {one.backbone: costs[one.backbone].parameters for one in points}
    known = {backbone: float(size) for backbone, size in sizes.items() if size is not None}
    if any(known.values()):
        panels.append(("parameters", known))
    rates = {p.backbone: costs[p.backbone].rates[device] for p in points if device in costs[p.backbone].rates}
    if rates:
        panels.append((f"images/s of the network alone ({device})", rates))
    if not panels:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * len(panels) + 0.4, 4.6))
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (label, cost) in zip(axes, panels, strict=True):
        _panel(axis, [point for point in points if point.backbone in cost], cost, label)
    axes[0].set_ylabel(what)
    if lower_is_better:
        axes[0].invert_yaxis()
    shown = [domain for domain in _DOMAINS if any(point.domain == domain for point in points)]
    handles = [axes[0].scatter([], [], color=_DOMAINS[d][0], marker=_DOMAINS[d][1], label=d) for d in shown]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, title="pretrained on"
    )
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    for axis, (_, cost) in zip(axes, panels, strict=True):
        _write_names(axis, [point for point in points if point.backbone in cost], cost)
    missing = [point.backbone for point in points if device not in costs[point.backbone].rates]
    words = f"{what} of {len(points)} backbones against " + " and ".join(label for label, _ in panels) + "."
    if device and missing:
        words += f" Speed not measured: {', '.join(missing)}."
    return finish(figure, name, "Accuracy against cost", words, _table(points, costs))


def _panel(axis: Axes, points: Sequence[Point], cost: dict[str, float], label: str) -> None:
    axis.set_xscale("log")
    for point in points:
        colour, marker = _DOMAINS[point.domain]
        x = _at(cost, point.backbone)
        if point.low is not None and point.high is not None:
            axis.plot([x, x], [point.low, point.high], color=colour, lw=1.2, alpha=0.6)
        axis.scatter(x, point.value, s=42, color=colour, marker=marker, zorder=3)
    axis.set_xlabel(label)
    axis.grid(visible=True, which="major", lw=0.6)
    _label_powers(axis, cost)


def _at(cost: dict[str, float], backbone: str) -> float:
    """Return where a backbone stands: one without parameters, which a logarithm has no place for, aside."""
    return cost[backbone] or min(value for value in cost.values() if value) / 10**_SCALE


def _label_powers(axis: Axes, cost: dict[str, float]) -> None:
    """Label 1, 3, 10, 30, … within reach, at least two of them, and "none" where a backbone has none."""
    positive = [value for value in cost.values() if value]
    low, high = min(positive) / 2, max(positive) * 2
    steps = [first * 10.0**power for power in range(-2, 12) for first in (1, 3)]
    ticks = [one for one in steps if low <= one <= high]
    if len(ticks) > 6:
        ticks = [one for one in ticks if f"{one:.0e}".startswith("1")]
    labels = [_power(one) for one in ticks]
    if any(value == 0 for value in cost.values()):
        low = min(positive) / 10**_SCALE
        ticks, labels = [low, *ticks], ["none", *labels]
    axis.set_xticks(ticks, labels)
    axis.minorticks_off()
    width = high / low
    axis.set_xlim(low / width**_MARGIN, high * width**_MARGIN)


def _power(value: float) -> str:
    return f"{value / 1e9:g} G" if value >= 1e9 else f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,g}"


def _write_names(axis: Axes, points: Sequence[Point], cost: dict[str, float]) -> None:
    """Write each name beside its point, where it covers neither a point nor another name, if it can."""
    taken = [_around(axis, _at(cost, point.backbone), point.value) for point in points]
    frame = axis.get_window_extent()
    for point in points:
        at = _at(cost, point.backbone), point.value
        text = axis.annotate(short(point.backbone, 22), at, (0, 0), textcoords="offset points", fontsize=7)
        size = text.get_window_extent()
        choices = [_box(axis, at, place, size) for place in _PLACES]
        faults = [_faults(box, taken, frame) for box in choices]
        best = faults.index(min(faults))
        text.remove()
        dx, dy = _PLACES[best]
        axis.annotate(
            short(point.backbone, 22),
            at,
            (dx, dy),
            textcoords="offset points",
            fontsize=7,
            ha="left" if dx > 0 else "right",
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": PALE} if dy else None,
        )
        taken.append(choices[best])


def _faults(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> int:
    """Return how many names and points a name would cover; leaving the frame counts three."""
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    covered: int = box.count_overlaps(list(taken))
    return covered + 3 * outside


def _box(axis: Axes, at: tuple[float, float], place: tuple[int, int], size: Bbox) -> Bbox:
    """Return where a name of some size would stand, in px, at an offset in pt from its point."""
    from matplotlib.transforms import Bbox

    across, up = axis.transData.transform(at)
    dots = axis.figure.dpi / 72
    left = across + place[0] * dots - (size.width if place[0] < 0 else 0)
    bottom = up + place[1] * dots - size.height / 2
    return Bbox.from_bounds(left, bottom, size.width, size.height)


def _around(axis: Axes, x: float, y: float) -> Bbox:
    from matplotlib.transforms import Bbox

    across, up = axis.transData.transform((x, y))
    return Bbox.from_extents(across - 5, up - 5, across + 5, up + 5)


def _table(points: Sequence[Point], costs: Mapping[str, Cost]) -> pl.DataFrame:
    devices = sorted({device for cost in costs.values() for device in cost.rates})
    rows = [
        [p.backbone, p.value, p.low, p.high, costs[p.backbone].parameters]
        + [costs[p.backbone].rates.get(device) for device in devices]
        for p in points
    ]
    schema = {"backbone": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    schema |= {"parameters": pl.Int64} | {f"images_per_second_{device}": pl.Float64 for device in devices}
    return pl.DataFrame(rows, schema=schema, orient="row")
