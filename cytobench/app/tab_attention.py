"""The attention tab: where the backbone looks in the query, drawn when somebody looks at the tab."""

from __future__ import annotations

import asyncio

from nicegui import background_tasks, ui

from cytobench.app.attended import Map, maps_of
from cytobench.app.desk import Desk
from cytobench.app.jobs import sentence_of
from cytobench.app.lookup import Found

_READ = (
    "Bright: much attention. Heads share one scale; rollout and mean have their own. Attention tells where "
    "features come from, not why two cells are alike, and nothing about disease."
)


class AttentionTab:
    """Maps of the query that was looked up last."""

    def __init__(self, desk: Desk, tabs: ui.tabs) -> None:
        self.desk, self._tabs = desk, tabs
        self._shown: Found | None = None

    def draw(self) -> None:
        """Draw what is there before any query."""
        self._place = ui.element("div").classes("stack")
        with self._place:
            ui.label("Look up a cell first; then this shows where the backbone looked.")
        self._tabs.on_value_change(self._maybe)
        self.desk.on_found.append(self._later)

    def _later(self) -> None:
        background_tasks.create(self._maybe())

    async def _maybe(self) -> None:
        found, searcher = self.desk.found, self.desk.searcher
        if self._tabs.value != "attention" or found is self._shown or found is None or searcher is None:
            return
        self._shown = found
        if not found.uri:
            self._say(
                "The licence of this collection does not let its pictures be shown, nor maps over them."
            )
            return
        self._say("Looking …")
        try:
            maps = await asyncio.to_thread(maps_of, searcher, found.crop)
        except Exception as error:  # one visitor's trouble, told to this visitor
            if not self.desk.left:
                self._say(sentence_of(error))
            return
        if self._shown is found and not self.desk.left:
            self._draw(found, maps)

    def _say(self, sentence: str) -> None:
        self._place.clear()
        with self._place:
            ui.label(sentence)

    def _draw(self, found: Found, maps: list[Map]) -> None:
        self._place.clear()
        with self._place:
            with ui.element("h2"):
                ui.label(f"{self.desk.pair[1]}: {found.query.name}").style("overflow-wrap: anywhere")
            with ui.element("div").classes("maps"):
                for one in maps:
                    with ui.element("figure"):
                        picture = ui.element("img")
                        picture.props.update({"src": one.uri, "alt": f"{one.title}, {one.note}"})
                        with ui.element("figcaption"):
                            ui.label(one.title).style("font-weight: 600")
                            ui.label(one.note).classes("pale")
            ui.label(_READ).classes("small pale")
