"""The leaderboard tab: read when somebody looks at it, then kept until it is asked for anew."""

from __future__ import annotations

from nicegui import ui

from cytobench.app.bench import Bench
from cytobench.app.boards import drawn, layout_of
from cytobench.app.jobs import Job
from cytobench.leaderboard.table import Layout

_EVERY = 0.3  # seconds
_FIRST = "cytology"


class BoardTab:
    """A leaderboard's standings, tables and notes."""

    def __init__(self, bench: Bench, tabs: ui.tabs) -> None:
        self.bench, self._tabs = bench, tabs
        names = list(bench.registry.leaderboards)
        self._name = _FIRST if _FIRST in names else next(iter(names), "")
        self._job: Job[Layout] | None = None

    def draw(self) -> None:
        """Draw the pickers and an empty place."""
        cards = self.bench.registry.leaderboards
        with ui.element("div").classes("row-of"):
            ui.select(
                {name: f"{card.title} [{name}]" for name, card in cards.items()},
                label="Leaderboard",
                value=self._name or None,
                on_change=lambda event: self._choose(event.value),
            ).props("outlined dense options-dense")
            self._only = ui.input("Only backbones named", on_change=self._redraw).props(
                "outlined dense clearable"
            )
            ui.button("Read anew", on_click=lambda: self._begin(anew=True)).props("no-caps dense flat")
        self._place = ui.element("div").classes("stack").props('aria-live="polite"')
        self._timer = ui.timer(_EVERY, self._look, active=False)
        self._tabs.on_value_change(self._maybe)

    def _maybe(self) -> None:
        if self._tabs.value == "leaderboard" and self._job is None and self._name:
            self._begin()

    def _choose(self, name: str | None) -> None:
        if name:
            self._name = name
            self._begin()

    def _begin(self, *, anew: bool = False) -> None:
        name, bench = self._name, self.bench
        if name not in bench.registry.leaderboards:
            return
        job = bench.boards.get(name)
        if job is None or (job.done and (anew or job.error)):
            job = Job(lambda news: layout_of(bench, name, news))
            bench.boards[name] = job
        self._job = job
        self._place.clear()
        with self._place:
            self._line = ui.label("Reading …")
            self._bar = ui.linear_progress(show_value=False).props('aria-label="Progress"').classes("wide")
        self._timer.active = True

    def _look(self) -> None:
        job = self._job
        if job is None:
            return
        if job.done:
            self._timer.active = False
            self._redraw()
        else:
            self._line.text = job.news.line
            self._bar.value = job.news.share or 0

    def _redraw(self) -> None:
        job = self._job
        if job is None or not job.done:
            return
        self._place.clear()
        with self._place:
            if job.error:
                ui.label(job.error).classes("bad")
            elif job.result is not None:
                with ui.element("h2"):
                    ui.label(job.result.title)
                # every text in it was escaped by the template
                ui.html(drawn(job.result, only=self._only.value or ""), sanitize=False)
