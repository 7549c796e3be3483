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
from cytobench.leaderboard.site.places import without_places
from cytobench.leaderboard.site.stored_curves import curves_of
from cytobench.leaderboard.site.task_page import add_task
from cytobench.leaderboard.site.workers import Page, made
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
    counted: Mapping[str, int | None],
    command: str,
    reporter: Reporter,
) -> Board:
    """Gather what the site shows: costs, stored curves, and examples where images are at hand.

    `runs`: all that is stored; those behind the rows are taken, and all of them measured speed; `counted`:
    parameters of the backbones.
    """
    order = [one for one, _ in layout.lines if one in backbones]
    board = Board(
        name=name,
        layout=layout,
        judged=judged,
        backbones={one: backbones[one] for one in order},
        tasks=tasks,
        runs={(run.task, run.backbone, run.run_id): run for run in runs},
        costs=costs_of(backbones.values(), runs, counted),
        command=command,
        version=__version__,
    )
    curves = {}
    for task in tasks:
        subsets = {row.subset for row in board.rows_of_task(task) if row.value is not None}
        curves[task] = curves_of(source.home, task, subsets, backbones)
    galleries = _galleries(board, source, reporter)
    return replace(board, curves=curves, galleries=galleries)


def build(board: Board, reporter: Reporter, *, workers: int = 1) -> dict[str, bytes]:
    """Return the content of every file of the site, by its path in the folder, drawn by so many processes."""
    pages: list[Page] = [("index", ""), *(("task", task) for task in board.tasks)]
    pages += [("backbone", name) for name in board.backbones]
    whole = Bundle(_shared(board))
    with reporter.task("drawing the site", len(pages)) as step:
        for page, bundle in zip(pages, made(board, pages, make_page, workers), strict=True):
            whole.take(bundle)
            step.advance(1, page[1])
    whole.page("how-to-read.html", "read.html", {"title": "How to read this", "here": "read"})
    sections = [
        {"title": title, "lines": [{"what": what, "files": files} for what, files in lines.items()]}
        for title, lines in whole.downloads.items()
    ]
    context = {"title": "Downloads", "here": "downloads", "sections": sections}
    whole.page("downloads.html", "downloads.html", context)
    return whole.content


def make_page(board: Board, page: Page) -> Bundle:
    """Return one page with its files."""
    kind, name = page
    bundle = Bundle(_shared(board))
    with style():
        if kind == "index":
            add_index(board, bundle)
        elif kind == "task":
            add_task(board, name, bundle)
        else:
            add_backbone(board, name, bundle)
    return bundle


def _shared(board: Board) -> dict[str, object]:
    """Return what every page is told."""
    return {
        "site_title": board.title,
        "command": board.command,
        "version": board.version,
        "backbone_pages": {name: backbone_page_name(name) for name in board.backbones},
    }


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
            gallery = gallery_of(card, runs, source, reporter)
            remark = without_places(gallery.remark, (source.home, *source.data))
            found[task] = replace(gallery, remark=remark)
            step.advance(1)
    return found
