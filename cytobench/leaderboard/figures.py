"""Pictures of a leaderboard: scores with their folds, drawn with seaborn in colour-blind safe colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.leaderboard.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_PER_BACKBONE, _LEGEND_HEIGHT = 0.32, 0.35  # inches


def scores_figure(rows: Sequence[Row], path: Path, *, title: str) -> Path | None:
    """Draw a panel a task: each backbone's pooled score (diamond) and its folds (dots), tuned where there is.

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
    order = _order(shown)
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    size = (4.2 * columns + 1.2, lines * (1.3 + _HEIGHT_PER_BACKBONE * len(order)) + _LEGEND_HEIGHT)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    probes = list(dict.fromkeys(row.probe for row in shown))
    colours = dict(zip(probes, sns.color_palette("colorblind", len(probes)), strict=True))
    for axis, task in zip(axes.flat, tasks, strict=False):
        _panel(axis, [row for row in shown if row.task == task], order, colours)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    marks = [Line2D([], [], marker="D", ls="", color=colours[probe], label=probe) for probe in probes]
    folds = Line2D([], [], marker=".", ls="", color="grey", label="one fold")
    figure.legend(handles=[*marks, folds], loc="lower center", ncols=len(marks) + 1, frameon=False)
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
        axis.scatter(
            row.fold_values, [height] * len(row.fold_values), s=9, color=colour, alpha=0.5, linewidths=0
        )
        axis.scatter(row.value or 0.0, height, s=34, marker="D", color=colour)
    axis.set_yticks(range(len(order)), order)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.set_title(f"{rows[0].task}  (n = {rows[0].n:,})", loc="left")
    axis.set_xlabel(rows[0].metric.replace("_", " "))
