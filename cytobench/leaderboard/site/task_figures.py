"""Figures of one task: scores with intervals, confusion, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import counted
from cytobench.evaluation.metrics import title_of
from cytobench.evaluation.results import RunResult
from cytobench.leaderboard.looks import looks
from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.site.board import probe_of
from cytobench.leaderboard.site.drawing import PALE, PAPER, Drawing, finish
from cytobench.leaderboard.site.marks import Mark, forest
from cytobench.leaderboard.site.names import file_stem, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shares = npt.NDArray[np.float64]

_MATRICES, _FEWEST, _LIGHT_FROM = 6, 5, 0.55
_DARK, _BRIGHT = "#0b0b0b", "#ffffff"


def scores_figure(rows: Sequence[Row], order: Sequence[str], task: str) -> Drawing | None:
    """Draw a panel a probe: scores with 95 % intervals; filled markers are tuned runs, hollow ones not."""
    shown = [row for row in rows if row.value is not None]
    if not shown:
        return None
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    probes = list(dict.fromkeys(row.probe for row in shown))
    figure = Figure(figsize=(2.2 + 2.7 * len(probes), 1.35 + 0.3 * len(order)))
    axes = figure.subplots(1, len(probes), squeeze=False, sharey=True)[0]
    for axis, probe in zip(axes, probes, strict=True):
        mine = [row for row in shown if row.probe == probe]
        _panel(axis, mine, order)
        axis.set_title(short(probe, 24), loc="left", weight="bold")
        axis.set_xlabel(title_of(mine[0].metric))
    marks = [
        Line2D([], [], marker="D", color="C0", lw=1.6, label="tuned, 95 % interval"),
        Line2D([], [], marker="D", color="C1", lw=1.6, mfc="none", label="untuned"),
    ]
    figure.legend(handles=marks, loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    best = max(shown, key=lambda row: row.value or 0.0)
    words = (
        f"Scores of {counted(len(order), 'backbone')} under {', '.join(probes)}. The highest is "
        f"{best.backbone} with {100 * (best.value or 0):.1f} under {probe_of(best.column)}."
    )
    return finish(figure, f"{file_stem('task', task)}-scores", "Scores with intervals", words, _scores(shown))


def _panel(axis: Axes, rows: Sequence[Row], order: Sequence[str]) -> None:
    both = len({row.tuned for row in rows}) > 1
    for tuned, colour, shift in ((True, "C0", -0.17), (False, "C1", 0.17)):
        mine = [
            Mark(row.value or 0.0, row.low, row.high, order.index(row.backbone) + shift * both)
            for row in rows
            if row.tuned == tuned
        ]
        forest(axis, mine, colour, filled=tuned, size=26)
    axis.set_yticks(range(len(order)), [short(name) for name in order])
    axis.set_ylim(len(order) - 0.5, -0.5)


def _scores(rows: Sequence[Row]) -> pl.DataFrame:
    keys = ("backbone", "probe", "tuned", "metric", "value", "low", "high", "rank_low", "rank_high", "skill")
    return pl.DataFrame([{key: getattr(row, key) for key in keys} for row in rows], infer_schema_length=None)


def confusion_figure(runs: Sequence[RunResult], task: str) -> Drawing | None:
    """Draw the confusion of the best runs, a panel a backbone: shares of true classes, recall in figures."""
    shown = [run for run in runs if run.confusion][:_MATRICES]
    if not shown:
        return None
    from matplotlib.figure import Figure

    classes = [short(one.name, 18) for one in shown[0].classes]
    side = max(1.3, 0.22 * len(classes))
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(1.6 + (side + 0.35) * columns, 1.3 + (side + 0.45) * lines))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis, run in zip(axes.flat, shown, strict=False):
        _matrix(axis, shares_of(run.confusion), classes)
        axis.set_title(short(run.backbone, 22), loc="left", fontsize=8, weight="bold")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.supylabel("true class", fontsize=8)
    figure.supxlabel("predicted class (numbers: recall in percent)", fontsize=8)
    figure.tight_layout()
    words = (
        f"What each of {len(classes)} classes is taken for, by the {len(shown)} best backbones; the counts "
        "stand in the tables below."
    )
    name = f"{file_stem('task', task)}-confusion"
    return finish(figure, name, "Confusion of the best backbones", words, confusion_table(runs))


def _matrix(axis: Axes, shares: Shares, classes: Sequence[str]) -> None:
    import seaborn as sns

    look = {"cmap": "cividis", "cbar": False, "linewidths": 0.4, "linecolor": PAPER}
    sns.heatmap(shares, ax=axis, xticklabels=False, yticklabels=False, vmin=0, vmax=1, **look)
    size = 6 if len(classes) > 6 else 8
    for k, recall in enumerate(np.diagonal(shares)):
        if not np.isnan(recall):
            ink = _DARK if recall > _LIGHT_FROM else _BRIGHT
            axis.text(
                k + 0.5, k + 0.5, f"{100 * recall:.0f}", ha="center", va="center", color=ink, fontsize=size
            )
    places = np.arange(len(classes)) + 0.5
    axis.set_yticks(places, list(classes), rotation=0, fontsize=7)
    axis.set_xticks(places, list(classes), rotation=90, fontsize=7)
    axis.grid(visible=False)
    axis.collections[0].set_clip_on(False)


def shares_of(confusion: Sequence[Sequence[int]]) -> Shares:
    """Return a confusion matrix as shares of each true class, float64 [K, K]; NaN where a class is empty."""
    counts = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares: Shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    return shares


def confusion_table(runs: Sequence[RunResult]) -> pl.DataFrame:
    """Return a line for each backbone, true and predicted class with any count."""
    rows = []
    for run in runs:
        names = [one.name for one in run.classes]
        for true, counts in zip(names, run.confusion, strict=False):
            rows += [
                (run.backbone, true, predicted, count)
                for predicted, count in zip(names, counts, strict=True)
                if count
            ]
    schema = {"backbone": pl.String, "true": pl.String, "predicted": pl.String, "count": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def reliability_figure(runs: Sequence[RunResult], task: str) -> Drawing | None:
    """Draw how often predictions are right against how sure they are, a line a backbone."""
    shown = [run for run in runs if run.reliability]
    if not shown:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6))
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=PALE, lw=1, ls=(0, (4, 3)), label="as sure as right")
    styles = looks([run.backbone for run in shown])
    for run in shown:
        bins = [one for one in run.reliability if one.n >= _FEWEST]
        confidence, accuracy = [one.confidence for one in bins], [one.accuracy for one in bins]
        axis.plot(
            confidence, accuracy, ms=4.5, lw=1.2, label=short(run.backbone, 24), **styles[run.backbone].line
        )
    axis.set_xlabel("mean confidence of the predictions")
    axis.set_ylabel("share that is right")
    axis.set_xlim(0, 1.02)
    axis.set_ylim(-0.02, 1.02)
    figure.legend(loc="center right", frameon=False, fontsize=7)
    figure.tight_layout(rect=(0, 0, 0.72, 1))
    words = (
        f"Reliability of {counted(len(shown), 'backbone')}: below the diagonal they are surer than they are "
        f"right. Points stand for {_FEWEST} predictions or more."
    )
    return finish(
        figure, f"{file_stem('task', task)}-reliability", "Reliability", words, _reliability_table(shown)
    )


def _reliability_table(runs: Sequence[RunResult]) -> pl.DataFrame:
    rows = [
        (run.backbone, one.low, one.high, one.n, one.confidence, one.accuracy)
        for run in runs
        for one in run.reliability
        if one.n
    ]
    names = ("low", "high", "n", "confidence", "accuracy")
    schema: Mapping[str, type[pl.DataType]] = {"backbone": pl.String} | {
        name: pl.Int64 if name == "n" else pl.Float64 for name in names
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
