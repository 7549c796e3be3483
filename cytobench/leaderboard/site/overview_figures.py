"""Figures of a whole leaderboard: standings, heat maps, critical differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import counted
from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard.figures import draw_critical_difference
from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.site.board import Board, probe_of
from cytobench.leaderboard.site.drawing import INK, PAPER, Drawing, finish
from cytobench.leaderboard.site.marks import Mark, forest
from cytobench.leaderboard.site.names import short
from cytobench.leaderboard.uncertainty import Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]

_DARK, _BRIGHT = "#0b0b0b", "#ffffff"


def standings_figure(standings: Sequence[Standing]) -> Drawing:
    """Draw each backbone's mean rank with its interval; filled diamonds may be first."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.0, 0.9 + 0.3 * len(standings)))
    axis = figure.subplots()
    places = [(one, Mark(one.rank, one.low, one.high, place)) for place, one in enumerate(standings)]
    for tied in (True, False):
        forest(axis, [mark for one, mark in places if one.tied == tied], "C0", filled=tied, size=46)
    axis.set_yticks(range(len(standings)), [short(one.backbone) for one in standings])
    axis.set_ylim(len(standings) - 0.5, -0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("mean rank (1 is best) with 95 % interval; filled: may be first")
    figure.tight_layout()
    first = [one.backbone for one in standings if one.tied]
    words = (
        f"Mean ranks of {counted(len(standings), 'backbone')}, best first. {standings[0].backbone} leads "
        f"with {standings[0].rank:.1f}. May be first: {', '.join(first)}."
    )
    return finish(figure, "standings", "Overall standings", words, standings_table(standings))


def standings_table(standings: Sequence[Standing]) -> pl.DataFrame:
    """Return a line a backbone: backbone, mean_rank, low, high, may_be_first."""
    schema = {
        "backbone": pl.String,
        "mean_rank": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "may_be_first": pl.Boolean,
    }
    rows = [(one.backbone, one.rank, one.low, one.high, one.tied) for one in standings]
    return pl.DataFrame(rows, schema=schema, orient="row")


def heat_map(board: Board, kind: str) -> Drawing | None:
    """Draw scores ("score") or skill ("skill") of backbones (rows) on tasks (columns), one column a task.

    A star marks scores that may be first; None where there is nothing to draw.
    """
    names = board.with_score
    if kind == "skill":  # null models are what it is measured from
        nulls = {row.backbone for row in board.judged.rows if row.null}
        names = [name for name in names if name not in nulls]
    tasks = [task for task, key in board.main.items() if board.in_column(key)]
    cells = [[board.by_place.get((name, board.main[task])) for task in tasks] for name in names]
    values = np.array([[_number(row, kind) for row in line] for line in cells], dtype=np.float64)
    if not values.size or np.isnan(values).all():
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 + 0.78 * len(tasks), 1.9 + 0.3 * len(names)))
    axis = figure.subplots()
    _paint(axis, values, kind, [[_said(row, kind) for row in line] for line in cells])
    axis.set_xticks(np.arange(len(tasks)) + 0.5, [short(task, 24) for task in tasks], rotation=35, ha="right")
    axis.set_yticks(np.arange(len(names)) + 0.5, [short(name) for name in names], rotation=0)
    figure.tight_layout()
    title = "Scores by backbone and task" if kind == "score" else "Skill above the best null model"
    words = (
        f"{title}: {counted(len(names), 'backbone')} in rows, {counted(len(tasks), 'task')} in columns; the "
        "numbers stand in the table behind the figure. A star: may be first in its column."
    )
    return finish(figure, f"heat-map-{kind}", title, words, _heat_table(names, tasks, values))


def critical_difference(board: Board) -> Drawing | None:
    """Draw mean ranks over tasks with bars over what is not told apart; None with fewer than eight tasks."""
    rows = board.judged.rows
    figure = draw_critical_difference(rows, title=short(board.title, 60), called=lambda name: short(name, 26))
    if figure is None:
        return None
    words = (
        "Mean ranks over the ranked tasks on a line, 1 (best) at the left; bars join backbones that "
        "Wilcoxon's signed rank test, corrected by Holm, does not tell apart."
    )
    return finish(
        figure,
        "critical-difference",
        "Critical difference over tasks",
        words,
        standings_table(board.judged.standings),
    )


def _number(row: Row | None, kind: str) -> float:
    value = None if row is None else row.value if kind == "score" else row.skill
    return float("nan") if value is None else value


def _said(row: Row | None, kind: str) -> str:
    value = None if row is None else row.value if kind == "score" else row.skill
    if row is None or value is None:
        return "–"
    star = "★" if row.ranked and row.tied else ""
    return f"{100 * value:.0f}{star}" if kind == "score" else f"{value:+.2f}"


def _paint(axis: Axes, values: Values, kind: str, texts: list[list[str]]) -> None:
    import seaborn as sns

    centred = {"vmin": -1.0, "vmax": 1.0, "cmap": "vlag"}
    plain = {"vmin": 0.0, "vmax": 1.0, "cmap": "cividis"}
    look = centred if kind == "skill" else plain
    label = "skill" if kind == "skill" else "score"
    sns.heatmap(
        values,
        ax=axis,
        mask=np.isnan(values),
        xticklabels=False,
        yticklabels=False,
        linewidths=0.6,
        linecolor=PAPER,
        cbar_kws={"label": label},
        **look,
    )
    axis.grid(visible=False)
    axis.collections[0].set_clip_on(False)
    shade = _shader(axis, values)
    for line, words in enumerate(texts):
        for column, word in enumerate(words):
            ink = INK if np.isnan(values[line, column]) else shade(values[line, column])
            axis.text(column + 0.5, line + 0.5, word, ha="center", va="center", fontsize=8, color=ink)


def _shader(axis: Axes, values: Values) -> Callable[[float], str]:
    """Return which ink can be read on the colour of a value."""
    painted = axis.collections[0]

    def shade(value: float) -> str:
        red, green, blue, _ = painted.cmap(painted.norm(np.asarray(value)))
        return _DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else _BRIGHT

    return shade


def _heat_table(names: list[str], tasks: list[str], values: Values) -> pl.DataFrame:
    table = pl.DataFrame({"backbone": names})
    columns = {
        task: [None if np.isnan(v) else float(v) for v in values[:, k]] for k, task in enumerate(tasks)
    }
    return table.with_columns(pl.Series(task, column, pl.Float64) for task, column in columns.items())


def about(board: Board, task: str) -> str:
    """Return what the column that speaks for a task shows, such as "balanced accuracy, linear tuned"."""
    key = board.main[task]
    metric = next((row.metric for row in board.in_column(key)), board.tasks[task].metric)
    return f"{title_of(metric)}, {probe_of(key)}"
