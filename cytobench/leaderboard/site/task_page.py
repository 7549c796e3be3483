"""The page of one task: scores, cost, confusion, reliability, curves, retrieval examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from cytobench.cards import TaskCard
from cytobench.evaluation.hierarchy import DISTANCE, tree_names
from cytobench.evaluation.metrics import title_of
from cytobench.evaluation.results import RunResult
from cytobench.leaderboard.rows import Row, tidy
from cytobench.leaderboard.site.board import Board, probe_of
from cytobench.leaderboard.site.bundle import Bundle
from cytobench.leaderboard.site.cells import plain_table, score_cell
from cytobench.leaderboard.site.cost_figure import Point, cost_figure
from cytobench.leaderboard.site.curve_figures import curve_figures
from cytobench.leaderboard.site.drawing import Drawing
from cytobench.leaderboard.site.examples import Gallery
from cytobench.leaderboard.site.index_page import backbone_page_name, marks_of, task_page_name
from cytobench.leaderboard.site.names import file_stem
from cytobench.leaderboard.site.overview_figures import about
from cytobench.leaderboard.site.stored_curves import Curves
from cytobench.leaderboard.site.task_figures import (
    confusion_figure,
    reliability_figure,
    scores_figure,
    shares_of,
)


def add_task(board: Board, task: str, bundle: Bundle) -> None:
    """Draw and write the page of a task, and its files."""
    card, section = board.tasks[task], f"Task {task}"
    rows = board.rows_of_task(task)
    shown = [row for row in rows if row.value is not None]
    main = board.in_column(board.main[task])
    runs = [run for row in main if (run := board.run_of(row)) is not None]
    curves = board.curves.get(task, Curves())
    drawings = _drawings(board, task, shown, main, runs)
    more = curve_figures(curves, task)
    for drawing in [*drawings.values(), *more]:
        if drawing is not None:
            bundle.drawing(drawing, section, drawing.title)
    stem = file_stem("task", task)
    files = bundle.table(tidy(rows), stem, section, "Scores")
    bundle.page(
        task_page_name(task),
        "task.html",
        {
            "title": task,
            "card": {
                "title": card.title,
                "unit": card.unit,
                "url_safe": safe_url(card.url),
                "notes": card.notes,
            },
            "ranked": any(row.ranked for row in rows),
            "warnings": _warnings(board, card),
            "facts": _facts(board, card, shown, runs),
            "notes": card.notes,
            **_table(board, task, shown),
            "marks": marks_of(shown),
            "table_files": files,
            "not_run": _not_run(board, rows),
            "drawings": {**drawings, "curves": more},
            "tables": {name: plain_table(one.data) for name, one in drawings.items() if one is not None},
            "curve_tables": [plain_table(one.data) for one in more],
            "curve_remarks": curves.remarks,
            "main_words": probe_of(board.main[task]),
            "matrices": [_matrix(run, row) for run, row in zip(runs, main, strict=False) if run.confusion],
            "calibration": plain_table(_calibration(runs)),
            "levels": plain_table(_levels(runs)) if any(run.hierarchy for run in runs) else None,
            "gallery": board.galleries.get(task, Gallery({}, "No examples were asked for.")),
        },
    )


def safe_url(url: str) -> str:
    """Return an address that a link may lead to, "" for anything else, such as a script."""
    return url if url.lower().startswith(("https://", "http://")) else ""


def _drawings(
    board: Board, task: str, shown: Sequence[Row], main: Sequence[Row], runs: Sequence[RunResult]
) -> dict[str, Drawing | None]:
    order = list(dict.fromkeys([row.backbone for row in main] + [row.backbone for row in shown]))
    points = [
        Point(row.backbone, 100 * row.value, _percent(row.low), _percent(row.high), _domain(board, row))
        for row in main
        if row.value is not None
    ]
    cost = None
    if points:
        what = f"{about(board, task)} (percent)"
        name = f"{file_stem('task', task)}-cost"
        cost = cost_figure(points, board.costs, name=name, what=what, lower_is_better=False)
    return {
        "scores": scores_figure(shown, order, task),
        "cost": cost,
        "confusion": confusion_figure(runs, task),
        "reliability": reliability_figure(runs, task),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _domain(board: Board, row: Row) -> str:
    return board.backbones[row.backbone].domain


def _table(board: Board, task: str, shown: Sequence[Row]) -> dict[str, Any]:
    """Return columns, lines, best first under the main column, and what each column could tell apart."""
    keys = [key for key in board.columns if key[0] == task]
    heads = []
    for key in keys:
        first = next(row for row in board.rows_of_task(task) if row.column == key)
        heads.append({"short": probe_of(key), "metric": title_of(first.metric), "ranked": first.ranked})
    main = [row.backbone for row in board.in_column(board.main[task])]
    names = list(dict.fromkeys(main + [row.backbone for row in shown]))
    lines = [
        {
            "name": name,
            "page": backbone_page_name(name),
            "null": any(row.null for row in shown if row.backbone == name),
            "cells": [score_cell(board.by_place.get((name, key))) for key in keys],
        }
        for name in names
    ]
    facts = [board.judged.columns.get(key) for key in keys]
    reach = [f"{100 * one.detectable:.1f}" if one and one.detectable is not None else "" for one in facts]
    return {"columns": heads, "lines": lines, "detectable": reach if any(reach) else []}


def _warnings(board: Board, card: TaskCard) -> list[str]:
    facts = [one for key, one in board.judged.columns.items() if key[0] == card.name]
    found = []
    if card.group == "none":
        found.append("Cells, not patients, are the unit here: any interval is too narrow.")
    if any(one.groups and not one.enough for one in facts):
        found.append("There are too few groups for an interval, a rank or a test.")
    verdicts = [one.discriminates for one in facts]
    if False in verdicts and True not in verdicts:
        found.append("Not discriminative here: no backbone shown is significantly above every null model.")
    if card.known_confounds:
        found.append(f"Known confounds: {card.known_confounds}")
    return found


def _facts(
    board: Board, card: TaskCard, shown: Sequence[Row], runs: Sequence[RunResult]
) -> list[tuple[str, str]]:
    del board
    found = [("metric", title_of(card.metric))]
    if shown:
        counted = f"{shown[0].n:,} {card.unit}s"
        groups = f" in {shown[0].groups:,} groups ({card.group})" if shown[0].groups else ", ungrouped"
        found.append(("tested", counted + groups))
        found.append(("digest of the rows", shown[0].subset[:16]))
    if runs:
        classes = ", ".join(f"{one.name} ({one.support:,})" for one in runs[0].classes)
        found.append(("classes (tested)", classes))
        split = runs[0].split
        found.append(("folds", f"{len(runs[0].folds)}, {split.kind}, digest {split.digest[:16]}"))
    size = f", {card.view.size:g} {card.view.unit}" if card.view.size else ""
    found.append(("view", card.view.kind + size))
    for name, value in (("licence", card.licence), ("citation", card.citation), ("family", card.family)):
        if value:
            found.append((name, value))
    return found


def _not_run(board: Board, rows: Sequence[Row]) -> list[dict[str, str]]:
    scored = {row.backbone for row in rows if row.value is not None}
    found = []
    for name in board.backbones:
        mine = [row for row in rows if row.backbone == name]
        if not mine or name in scored:
            continue
        reason = next((row.reason for row in mine if row.reason), "")
        status = "failed" if any(row.status == "failed" for row in mine) else "not run"
        found.append({"name": name, "why": f"{status}: {reason}" if reason else status})
    return found


def _matrix(run: RunResult, row: Row) -> dict[str, Any]:
    """Return a confusion matrix as the page shows it: counts, shares of the true class, shades 0 to 9."""
    shares = shares_of(run.confusion)
    names = [one.name for one in run.classes]
    lines = []
    for i, name in enumerate(names):
        cells = [
            {
                "count": run.confusion[i][j],
                "share": f"{100 * shares[i, j]:.0f} %",
                "shade": 0 if not run.confusion[i][j] else min(9, 1 + int(8.99 * shares[i, j])),
                "right": i == j,
            }
            for j in range(len(names))
        ]
        lines.append({"name": name, "cells": cells})
    summary = f"{title_of(row.metric)} {100 * (row.value or 0.0):.1f}"
    return {"backbone": run.backbone, "summary": summary, "classes": names, "lines": lines}


def _calibration(runs: Sequence[RunResult]) -> pl.DataFrame:
    names = [name for name in ("ece", "brier") if any(name in run.metrics for run in runs)]
    rows = [[run.backbone, *(run.metrics.get(name) for name in names)] for run in runs]
    schema = {"backbone": pl.String} | dict.fromkeys(names, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _levels(runs: Sequence[RunResult]) -> pl.DataFrame:
    """Return what runs score at the wider levels of a tree of classes, and their distance, the best first."""
    tree = next(run.tree for run in runs if run.tree is not None)
    columns: dict[str, pl.DataType | type[pl.DataType]] = {"backbone": pl.String}
    for name in tree_names(tree):
        columns |= {name: pl.Float64}
        columns |= {f"{name} 95 %": pl.String}
    rows = [
        [
            run.backbone,
            *(one for name in tree_names(tree) for one in (run.metrics.get(name), _range(run, name))),
        ]
        for run in runs
    ]
    table = pl.DataFrame(rows, schema=columns, orient="row").sort(DISTANCE, nulls_last=True)
    return table.select(one for one in table if one.null_count() < len(one))


def _range(run: RunResult, name: str) -> str | None:
    found = run.intervals.get(name)
    if found is None or found.low is None or found.high is None:
        return None
    return f"{found.low:.3f} to {found.high:.3f}"
