"""Pictures of a leaderboard: scores with their folds, drawn with seaborn in colour-blind safe colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.errors import counted
from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.rows import Row
from cytobench.statistics.ranks import wilcoxon_cliques

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RANKS_LABELLED = 14
_HEIGHT_PER_BACKBONE, _LEGEND_HEIGHT = 0.32, 0.35  # inches


def scores_figure(rows: Sequence[Row], path: Path, *, title: str) -> Path | None:
    """Draw a panel a task and metric: each backbone's score (diamond), 95 % interval and folds (dots).

    Of tuned and untuned runs of a probe the tuned ones are drawn.

    Writes PNG or SVG by the suffix of `path` and returns it; None when no row has a score.
    """
    shown = _tuned_where_possible([row for row in rows if row.value is not None])
    if not shown:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.lines import Line2D

    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85)
    tasks = list(dict.fromkeys(row.task for row in shown))
    panels = sorted(
        dict.fromkeys((row.task, row.metric) for row in shown), key=lambda panel: tasks.index(panel[0])
    )
    order = _order(shown)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = (4.2 * columns + 1.2, lines * (1.3 + _HEIGHT_PER_BACKBONE * len(order)) + _LEGEND_HEIGHT)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    probes = list(dict.fromkeys(row.probe for row in shown))
    colours = dict(zip(probes, sns.color_palette("colorblind", len(probes)), strict=True))
    for axis, panel in zip(axes.flat, panels, strict=False):
        _panel(axis, [row for row in shown if (row.task, row.metric) == panel], order, colours)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    marks = [Line2D([], [], marker="D", ls="", color=colours[probe], label=probe) for probe in probes]
    folds = Line2D([], [], marker=".", ls="", color="grey", label="one fold")
    reach = Line2D([], [], ls="-", lw=1.4, color="grey", label="95 % interval")
    handles = [*marks, reach, folds]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.tight_layout(rect=(0, _LEGEND_HEIGHT / size[1], 1, 0.99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def _tuned_where_possible(rows: Sequence[Row]) -> list[Row]:
    tuned = {(row.task, row.probe) for row in rows if row.tuned}
    return [row for row in rows if row.tuned or (row.task, row.probe) not in tuned]


def _order(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(row.backbone for row in rows))

    def mean(name: str) -> float:
        values = [row.value for row in rows if row.backbone == name and row.value is not None]
        return sum(values) / len(values)

    return sorted(names, key=lambda name: -mean(name))


def _panel(axis: Axes, rows: Sequence[Row], order: Sequence[str], colours: Mapping[str, object]) -> None:
    probes = list(dict.fromkeys(row.probe for row in rows))
    for row in rows:
        shift = 0.3 * (probes.index(row.probe) - (len(probes) - 1) / 2)
        height = order.index(row.backbone) + shift
        colour = colours[row.probe]
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [height, height], color=colour, lw=1.4)
        axis.scatter(
            row.fold_values, [height] * len(row.fold_values), s=9, color=colour, alpha=0.5, linewidths=0
        )
        axis.scatter(row.value or 0.0, height, s=34, marker="D", color=colour)
    axis.set_yticks(range(len(order)), order)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.set_title(f"{rows[0].task}  (n = {rows[0].n:,})", loc="left")
    axis.set_xlabel(title_of(rows[0].metric))


def critical_difference_figure(rows: Sequence[Row], path: Path, *, title: str) -> Path | None:
    """Write the picture of `draw_critical_difference` to `path` and return it; None where there is none."""
    import seaborn as sns

    sns.set_theme(style="white", palette="colorblind", font_scale=0.85)
    figure = draw_critical_difference(rows, title=title)
    if figure is None:
        return None
    figure.savefig(path, dpi=150)
    return path


def draw_critical_difference(
    rows: Sequence[Row], *, title: str, called: Callable[[str], str] = str
) -> Figure | None:
    """Draw mean ranks over tasks with bars over backbones that are not told apart (Wilcoxon, Holm).

    Only ranked columns of one probe and tuning are taken, those with most tasks, and backbones complete on
    them; `called` says what a backbone is called in the picture. Returns None with fewer than eight tasks:
    signed ranks over so few can show nothing.
    """
    names, values = _over_tasks(rows)
    cliques = wilcoxon_cliques(values) if len(names) > 1 else None
    if cliques is None:
        return None
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    half = -(-len(names) // 2)
    bars = 0.22 * len(cliques.groups)
    height = 1.25 + 0.24 * half + bars
    figure = Figure(figsize=(8.0, height))
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0 - 0.55 / height))
    _draw_rank_axis(axis, len(names))
    order = np.argsort(cliques.ranks, kind="stable")
    high = float(len(names))
    margin = 0.02 * (high - 1)
    for place, one in enumerate(order):
        left = place < half
        depth = -0.3 - bars - 0.24 * (place if left else len(names) - 1 - place)
        edge = 1.0 - margin if left else high + margin
        rank, name = float(cliques.ranks[one]), called(names[one])
        axis.plot([rank, rank, edge], [0, depth, depth], color=rcParams["axes.edgecolor"], lw=0.9, zorder=1)
        text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        axis.text(edge, depth, f" {text} ", ha="right" if left else "left", va="center", fontsize=8)
    for place, group in enumerate(cliques.groups):
        ranks = cliques.ranks[list(group)]
        depth, reach = -0.16 - 0.22 * place, 0.006 * (high - 1)
        axis.plot([ranks.min() - reach, ranks.max() + reach], [depth, depth], color="C0", lw=4, zorder=3)
    axis.set_xlim(1 - 0.55 * (high - 1), high + 0.55 * (high - 1))
    axis.set_ylim(-0.5 - bars - 0.24 * half, 0.5)
    axis.axis("off")
    what = f"{title}\nmean rank over {counted(len(values), 'task')}; bars: not told apart (Wilcoxon, Holm)"
    figure.text(0.02, 1 - 0.1 / height, what, ha="left", va="top", fontsize=9)
    return figure


def _draw_rank_axis(axis: Axes, count: int) -> None:
    from matplotlib import rcParams

    ink = rcParams["text.color"]
    axis.plot([1, count], [0, 0], color=ink, lw=1)
    for rank in range(1, count + 1):
        axis.plot([rank, rank], [0, 0.08], color=ink, lw=1)
        if count <= _RANKS_LABELLED or rank % 2:
            axis.text(rank, 0.12, str(rank), ha="center", va="bottom")


def _over_tasks(rows: Sequence[Row]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return backbones and their scores [tasks, backbones] under the probe and tuning with most tasks."""
    scored = [row for row in rows if row.value is not None and row.ranked]
    kinds: dict[tuple[str, bool], list[Row]] = {}
    for row in scored:
        kinds.setdefault((row.probe, row.tuned), []).append(row)
    if not kinds:
        return [], np.zeros((0, 0))
    mine = max(kinds.items(), key=lambda one: (len({row.task for row in one[1]}), one[0][1], one[0][0]))[1]
    tasks = list(dict.fromkeys(row.task for row in mine))
    by_place = {(row.task, row.backbone): row.value or 0.0 for row in mine}
    names = [
        name
        for name in dict.fromkeys(row.backbone for row in mine)
        if all((task, name) in by_place for task in tasks)
    ]
    return names, np.array([[by_place[task, name] for name in names] for task in tasks])
