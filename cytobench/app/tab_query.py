"""The left side: what to look in, what to look for."""

from __future__ import annotations

from typing import Any

from nicegui import events, run, ui

from cytobench.app.desk import Desk, Dropped
from cytobench.app.field import FieldImage, checked_box
from cytobench.app.guard import MOST_BYTES, TOO_LARGE
from cytobench.app.jobs import sentence_of
from cytobench.app.lookup import MOST_NEIGHBOURS, examples, groups_to_exclude
from cytobench.app.uploads import read_upload, shown_name
from cytobench.errors import CytoBenchError
from cytobench.features.items import Box
from cytobench.retrieval.query import LARGEST, SUFFIXES

_EXAMPLES = 15
_NOBODY = "nothing"


class QuerySide:
    """Pickers, a place to drop an image on, the image with its box, and cells to begin with."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._turn = 0
        self._field: FieldImage | None = None
        self._numbers: list[ui.number] = []

    def draw(self) -> None:
        """Draw it all."""
        with ui.element("section").classes("stack for-query").props('aria-label="Query"'):
            with ui.element("div").classes("panel stack"):
                self._pickers()
            with ui.element("div").classes("panel stack"):
                self._drop_zone()
                self._image = ui.element("div").classes("stack")
        self._examples = ui.element("div").classes("panel stack for-examples")
        self.desk.on_opened.append(self._opened)
        self.desk.on_image.append(self._draw_image)
        self._opened()

    def _pickers(self) -> None:
        bench, desk = self.desk.bench, self.desk
        offers = {one.name: one for one in bench.backbones}
        ui.select(
            {name: f"{card.title} [{name}]" for name, card in bench.collections.items()},
            label="Collection",
            value=desk.pair[0],
            with_input=True,
            on_change=lambda event: self._choose(collection=event.value),
        ).props("outlined dense options-dense").classes("wide")
        ui.select(
            list(bench.usable),
            label="Backbone",
            value=desk.pair[1],
            on_change=lambda event: self._choose(backbone=event.value),
        ).props("outlined dense options-dense").classes("wide")
        away = [one for one in offers.values() if one.why_not]
        if away:
            with ui.element("details").classes("small"):
                with ui.element("summary").classes("pale"):
                    ui.label(f"{len(away)} more cannot be loaded here").style("display: inline")
                for one in away:
                    ui.label(f"{one.name}: {one.why_not}").classes("small").style("overflow-wrap: anywhere")
        self._options()

    def _options(self) -> None:
        desk = self.desk
        with ui.element("div").classes("row-of"):
            ui.number(
                "Neighbours",
                value=desk.k,
                min=1,
                max=MOST_NEIGHBOURS,
                step=1,
                precision=0,
                on_change=self._set_k,
            ).props("outlined dense")
            self._mpp = ui.number("µm per pixel", min=0.01, step=0.05, on_change=self._set_mpp).props(
                "outlined dense"
            )
            self._group = ui.select(
                {_NOBODY: _NOBODY},
                label="Leave out group",
                value=_NOBODY,
                with_input=True,
                on_change=self._set_group,
            ).props("outlined dense options-dense")

    def _drop_zone(self) -> None:
        ui.upload(
            label="Drop an image of a cell or a field here, or press +",
            auto_upload=True,
            max_file_size=MOST_BYTES,
            on_upload=self._uploaded,
            on_rejected=lambda: self.desk.complain(TOO_LARGE),
        ).props(f'accept="{",".join(SUFFIXES)}" flat').classes("upload")

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        event.sender.reset()  # type: ignore[attr-defined]
        name = shown_name(event.file.name)
        try:
            data = await event.file.read()
            pixels = await run.io_bound(read_upload, data, name, self.desk.scratch)
        except CytoBenchError as error:
            self.desk.complain(sentence_of(error))
            return
        if pixels is None:  # the server is stopping
            return
        self.desk.place(Dropped(pixels, name))
        if self._whole():
            await self.desk.ask_image(None)

    def _whole(self) -> bool:
        """Whether the image on the desk is looked up as it is, rather than waiting for a box."""
        image, searcher = self.desk.image, self.desk.searcher
        if image is None:
            return False
        if searcher is not None and searcher.collection.whole_images:
            return True
        return bool(max(image.pixels.shape[:2]) <= _LARGEST_CELL)

    def _draw_image(self) -> None:
        self._image.clear()
        image = self.desk.image
        if image is None:
            return
        height, width = image.pixels.shape[:2]
        with self._image:
            ui.label(f"{image.name}, {width} x {height} px").classes("small pale").style(
                "overflow-wrap: anywhere"
            )
            self._field = FieldImage(image.pixels, self.desk.box, self._boxed)
            ui.label("Draw a box around one cell, click on its centre, or give its place in pixels:").classes(
                "small"
            )
            with ui.element("div").classes("row-of"):
                most = {"x": width, "y": height, "w": width, "h": height}
                self._numbers = [
                    ui.number(name, min=0, max=most[name], step=1, precision=0, value=at).props(
                        "outlined dense"
                    )
                    for name, at in zip(most, self.desk.box or (None,) * 4, strict=True)
                ]
            with ui.element("div").classes("row-of"):
                ui.button("Look up the box", on_click=self._typed).props("no-caps dense unelevated")
                if max(height, width) <= LARGEST:
                    ui.button("Look up the whole image", on_click=self._ask_whole).props("no-caps dense flat")

    async def _boxed(self, box: Box) -> None:
        if box[2:] == (0, 0) and self.desk.bench.collections[self.desk.pair[0]].view.kind != "window":
            self.desk.complain("Draw a box around the cell: those of this collection are cut by their size.")
            return
        for number, value in zip(self._numbers, box, strict=True):
            number.value = value
        await self.desk.ask_image(box)

    async def _typed(self) -> None:
        said = [number.value for number in self._numbers]
        image = self.desk.image
        box = checked_box(said, image.pixels.shape[1], image.pixels.shape[0]) if image is not None else None
        if box is None or self._field is None:
            self.desk.complain(
                "Draw a box, or give x, y, w and h in pixels so that the box lies in the image."
            )
            return
        self._field.show(box)
        await self._boxed(box)

    async def _ask_whole(self) -> None:
        if self._field is not None:
            self._field.show(None)
        for number in self._numbers:
            number.value = None
        await self.desk.ask_image(None)

    def _choose(self, **chosen: str | None) -> None:
        if not any(chosen.values()):
            return
        try:
            self.desk.choose(**chosen)
        except CytoBenchError as error:
            self.desk.complain(sentence_of(error))

    async def _set_k(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if isinstance(event.value, int | float) and 1 <= event.value <= MOST_NEIGHBOURS:
            self.desk.k = int(event.value)
            await self.desk.ask_again()

    async def _set_mpp(self, event: events.ValueChangeEventArguments[Any]) -> None:
        valid = isinstance(event.value, int | float) and event.value > 0
        self.desk.mpp = float(event.value) if valid else None
        await self.desk.ask_again()

    async def _set_group(self, event: events.ValueChangeEventArguments[Any]) -> None:
        group = None if event.value in (None, _NOBODY) else str(event.value)
        if group != self.desk.group:
            self.desk.group = group
            await self.desk.ask_again()

    def _opened(self) -> None:
        searcher = self.desk.searcher
        groups = groups_to_exclude(searcher) if searcher is not None else {}
        self._group.set_options({_NOBODY: _NOBODY} | groups, value=self.desk.group or _NOBODY)
        self._group.set_visibility(bool(groups))
        view = self.desk.bench.collections[self.desk.pair[0]].view
        self._mpp.set_visibility(view.unit == "um")
        self._turn = 0
        self._draw_examples()

    def _draw_examples(self) -> None:
        self._examples.clear()
        searcher = self.desk.searcher
        self._examples.set_visibility(searcher is not None)
        if searcher is None:
            return
        with self._examples:
            ui.label("Or begin with a cell of the collection:").classes("small")
            with ui.element("div").classes("examples"):
                for sample, label, uri in examples(searcher, _EXAMPLES, self._turn):
                    self._example(sample, label, uri)
            with ui.element("div").classes("row-of"):
                ui.button("Other cells", on_click=self._others).props("no-caps dense flat")
                name = ui.input("By its name").props("outlined dense")
                name.on("keydown.enter", lambda: self.desk.ask_sample(name.value or ""))

    def _example(self, sample: str, label: str, uri: str) -> None:
        async def ask() -> None:
            await self.desk.ask_sample(sample)

        cell = ui.element("button").classes("cell").on("click", ask)
        cell.props.update({"type": "button", "aria-label": f"Look up {sample}, {label}", "title": sample})
        with cell:
            if uri:
                picture = ui.element("img")
                picture.props.update({"src": uri, "alt": ""})
            ui.label(label).classes("line")

    def _others(self) -> None:
        self._turn += 1
        self._draw_examples()


_LARGEST_CELL = 512
"""The side in px up to which a dropped image is taken for one cell; in larger ones one draws a box."""
