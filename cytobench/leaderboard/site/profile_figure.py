"""One backbone on every task, beside the best null model and the best other backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.site.board import Board, metric_of, probe_of
from cytobench.leaderboard.site.drawing import PALE, Drawing, finish
from cytobench.leaderboard.site.names import file_stem, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def profile_figure(board: Board, backbone: str) -> Drawing | None:
    """Draw a line a task: the backbone's score with its interval, the best null, the best other backbone."""
    mine = [
        row
        for task, key in board.main.items()
        if (row := board.by_place.get((backbone, key))) is not None and row.value is not None and task
    ]
    if not mine:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.25 + 0.32 * len(mine)))
    axis = figure.subplots()
    table = [_line(axis, board, row, place) for place, row in enumerate(mine)]
    axis.set_yticks(range(len(mine)), [_label(row) for row in mine])
    axis.set_ylim(len(mine) - 0.5, -0.5)
    axis.set_xlabel("score")
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    words = (
        f"Scores of {backbone} on {len(mine)} tasks with 95 % intervals, beside the best null model and the "
        "best other backbone."
    )
    texts, numbers = ("task", "probe", "metric"), ("value", "low", "high", "best_null", "best_other")
    schema = {**dict.fromkeys(texts, pl.String()), **dict.fromkeys(numbers, pl.Float64())}
    data = pl.DataFrame(table, schema=schema, orient="row")
    return finish(figure, f"{file_stem('backbone', backbone)}-profile", "Scores by task", words, data)


def _label(row: Row) -> str:
    return f"{short(row.task, 26)} ({metric_of(row.metric)})"


def _line(axis: Axes, board: Board, row: Row, place: int) -> list[object]:
    rivals = [one for one in board.in_column(row.column) if one.backbone != row.backbone]
    null = max((one.value or 0.0 for one in rivals if one.null), default=None)
    other = max((one.value or 0.0 for one in rivals if not one.null), default=None)
    if null is not None:
        axis.plot([null, null], [place - 0.3, place + 0.3], color=PALE, lw=2.4, label="best null model")
    if other is not None:
        axis.scatter(
            other,
            place,
            s=34,
            marker="o",
            color="none",
            edgecolors="C1",
            linewidths=1.4,
            label="best other backbone",
        )
    if row.low is not None and row.high is not None:
        axis.plot([row.low, row.high], [place, place], color="C0", lw=1.8, solid_capstyle="butt")
    axis.scatter(
        row.value or 0.0, place, s=36, marker="D", color="C0", zorder=3, label="this backbone, 95 % interval"
    )
    return [row.task, probe_of(row.column), row.metric, row.value, row.low, row.high, null, other]
