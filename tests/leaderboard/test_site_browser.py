"""The site in a real browser: it sorts, filters, keeps to itself, and fits a phone, paper and both themes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.index_page import backbone_page_name, task_page_name
from tests.browser import OpenPage, Watched
from tests.leaderboard import stored_board as toys
from tests.leaderboard.conftest import ABSENT, TASKS

PAGES = (
    "index.html",
    "how-to-read.html",
    "downloads.html",
    task_page_name(TASKS[0]),
    task_page_name(toys.UPWARDS),
    backbone_page_name("good"),
    backbone_page_name(toys.SCRIPT),
    backbone_page_name(toys.LONG),
)
NAMES = (
    "[...document.querySelectorAll('#board tbody tr')].filter(r => !r.hidden)"
    ".map(r => r.querySelector('bdi').textContent)"
)


def _heading(opened: Watched, task: str, probe: str, *, tuned: bool) -> str:
    """Return a selector of a column's heading."""
    return f'#board th[data-task="{task}"][data-probe="{probe}"][data-tuned="{"yes" if tuned else "no"}"]'


def _shown(opened: Watched) -> list[str]:
    return list(opened.page.evaluate(NAMES))


def _columns(opened: Watched) -> int:
    script = "[...document.querySelectorAll('#board thead th[data-probe]')].filter(h => !h.hidden).length"
    return int(opened.page.evaluate(script))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_a_page_is_silent_keeps_to_itself_and_fits(
    toy_site: Path, open_page: OpenPage, name: str, width: int, dark: bool
) -> None:
    opened = open_page(toy_site / name, width=width, dark=dark)
    assert not opened.complaints
    assert opened.requests
    assert not opened.asked_elsewhere()
    assert opened.overflow() == 0
    for words in ("h1", "main p", "nav a", "main h2, main li"):
        box = opened.page.locator(words).first.bounding_box()
        assert box is not None, words
        assert box["width"] > 20, words
        assert box["height"] > 12, words
    assert opened.page.evaluate("window.hacked") is None


def test_links_between_pages_work_under_hostile_names(toy_site: Path, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html")
    opened.page.press(f'#tasks ~ .scroll a[href="{task_page_name(toys.UPWARDS)}"]', "Enter")
    opened.page.wait_for_selector(f"h1:has-text('{toys.UPWARDS}')")
    opened.page.wait_for_selector("table.scores")
    opened.page.press(f'table a[href="{backbone_page_name(toys.SCRIPT)}"]', "Enter")
    opened.page.wait_for_selector("#licence")
    assert opened.page.inner_text("h1") == toys.SCRIPT
    opened.page.click("nav a.brand")
    opened.page.wait_for_selector("#board")
    assert opened.page.inner_text("h1") == f"Toys {toys.SCRIPT}"
    assert not opened.complaints


def test_the_table_sorts_by_any_column_and_says_so(
    toy_site: Path, toy_board: Board, open_page: OpenPage
) -> None:
    opened = open_page(toy_site / "index.html")
    opened.page.uncheck("[name=scored]")
    key = (TASKS[0], "linear", True)
    best_first = [row.backbone for row in toy_board.in_column(key)]
    heading = _heading(opened, *key[:2], tuned=True)
    opened.page.click(f"{heading} button")
    assert opened.page.get_attribute(heading, "aria-sort") == "descending"
    assert _shown(opened)[: len(best_first)] == best_first
    assert set(_shown(opened)[len(best_first) :]) == set(ABSENT)
    opened.page.click(f"{heading} button")
    assert opened.page.get_attribute(heading, "aria-sort") == "ascending"
    assert _shown(opened)[: len(best_first)] == best_first[::-1]
    assert set(_shown(opened)[len(best_first) :]) == set(ABSENT)
    assert opened.page.locator("#board [aria-sort]").count() == 1
    assert "ascending" in opened.page.inner_text("[role=status]")
    opened.page.click("#board th.corner button")
    assert _shown(opened) == opened.page.evaluate(
        f"{NAMES}.sort((a, b) => a.localeCompare(b, undefined, {{numeric: true}}))"
    )


def test_ranks_sort_by_ranks(toy_site: Path, toy_board: Board, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html")
    opened.page.select_option("[name=show]", "rank")
    key = (TASKS[0], "linear", True)
    opened.page.click(f"{_heading(opened, *key[:2], tuned=True)} button")
    rows = {row.backbone: row for row in toy_board.in_column(key)}
    middles = [(rows[name].rank_low or 0) + (rows[name].rank_high or 0) for name in _shown(opened)]
    assert middles == sorted(middles)
    assert not opened.page.is_visible("#board td.score .s >> nth=0")


def test_the_keyboard_reaches_and_presses_a_heading(toy_site: Path, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html")
    heading = _heading(opened, TASKS[0], "linear", tuned=True)
    opened.page.focus("#board thead a >> nth=0")
    reached = False
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        reached = opened.page.evaluate(
            "s => document.activeElement === document.querySelector(s + ' button')", heading
        )
        if reached:
            break
    assert reached
    opened.page.keyboard.press("Enter")
    assert opened.page.get_attribute(heading, "aria-sort") == "descending"


def test_lines_are_filtered_by_words_domain_nulls_and_score(toy_site: Path, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html")
    assert set(_shown(opened)) == set(toys.SKILLS)
    opened.page.uncheck("[name=scored]")
    assert set(_shown(opened)) == {*toys.SKILLS, *ABSENT}
    opened.page.check("[name=nonulls]")
    assert set(_shown(opened)) == {*toys.SKILLS, *ABSENT} - {"majority"}
    opened.page.fill("[name=text]", "title GOOD")
    assert _shown(opened) == ["good"]
    assert opened.page.inner_text("#count").startswith("1 of 9 backbones")
    opened.page.fill("[name=text]", toys.SCRIPT)
    assert _shown(opened) == [toys.SCRIPT]
    opened.page.click("#filters [type=reset]")
    opened.page.wait_for_function("document.getElementById('count').textContent.startsWith('5 of 9')")
    opened.page.select_option("[name=domain]", "none")
    assert _shown(opened) == ["majority"]


def test_columns_are_chosen_by_task_probe_and_tuning(toy_site: Path, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html")
    assert _columns(opened) == len(TASKS)  # logistic regression speaks for each task
    opened.page.select_option("[name=probe]", "")
    assert _columns(opened) == 2 * len(TASKS)
    opened.page.select_option("[name=tuning]", "no")
    assert _columns(opened) == len(TASKS)
    opened.page.select_option("[name=task]", toys.UPWARDS)
    assert _columns(opened) == 1
    cells = (
        "[...document.querySelectorAll('#board tbody tr')]"
        ".map(r => [...r.cells].filter(c => !c.hidden).length)"
    )
    assert set(opened.page.evaluate(cells)) == {3}
    groups = opened.page.locator("#board th[data-group]:visible")
    assert [groups.nth(0).get_attribute("data-group"), groups.count()] == [toys.UPWARDS, 1]


def test_other_tables_sort_too(toy_site: Path, toy_board: Board, open_page: OpenPage) -> None:
    opened = open_page(toy_site / task_page_name(TASKS[0]))
    table = "table.scores"
    opened.page.click(f"{table} thead th >> nth=1 >> button")
    names = opened.page.locator(f"{table} tbody th bdi").all_inner_texts()
    assert names == [row.backbone for row in toy_board.in_column((TASKS[0], "knn", False))]


def test_without_javascript_everything_is_there(toy_site: Path, open_page: OpenPage) -> None:
    opened = open_page(toy_site / "index.html", javascript=False)
    assert opened.page.locator("#board tbody tr:visible").count() == len(toys.SKILLS) + len(ABSENT)
    assert opened.page.locator("#board thead th[data-probe]:visible").count() == 2 * len(TASKS)
    assert not opened.page.is_visible("#filters")
    assert opened.page.locator("th button").count() == 0


@pytest.mark.parametrize("medium", ["screen", "print"])
def test_every_figure_is_seen(toy_site: Path, open_page: OpenPage, medium: str) -> None:
    for name in ("index.html", task_page_name(TASKS[0]), backbone_page_name("good")):
        opened = open_page(toy_site / name)
        opened.page.emulate_media(media=medium)
        figures = opened.page.locator("figure.drawing svg")
        assert figures.count() >= 1
        for place in range(figures.count()):
            box = figures.nth(place).bounding_box()
            assert box is not None
            assert box["width"] > 200
            assert box["height"] > 100


def test_figures_follow_the_theme(toy_site: Path, open_page: OpenPage) -> None:
    for dark in (False, True):
        opened = open_page(toy_site / "index.html", dark=dark)
        ink = opened.page.evaluate("getComputedStyle(document.body).color")
        text = "getComputedStyle([...document.querySelectorAll('#standings svg text')].at(-1)).fill"
        assert opened.page.evaluate(text) == ink
        opened.page.click("#theme")
        assert (
            opened.page.evaluate(text) == opened.page.evaluate("getComputedStyle(document.body).color") != ink
        )


def test_on_paper_there_are_no_controls_and_ties_are_more_than_a_colour(
    toy_site: Path, open_page: OpenPage
) -> None:
    opened = open_page(toy_site / "index.html")
    opened.page.emulate_media(media="print")
    assert not opened.page.is_visible("header.top")
    assert not opened.page.is_visible("#filters")
    first = opened.page.locator("#board td.first:visible").first
    assert "★" in first.inner_text()
    assert first.locator(".s").evaluate("e => getComputedStyle(e).textDecorationLine") == "underline"
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_on_paper_the_table_has_one_column_a_task_unless_columns_were_chosen(
    toy_site: Path, open_page: OpenPage
) -> None:
    opened = open_page(toy_site / "index.html", width=1030)
    opened.page.emulate_media(media="print")
    heads = opened.page.locator("#board thead th[data-probe]:visible")
    assert heads.count() == len(TASKS)
    assert TASKS[0] in heads.first.inner_text()
    assert opened.overflow() == 0
    opened.page.emulate_media(media="screen")
    opened.page.select_option("[name=probe]", "knn")
    opened.page.emulate_media(media="print")
    assert heads.count() == len(TASKS)
    assert "knn" in heads.first.inner_text()
    cells = "[...document.querySelectorAll('#board tbody tr:not([hidden])')].map(r => r.cells.length)"
    assert set(opened.page.evaluate(cells)) == {2 + 2 * len(TASKS)}


def test_a_reader_of_screens_is_told_names_of_figures_and_scrolling_regions(
    toy_site: Path, open_page: OpenPage
) -> None:
    opened = open_page(toy_site / "index.html")
    figure = opened.page.get_by_role("img", name="Overall standings")
    assert figure.count() == 1
    assert opened.page.get_by_role("region", name="Scores of all backbones").count() == 1
    heading = opened.page.get_by_role("columnheader", name="mean rank")
    assert heading.first.get_attribute("aria-sort") == "ascending"
    for label in ("Backbone", "Pretrained on", "Task", "Probe", "Tuning", "Show"):
        assert opened.page.get_by_label(label, exact=True).count() == 1
