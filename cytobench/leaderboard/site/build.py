"""From a judged leaderboard to the files of its site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cytobench import __version__
from cytobench.cards import BackboneCard, TaskCard
from cytobench.evaluation.results import RunResult
from cytobench.leaderboard.site.backbone_page import add_backbone
from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.bundle import Bundle
from cytobench.leaderboard.site.cost import costs_of
from cytobench.leaderboard.site.drawing import style
from cytobench.leaderboard.site.examples import Gallery, Source, gallery_of
from cytobench.leaderboard.site.index_page import add_index, backbone_page_name
from cytobench.leaderboard.site.stored_curves import curves_of
from cytobench.leaderboard.site.task_page import add_task
from cytobench.leaderboard.table import Layout
from cytobench.leaderboard.uncertainty import Judged
from cytobench.progress import Reporter


def board_of(
    name: str,
    layout: Layout,
    judged: Judged,
    *,
    backbones: Mapping[str, BackboneCard],
    tasks: Mapping[str, TaskCard],
    runs: Sequence[RunResult],
    source: Source,
    command: str,
    reporter: Reporter,
) -> Board:
    """Gather what the site shows: costs, stored curves, and examples where images are at hand.

    `runs`: all that is stored; those behind the rows are taken, and all of them measured speed.
    """
    with reporter.task("counting parameters", None):
        costs = costs_of(backbones.values(), runs)
    order = [one for one, _ in layout.lines if one in backbones]
    board = Board(
        name=name,
        layout=layout,
        judged=judged,
        backbones={one: backbones[one] for one in order},
        tasks=tasks,
        runs={(run.task, run.backbone, run.run_id): run for run in runs},
        costs=costs,
        command=command,
        version=__version__,
    )
    curves = {}
    for task in tasks:
        subsets = {row.subset for row in board.rows_of_task(task) if row.value is not None}
        curves[task] = curves_of(source.home, task, subsets, backbones)
    galleries = _galleries(board, source, reporter)
    return replace(board, curves=curves, galleries=galleries)


def build(board: Board, reporter: Reporter) -> dict[str, bytes]:
    """Return the content of every file of the site, by its path in the folder."""
    shared = {
        "site_title": board.title,
        "command": board.command,
        "version": board.version,
        "backbone_pages": {name: backbone_page_name(name) for name in board.backbones},
    }
    bundle = Bundle(shared)
    total = 2 + len(board.tasks) + len(board.backbones)
    with style(), reporter.task("drawing the site", total) as step:
        add_index(board, bundle)
        step.advance(1)
        for task in board.tasks:
            step.advance(0, task)
            add_task(board, task, bundle)
            step.advance(1)
        for name in board.backbones:
            step.advance(0, name)
            add_backbone(board, name, bundle)
            step.advance(1)
        bundle.page("how-to-read.html", "read.html", {"title": "How to read this", "here": "read"})
        sections = [
            {"title": title, "lines": [{"what": what, "files": files} for what, files in lines.items()]}
            for title, lines in bundle.downloads.items()
        ]
        context = {"title": "Downloads", "here": "downloads", "sections": sections}
        bundle.page("downloads.html", "downloads.html", context)
        step.advance(1)
    return bundle.content


def _galleries(board: Board, source: Source, reporter: Reporter) -> dict[str, Gallery]:
    found = {}
    with reporter.task("looking for examples", len(board.tasks)) as step:
        for task, card in board.tasks.items():
            step.advance(0, task)
            best = board.in_column(board.main[task])
            # What weights were learnt for comes first, so that it can be seen beside the best of all others.
            learnt = next((row for row in best if not row.null), None)
            order = ([learnt] if learnt else []) + [row for row in best if row is not learnt]
            runs = [run for row in order if (run := board.run_of(row)) is not None and run.space_id]
            found[task] = gallery_of(card, runs, source, reporter)
            step.advance(1)
    return found
