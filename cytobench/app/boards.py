"""Leaderboards as the page shows them: laid out from what is stored, drawn without any text being markup."""

from __future__ import annotations

from pathlib import Path

from cytobench.app.bench import Bench
from cytobench.app.jobs import News
from cytobench.errors import UsageError
from cytobench.leaderboard.table import Layout
from cytobench.pictures.page import render

_TEMPLATES = Path(__file__).parent / "templates"


def layout_of(bench: Bench, name: str, news: News) -> Layout:
    """Return a leaderboard of what is stored; raises UsageError for a name that is not offered."""
    from cytobench.leaderboard.collect import StoredRuns, chosen_backbones, is_null, rows_of_card
    from cytobench.leaderboard.table import lay_out
    from cytobench.leaderboard.uncertainty import judge

    registry = bench.registry
    if name not in registry.leaderboards:
        raise UsageError(f"There is no leaderboard {name!r} here.")
    card = registry.leaderboards[name]
    backbones = {one: registry.backbone(one) for one in chosen_backbones(card, registry.backbones)}
    tasks = {column.task: registry.task(column.task) for column in card.columns}
    with news.task("reading what is stored", None):
        stored = StoredRuns(bench.home, news)
        found = rows_of_card(card, backbones=backbones, tasks=tasks, stored=stored)
    judged = judge(found, bench.home, news)
    nulls = frozenset(one for one, its in backbones.items() if is_null(its))
    return lay_out(card.title, judged, list(tasks.values()), nulls, remarks=(card.notes,))


def drawn(layout: Layout, *, only: str = "") -> str:
    """Return a leaderboard as HTML; `only`: backbones whose names hold this text."""
    word = only.strip().lower()
    lines = [(name, cells) for name, cells in layout.lines if word in name.lower()]
    tasks = []
    for task in dict.fromkeys(heading.task for heading in layout.headings):
        places = [at for at, heading in enumerate(layout.headings) if heading.task == task]
        about = next((layout.headings[at].about for at in places if layout.headings[at].about), "no results")
        shown = [(name, cells) for name, cells in lines if any(cells[at].text != "not run" for at in places)]
        tasks.append({"name": task, "about": about, "places": places, "lines": shown})
    standings = [one for one in layout.standings if word in one.backbone.lower()]
    context = {"layout": layout, "lines": lines, "tasks": tasks, "standings": standings}
    return render("board.html", context, folder=_TEMPLATES)
