"""The right side: how far the opening is, then the query and its neighbours."""

from __future__ import annotations

from nicegui import ui

from cytobench.app.desk import Desk, Dropped
from cytobench.app.jobs import sentence_of
from cytobench.app.lookup import Found, Neighbour, field_of
from cytobench.errors import CytoBenchError
from cytobench.features.items import place_of
from cytobench.pictures.licence import credits_of, refuse_hidden
from cytobench.retrieval.words import group_of

_FRAMES = "Frames: green, the query's label; orange, another one. Press a neighbour to look it up."
_EVERY = 0.25  # seconds between looks at a job


class SimilarTab:
    """Progress while a collection is opened, a sentence where something is wrong, and the neighbours."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def draw(self) -> None:
        """Draw it all."""
        with (
            ui.element("section")
            .classes("stack for-answer")
            .props('aria-label="Neighbours" aria-live="polite"')
        ):
            self._state = ui.element("div").classes("stack")
            self._answer = ui.element("div").classes("stack")
        self._timer = ui.timer(_EVERY, self._look, active=False)
        self.desk.on_opened.append(self._opened)
        self.desk.on_found.append(self._found)

    def _opened(self) -> None:
        self._state.clear()
        job = self.desk.opening
        with self._state:
            if job is None:
                self._ask_to_prepare()
            elif not job.done:
                self._line = ui.label(job.news.line)
                self._bar = (
                    ui.linear_progress(show_value=False).props('aria-label="Progress"').classes("wide")
                )
            elif job.error:
                ui.label(job.error).classes("bad")
                ui.button("Try again", on_click=self.desk.open).props("no-caps dense flat")
            else:
                self._about()
        self._timer.active = job is not None and not job.done

    def _ask_to_prepare(self) -> None:
        collection, backbone = self.desk.pair
        ui.label(
            f"{collection} has no index under {backbone} yet. Making one computes the features of cells that "
            "have none, which can take minutes; it is done once and kept."
        )
        ui.button("Make it now", on_click=self.desk.open).props("no-caps unelevated")

    async def _look(self) -> None:
        job = self.desk.opening
        if job is None:
            self._timer.active = False
        elif job.done:
            for listener in self.desk.on_opened:
                listener()
            await self.desk.ask_again()
        else:
            self._line.text = job.news.line
            self._bar.value = job.news.share or 0
            self._bar.props(
                remove="indeterminate" if job.news.share else "",
                add="" if job.news.share else "indeterminate",
            )

    def _about(self) -> None:
        searcher = self.desk.searcher
        if searcher is None:
            return
        card = searcher.collection.card
        ui.label(
            f"{searcher.size:,} cells of {card.name} under {searcher.backbone}; "
            f"index: {searcher.index.about.kind}."
        ).classes("small pale")
        for line in credits_of(card):
            ui.label(line).classes("small pale")
        if not searcher.may_show:
            try:
                refuse_hidden([card])
            except CytoBenchError as error:
                ui.label(str(error)).classes("small")

    def _found(self) -> None:
        self._answer.clear()
        with self._answer:
            if self.desk.trouble:
                ui.label(self.desk.trouble).classes("bad").props('role="alert"')
            if self.desk.found is not None:
                self._query(self.desk.found)
                self._neighbours(self.desk.found)

    def _query(self, found: Found) -> None:
        searcher = self.desk.searcher
        with ui.element("div").classes("query"):
            if found.uri:
                _picture(found.uri, "The query")
            with ui.element("div").classes("stack"):
                with ui.element("h2"):
                    ui.label(found.heading).style("overflow-wrap: anywhere")
                said = [f"{1000 * found.seconds:.0f} ms", found.remark]
                if searcher is not None:
                    said.append(group_of(searcher, found.query))
                ui.label("; ".join(part for part in said if part)).classes("small pale")
                sample = found.query.sample
                if sample is not None and self._lies_in_field():
                    ui.button("Open its field", on_click=lambda: self._field(sample)).props(
                        "no-caps dense flat"
                    )

    def _lies_in_field(self) -> bool:
        searcher = self.desk.searcher
        return searcher is not None and searcher.may_show and not searcher.collection.whole_images

    def _neighbours(self, found: Found) -> None:
        pictured = all(one.uri for one in found.neighbours)
        if pictured and found.query.label is not None:
            ui.label(_FRAMES).classes("small pale")
        if pictured:
            with ui.element("div").classes("cards"):
                for rank, one in enumerate(found.neighbours, start=1):
                    self._card(rank, one)
        with ui.element("details") as details:
            with ui.element("summary").classes("small"):
                ui.label("As a table").style("display: inline")
            region = ui.element("div").classes("scroll")
            region.props('tabindex="0" role="region" aria-label="Neighbours as a table"')
            with region:
                self._table(found)
        if not pictured:
            details.props("open")

    def _card(self, rank: int, one: Neighbour) -> None:
        hit = one.hit

        async def ask() -> None:
            await self.desk.ask_sample(hit.sample)

        shade = {True: "agrees", False: "differs", None: ""}[one.agrees]
        cell = ui.element("button").classes(f"cell neighbour {shade}").on("click", ask)
        agrees = {True: ", the query's label", False: ", another label than the query's", None: ""}[
            one.agrees
        ]
        cell.props.update(
            {
                "type": "button",
                "title": f"{one.where}; press to look it up",
                "aria-label": f"{rank}: similarity {hit.similarity:.3f}, {hit.label}{agrees}. Look it up.",
            }
        )
        with cell:
            _picture(one.uri, "")
            ui.label(f"{hit.similarity:.3f}  {hit.label}").classes("line").style("font-weight: 600")
            if one.group:
                ui.label(one.group).classes("line pale")
            ui.label(hit.file.rsplit("/", 1)[-1]).classes("line pale name")
            if hit.box is not None:
                ui.label(place_of(hit.box).strip(" ()")).classes("line pale")

    def _table(self, found: Found) -> None:
        with ui.element("table"):
            with ui.element("thead"), ui.element("tr"):
                for head in ("", "similarity", "label", "group", "sample", "file"):
                    with ui.element("th"):
                        ui.label(head)
            with ui.element("tbody"):
                for rank, one in enumerate(found.neighbours, start=1):
                    hit = one.hit
                    cells = (str(rank), f"{hit.similarity:.4f}", hit.label, one.group, hit.sample, one.where)
                    with ui.element("tr"):
                        for text in cells:
                            with ui.element("td"):
                                ui.label(text)

    async def _field(self, sample: str) -> None:
        searcher = self.desk.searcher
        if searcher is None:
            return
        try:
            pixels, box = field_of(searcher, sample)
        except CytoBenchError as error:
            self.desk.complain(sentence_of(error))
            return
        self.desk.place(Dropped(pixels, f"The field of {sample}"), box)


def _picture(uri: str, alt: str) -> None:
    picture = ui.element("img")
    picture.props.update({"src": uri, "alt": alt})
