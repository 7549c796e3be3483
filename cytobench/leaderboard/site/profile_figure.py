"""One backbone on every task, beside the best null model and the best other backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from cytobench.errors import counted
from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.site.board import Board, probe_of
from cytobench.leaderboard.site.drawing import PALE, Drawing, finish
from cytobench.leaderboard.site.marks import Mark, forest
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
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(8.0, 1.25 + 0.32 * len(mine)))
    axis = figure.subplots()
    table = [_line(board, row) for row in mine]
    _rivals(axis, table)
    forest(axis, [Mark(row.value or 0.0, row.low, row.high, k) for k, row in enumerate(mine)], "C0")
    axis.set_yticks(range(len(mine)), [_label(row) for row in mine])
    axis.set_ylim(len(mine) - 0.5, -0.5)
    axis.set_xlabel("score")
    marks = [
        Line2D([], [], marker="D", color="C0", lw=1.7, label="this backbone, 95 % interval"),
        Line2D([], [], marker="|", ls="", ms=11, mew=2.2, color=PALE, label="best null model"),
        Line2D([], [], marker="o", ls="", mfc="none", mew=1.4, color="C1", label="best other backbone"),
    ]
    figure.legend(handles=marks, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    words = (
        f"Scores of {backbone} on {counted(len(mine), 'task')} with 95 % intervals, beside the best null "
        "model and the best other backbone."
    )
    texts, numbers = ("task", "probe", "metric"), ("value", "low", "high", "best_null", "best_other")
    schema = {**dict.fromkeys(texts, pl.String()), **dict.fromkeys(numbers, pl.Float64())}
    data = pl.DataFrame(table, schema=schema, orient="row")
    return finish(figure, f"{file_stem('backbone', backbone)}-profile", "Scores by task", words, data)


def _label(row: Row) -> str:
    return f"{short(row.task, 26)} ({title_of(row.metric)})"


def _line(board: Board, row: Row) -> list[str | float | None]:
    rivals = [one for one in board.in_column(row.column) if one.backbone != row.backbone]
    null = max((one.value or 0.0 for one in rivals if one.null), default=None)
    other = max((one.value or 0.0 for one in rivals if not one.null), default=None)
    return [row.task, probe_of(row.column), row.metric, row.value, row.low, row.high, null, other]


def _rivals(axis: Axes, table: Sequence[Sequence[Any]]) -> None:
    looks: tuple[tuple[int, dict[str, Any]], ...] = (
        (-2, {"s": 150, "marker": "|", "color": PALE, "linewidths": 2.2}),
        (-1, {"s": 36, "marker": "o", "facecolors": "none", "edgecolors": "C1", "linewidths": 1.4}),
    )
    for column, look in looks:
        known = [(line[column], place) for place, line in enumerate(table) if line[column] is not None]
        axis.scatter([value for value, _ in known], [place for _, place in known], **look)
