"""Pictures of a leaderboard: scores with their folds, drawn with seaborn in colour-blind safe colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.rows import Row
from cytobench.statistics.ranks import wilcoxon_cliques

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """Draw mean ranks over tasks with bars over backbones that are not told apart (Wilcoxon, Holm).

    Only ranked columns of one probe and tuning are taken, those with most tasks, and backbones complete on
    them. Returns None with fewer than eight tasks: signed ranks over so few can show nothing.
    """
    names, values = _over_tasks(rows)
    cliques = wilcoxon_cliques(values) if len(names) > 1 else None
    if cliques is None:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="white", palette="colorblind", font_scale=0.85)
    order = np.argsort(cliques.ranks, kind="stable")
    height = 1.4 + 0.24 * len(names)
    figure, axis = plt.subplots(figsize=(7.0, height))
    low, high = 1.0, float(len(names))
    axis.plot([low, high], [0, 0], color="black", lw=1)
    for rank in range(1, len(names) + 1):
        axis.plot([rank, rank], [0, 0.12], color="black", lw=1)
        axis.text(rank, 0.2, str(rank), ha="center", va="bottom")
    half = -(-len(names) // 2)
    for place, one in enumerate(order):
        left = place < half
        depth = -0.7 - 0.45 * (place if left else len(names) - 1 - place) - 0.25 * len(cliques.groups)
        edge = low - 0.25 if left else high + 0.25
        axis.plot([cliques.ranks[one], cliques.ranks[one], edge], [0, depth, depth], color="grey", lw=0.8)
        text = (
            f"{names[one]}  {cliques.ranks[one]:.2f}" if left else f"{cliques.ranks[one]:.2f}  {names[one]}"
        )
        axis.text(edge, depth, f" {text} ", ha="right" if left else "left", va="center")
    for place, group in enumerate(cliques.groups):
        ranks = cliques.ranks[list(group)]
        depth = -0.25 - 0.25 * place
        axis.plot([ranks.min() - 0.04, ranks.max() + 0.04], [depth, depth], color="C0", lw=4)
    axis.set_xlim(low - 0.3 * high - 1.0, high + 0.3 * high + 1.0)
    axis.axis("off")
    axis.set_title(
        f"{title}\nmean rank over {len(values)} tasks; bars: not told apart", loc="left", fontsize=9
    )
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


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
