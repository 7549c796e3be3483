"""The first page: standings, the large table, heat maps, critical differences, cost, tasks and backbones."""

from __future__ import annotations

from itertools import count
from math import inf
from pathlib import Path
from typing import Any

from cytobench.errors import counted
from cytobench.evaluation.metrics import title_of
from cytobench.leaderboard import render
from cytobench.leaderboard.rows import Row, tidy
from cytobench.leaderboard.site.board import Board, probe_of
from cytobench.leaderboard.site.bundle import Bundle, File
from cytobench.leaderboard.site.cells import plain_table, score_cell
from cytobench.leaderboard.site.cost import as_table
from cytobench.leaderboard.site.cost_figure import Point, cost_figure
from cytobench.leaderboard.site.drawing import Drawing
from cytobench.leaderboard.site.names import file_stem
from cytobench.leaderboard.site.overview_figures import (
    critical_difference,
    heat_map,
    standings_figure,
    standings_table,
)
from cytobench.leaderboard.uncertainty import Key

WHOLE = "The whole leaderboard"
_NO_CD = (
    "A critical-difference diagram needs at least eight ranked tasks under one probe, with two or more "
    "backbones complete on them: signed ranks over fewer tasks can show nothing. Here there are {there}."
)
_NO_COST = "No backbone stands in the overall standings with a known cost."


def task_page_name(task: str) -> str:
    """Return the file name of a task's page."""
    return file_stem("task", task) + ".html"


def backbone_page_name(backbone: str) -> str:
    """Return the file name of a backbone's page."""
    return file_stem("backbone", backbone) + ".html"


def marks_of(rows: list[Row]) -> str:
    """Return what the marks of pretraining overlap mean, those that occur."""
    says: dict[str, str] = {}
    for row in rows:
        cell = score_cell(row)
        if cell.mark:
            says[cell.mark] = cell.mark_says
    return "; ".join(f"{mark} {text}" for mark, text in says.items())


def add_index(board: Board, bundle: Bundle) -> None:
    """Draw and write the first page, and the files of the whole leaderboard."""
    drawings = _drawings(board)
    for drawing in drawings.values():
        if drawing is not None:
            bundle.drawing(drawing, WHOLE, drawing.title)
    judged = board.judged
    shown = [row for row in judged.rows if row.value is not None]
    have, all_ = judged.ranked_columns
    place = {one.backbone: one.rank for one in judged.standings}
    lines = [_line(board, name) for name in sorted(board.backbones, key=lambda one: place.get(one, inf))]
    bundle.page(
        "index.html",
        "index.html",
        {
            "here": "index",
            "title": board.title,
            "lead": _lead(board),
            "remarks": [],
            "standings": judged.standings,
            "first_count": sum(one.tied for one in judged.standings),
            "ranked_columns": f"all {all_}" if have == all_ else f"{have} of {all_}",
            "drawings": drawings,
            "tables": {name: plain_table(one.data) for name, one in drawings.items() if one is not None},
            "domains": sorted({card.domain for card in board.backbones.values()}),
            "probes": list(dict.fromkeys(key[1] for key in board.columns)),
            "tasks": _tasks(board),
            "lines": lines,
            "asides": ["" if key == board.main[key[0]] else "aside" for key in _abreast(board)],
            "marks": marks_of(shown),
            "notes": board.layout.notes,
            "board_files": _board_files(board, bundle),
            "main_words": _main_words(board),
            "no_critical_difference": _NO_CD.format(there=_ranked_tasks(board)),
            "no_cost": _NO_COST,
        },
    )


def _drawings(board: Board) -> dict[str, Drawing | None]:
    standings = board.judged.standings
    points = [
        Point(one.backbone, one.rank, one.low, one.high, board.backbones[one.backbone].domain)
        for one in standings
    ]
    cost = None
    if points:
        what = "mean rank, 95 % interval (1 is best)"
        cost = cost_figure(points, board.costs, name="accuracy-against-cost", what=what, lower_is_better=True)
    return {
        "standings": standings_figure(standings) if standings else None,
        "heat-map-score": heat_map(board, "score"),
        "heat-map-skill": heat_map(board, "skill"),
        "critical-difference": critical_difference(board),
        "cost": cost,
    }


def _lead(board: Board) -> str:
    scored = len(board.with_score)
    silent = len(board.backbones) - scored
    text = (
        f"{counted(scored, 'backbone')} with a score on {counted(len(board.tasks), 'task')}, "
        f"{counted(len(board.columns), 'column')}."
    )
    if silent:
        text += f" {silent} more did not run; the reasons stand below and on their pages."
    return text


def _main_words(board: Board) -> str:
    """Say which column speaks for the tasks, by how many."""
    tasks: dict[str, int] = {}
    for key in board.main.values():
        tasks[probe_of(key)] = tasks.get(probe_of(key), 0) + 1
    return ", ".join(f"{probe} ({counted(count, 'task')})" for probe, count in tasks.items())


def _ranked_tasks(board: Board) -> str:
    tasks = {row.task for row in board.judged.rows if row.ranked and row.value is not None}
    kinds: dict[tuple[str, bool], set[str]] = {}
    for row in board.judged.rows:
        if row.ranked and row.value is not None:
            kinds.setdefault((row.probe, row.tuned), set()).add(row.task)
    most = max((len(one) for one in kinds.values()), default=0)
    return f"{len(tasks)}, at most {most} under one probe"


def _tasks(board: Board) -> list[dict[str, Any]]:
    """Return what the page says of each task; columns of one task stand abreast, as `at` numbers them."""
    found, at = [], count(2)
    for name, card in board.tasks.items():
        mine = board.rows_of_task(name)
        scored = next((row for row in mine if row.n), None)
        columns = [
            {
                "probe": key[1],
                "tuned": key[2],
                "short": probe_of(key),
                "main": key[1] == board.main[name][1],
                "speaks": key == board.main[name],
                "ranked": any(row.ranked for row in mine if row.column == key),
                "at": next(at),
            }
            for key in board.columns
            if key[0] == name
        ]
        found.append(
            {
                "name": name,
                "title": card.title,
                "page": task_page_name(name),
                "columns": columns,
                "unit": card.unit,
                "metric": title_of(card.metric),
                "n": f"{scored.n:,}" if scored else "–",
                "groups": (f"{scored.groups:,}" if scored.groups else "ungrouped") if scored else "–",
                "ranked": any(column["ranked"] for column in columns),
                "tells": _tells(board, name),
            }
        )
    return found


def _tells(board: Board, task: str) -> str:
    facts = [one.discriminates for key, one in board.judged.columns.items() if key[0] == task]
    if True in facts:
        return "yes"
    return "no: not discriminative here" if False in facts else "not known"


def _abreast(board: Board) -> list[Key]:
    """Return the columns in the order of the table: those of one task beside each other."""
    return [key for task in board.tasks for key in board.columns if key[0] == task]


def _line(board: Board, name: str) -> dict[str, Any]:
    card = board.backbones[name]
    rows = [board.by_place.get((name, key)) for key in _abreast(board)]
    scored = any(row is not None and row.value is not None for row in rows)
    return {
        "name": name,
        "title": card.title,
        "page": backbone_page_name(name),
        "domain": card.domain,
        "licence": card.licence,
        "null": any(row is not None and row.null for row in rows),
        "scored": scored,
        "text": f"{name} {card.title}".lower(),
        "standing": next((one for one in board.judged.standings if one.backbone == name), None),
        "cells": [score_cell(row) for row in rows],
        "cost": board.costs[name],
        "parameters": board.costs[name].parameters,
        "state": state_of(board, name),
    }


def state_of(board: Board, name: str) -> str:
    """Return in how many columns a backbone has a score, or why it has none."""
    rows = [row for row in board.judged.rows if row.backbone == name]
    scored = sum(row.value is not None for row in rows)
    if scored:
        return f"{scored} of {len(rows)} columns"
    reasons = list(dict.fromkeys(row.reason for row in rows if row.reason))
    status = "failed" if any(row.status == "failed" for row in rows) else "not run"
    return f"{status}: {reasons[0]}" if reasons else status


def _board_files(board: Board, bundle: Bundle) -> list[File]:
    stem = file_stem("leaderboard", Path(board.name).stem)
    rows, layout = board.judged.rows, board.layout
    made = bundle.table(tidy(rows), stem, WHOLE, "All scores")
    made.append(bundle.text(render.latex(layout), f"{stem}.tex", "LaTeX", WHOLE, "All scores"))
    made.append(
        bundle.text(
            render.markdown(layout, command=board.command), f"{stem}.md", "Markdown", WHOLE, "All scores"
        )
    )
    if board.judged.standings:
        bundle.table(standings_table(board.judged.standings), "overall", WHOLE, "Overall standings, table")
    bundle.table(as_table(board.costs), "costs", WHOLE, "Parameters and speed")
    return made
