"""Accuracy against cost: a point a backbone, over parameters and over images a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.leaderboard.site.cost import Cost, device_of
from cytobench.leaderboard.site.drawing import PALE, Drawing, finish
from cytobench.leaderboard.site.names import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

_DOMAINS = {"cytology": ("C0", "D"), "histology": ("C1", "s"), "natural": ("C2", "^"), "none": ("C7", "o")}
_PLACES = [(7, 0), (-7, 0)] + [
    (side, up * sign) for up in (10, 20, 30, 42, 54) for sign in (1, -1) for side in (9, -9)
]
"""Where a name may stand beside its point, in pt, best first."""
_MARGIN = 0.12
_SIZE, _LETTER = 7, 4.3
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
    axes[0].set_ylabel(fill(what, 36))
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
    for domain, (colour, marker) in _DOMAINS.items():
        mine = [point for point in points if point.domain == domain]
        xs = [_at(cost, point.backbone) for point in mine]
        sure = [(x, one) for x, one in zip(xs, mine, strict=True) if one.low is not None]
        lows, highs = [one.low or 0.0 for _, one in sure], [one.high or 0.0 for _, one in sure]
        axis.vlines([x for x, _ in sure], lows, highs, colors=colour, lw=1.2, alpha=0.6)
        axis.scatter(xs, [point.value for point in mine], s=42, color=colour, marker=marker, zorder=3)
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
    """Write each name beside its point, where it covers neither a point nor another name, if it can.

    All lengths are in pt; how long a name is, is guessed from its letters: measuring takes ten times as long.
    """
    at = axis.transData.transform([(_at(cost, one.backbone), one.value) for one in points])
    at *= 72 / axis.figure.dpi
    frame = np.array(axis.get_window_extent().extents) * 72 / axis.figure.dpi
    taken = np.column_stack([at - 3.5, at + 3.5])
    back = axis.transData.inverted()
    for point, (x, y) in zip(points, at, strict=True):
        name = short(point.backbone, 22)
        boxes = np.array([_box(x, y, place, len(name) * _LETTER) for place in _PLACES])
        best = int(np.argmin(_faults(boxes, taken, frame)))
        taken = np.vstack([taken, boxes[best]])
        dx, dy = _PLACES[best]
        (here, there) = back.transform(np.array([(x, y), (x + dx, y + dy)]) * axis.figure.dpi / 72)
        side = "left" if dx > 0 else "right"
        axis.text(there[0], there[1], name, fontsize=_SIZE, ha=side, va="center")
        if dy:
            axis.plot([here[0], there[0]], [here[1], there[1]], color=PALE, lw=0.5, zorder=1)


def _box(x: float, y: float, place: tuple[int, int], width: float) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a name at an offset from its point."""
    left = x + place[0] - (width if place[0] < 0 else 0)
    return left, y + place[1] - _SIZE / 2, left + width, y + place[1] + _SIZE / 2


def _faults(boxes: Floats, taken: Floats, frame: Floats) -> Floats:
    """Return how many names and points each box would cover, float64 [p]; leaving the frame counts three."""
    covers = (boxes[:, None, :2] < taken[None, :, 2:]) & (boxes[:, None, 2:] > taken[None, :, :2])
    outside = (boxes[:, :2] < frame[:2]).any(1) | (boxes[:, 2:] > frame[2:]).any(1)
    faults: Floats = covers.all(2).sum(1) + 3.0 * outside
    return faults


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
