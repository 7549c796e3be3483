"""The page: a header, three tabs, and a footer; what stands in the tabs has modules of its own."""

from __future__ import annotations

from pathlib import Path

from nicegui import app, ui

from cytobench.app.bench import Bench, Pair
from cytobench.app.desk import Desk
from cytobench.app.tab_attention import AttentionTab
from cytobench.app.tab_board import BoardTab
from cytobench.app.tab_query import QuerySide
from cytobench.app.tab_similar import SimilarTab

TITLE = "CytoBench"
_TEMPLATES = Path(__file__).parent / "templates"
_NOTICE = (
    "For research. Neighbours and attention show what a backbone finds alike and where it looks; they are no "
    "diagnosis. Images that are dropped here stay in this server's memory until the page is closed."
)


def lay_page(bench: Bench, scratch: Path, first: Pair) -> None:
    """Have NiceGUI draw the page for every visitor, with a desk of their own."""
    style = (_TEMPLATES / "app.css").read_text(encoding="utf-8")

    @ui.page("/", title=TITLE)
    def page() -> None:
        ui.add_css(style)
        ui.add_head_html('<meta name="robots" content="noindex">')
        desk = Desk(bench, scratch, first)
        ui.context.client.on_delete(desk.leave)
        _draw(desk)

    app.on_exception(lambda error: None)  # it is logged; the visitor's part of the page tells the rest


def _draw(desk: Desk) -> None:
    dark = ui.dark_mode(None)
    with ui.element("header").classes("bar"):
        with ui.element("h1"):
            ui.label(TITLE)
        with ui.tabs().props("dense no-caps") as tabs:
            similar = ui.tab("similar", "Similar cells")
            attention = ui.tab("attention", "Attention")
            board = ui.tab("leaderboard", "Leaderboard")
        _theme_button(dark)
    with (
        ui.element("main"),
        ui.tab_panels(tabs, value=similar, animated=False, keep_alive=True).classes("wide"),
    ):
        with ui.tab_panel(similar), ui.element("div").classes("sheet"):
            QuerySide(desk).draw()
            SimilarTab(desk).draw()
        with ui.tab_panel(attention), ui.element("div").classes("board stack"):
            AttentionTab(desk, tabs).draw()
        with ui.tab_panel(board), ui.element("div").classes("board stack"):
            BoardTab(desk.bench, tabs).draw()
    with ui.element("footer").classes("foot"):
        ui.label(_NOTICE)
    ui.timer(0.05, lambda: desk.choose(), once=True)


def _theme_button(dark: ui.dark_mode) -> None:
    """Switch between the system's choice, light and dark."""
    order = {None: True, True: False, False: None}
    names = {None: "Theme: as the system", True: "Theme: dark", False: "Theme: light"}

    def turn() -> None:
        dark.value = order[dark.value]
        button.text = names[dark.value]

    button = ui.button(names[None], on_click=turn).props("flat dense no-caps color=none").classes("push")
