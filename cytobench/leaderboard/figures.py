"""Pictures of a leaderboard: scores with their folds, drawn with seaborn in colour-blind safe colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cytobench.leaderboard.rows import Row

_HEIGHT_PER_BACKBONE = 0.32


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

    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85)
    tasks = list(dict.fromkeys(row.task for row in shown))
    order = _order(shown)
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    size = (4.2 * columns + 1.2, lines * (1.3 + _HEIGHT_PER_BACKBONE * len(order)))
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    for axis, task in zip(axes.flat, tasks, strict=False):
        _panel(axis, [row for row in shown if row.task == task], order)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", ncols=len(labels), frameon=False)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
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


def _panel(axis: object, rows: Sequence[Row], order: Sequence[str]) -> None:
    import seaborn as sns

    probes = list(dict.fromkeys(row.probe for row in rows))
    colours = dict(zip(probes, sns.color_palette("colorblind"), strict=False))
    for offset, probe in enumerate(probes):
        mine = [row for row in rows if row.probe == probe]
        heights = [order.index(row.backbone) + 0.3 * (offset - (len(probes) - 1) / 2) for row in mine]
        folds = [
            (value, height) for row, height in zip(mine, heights, strict=True) for value in row.fold_values
        ]
        if folds:
            axis.scatter(*zip(*folds, strict=True), s=9, color=colours[probe], alpha=0.5, linewidths=0)  # type: ignore[attr-defined]
        axis.scatter(
            [row.value for row in mine], heights, s=34, marker="D", color=colours[probe], label=probe
        )  # type: ignore[attr-defined]
    axis.set_yticks(range(len(order)), order)  # type: ignore[attr-defined]
    axis.set_ylim(len(order) - 0.5, -0.5)  # type: ignore[attr-defined]
    axis.set_title(f"{rows[0].task}  (n = {rows[0].n:,})", loc="left")  # type: ignore[attr-defined]
    axis.set_xlabel(rows[0].metric.replace("_", " "))  # type: ignore[attr-defined]
