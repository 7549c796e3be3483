"""The page in a real browser: themes and widths, keyboard and finger, several visitors, real fields."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.app.conftest import Served, serving
from tests.app.visiting import Visit, at_peace, drop, noise, opened
from tests.browser import OpenPage

_A_WIDE_TABLE = """
const wide = document.createElement("div");
wide.className = "scroll";
wide.innerHTML = "<table><tr><td style='min-width: 3000px'>as wide as twenty columns</td></tr></table>";
document.querySelector(".board h3").parentElement.append(wide);
"""
_WIDEST = (
    "Math.max(...[...document.querySelectorAll('.sheet, .sheet > *, .board, .board > *')]"
    ".filter(e => e.offsetParent).map(e => e.getBoundingClientRect().right))"
)


@pytest.mark.slow
def test_a_box_is_drawn_with_a_finger_and_the_page_stays(
    visit: Visit, server: Served, open_page: OpenPage
) -> None:
    seen = visit("toy-fields", width=390, height=800)
    page = seen.page
    drop(page, "field0.png", (server.place / "my" / "field0.png").read_bytes())
    page.locator(".field").wait_for()
    page.wait_for_function("document.querySelector('.field img').complete")
    page.locator(".field").scroll_into_view_if_needed()
    around = page.locator(".field").bounding_box()
    assert around is not None
    scrolled = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    scale = around["width"] / 96
    places = [(6, 6), (15, 15), (26, 26)]
    kinds = ["touchStart", "touchMove", "touchMove"]
    for kind, (x, y) in zip(kinds, places, strict=True):
        point = {"x": around["x"] + x * scale, "y": around["y"] + y * scale}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator("h2").filter(has_text="field0.png").first.wait_for()
    page.wait_for_function("document.querySelector('.field-box')?.getAttribute('width') > 15")
    assert page.evaluate("scrollY") == scrolled
    assert seen.overflow() == 0
    at_peace(seen, server)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (390, False), (1280, True)])
def test_light_and_dark_on_a_phone_and_a_desk(visit: Visit, server: Served, width: int, dark: bool) -> None:
    seen = visit(width=width, dark=dark)
    page = seen.page
    page.locator(".examples .cell").first.click()
    page.locator(".neighbour").first.wait_for()
    for tab in ("Similar cells", "Attention", "Leaderboard"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Leaderboard":
            page.locator(".board h3").first.wait_for()
            page.evaluate(_A_WIDE_TABLE)
        page.wait_for_timeout(300)
        assert seen.overflow() == 0
        # a panel scrolls for itself what is too wide, so what stands in it must not be
        assert page.evaluate(_WIDEST) <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark
    page.get_by_role("button", name="Theme").click()
    page.wait_for_function(
        "dark => (getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 27)') === dark", arg=True
    )
    at_peace(seen, server)


def test_everything_is_reached_by_the_keyboard(visit: Visit, server: Served) -> None:
    seen = visit()
    page = seen.page
    page.locator("body").press("Tab")
    for _ in range(40):
        if page.evaluate("document.activeElement.matches('.examples .cell')"):
            break
        page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.locator(".neighbour").first.wait_for()
    at_peace(seen, server)


def test_visitors_do_not_see_each_others_images(visit: Visit, server: Served) -> None:
    one, other = visit(), visit()
    drop(one.page, "secret-patient.png", noise(5))
    one.page.locator(".neighbour").first.wait_for()
    other.page.wait_for_timeout(500)
    assert other.page.locator(".field, .neighbour").count() == 0
    assert "secret-patient" not in other.page.content()
    other.page.reload()
    opened(other.page)
    assert "secret-patient" not in other.page.content()


@pytest.mark.slow
def test_a_visitor_who_leaves_in_the_middle_harms_nobody(visit: Visit, server: Served) -> None:
    staying = visit()
    for _ in range(3):
        leaving = visit()
        leaving.page.locator(".examples .cell").first.click(no_wait_after=True)
        leaving.page.context.close()
    staying.page.locator(".examples .cell").first.click()
    staying.page.locator(".neighbour").first.wait_for()
    time.sleep(4)  # by then the server has given up on those who left
    staying.page.locator(".neighbour").first.click()
    staying.page.wait_for_timeout(500)
    at_peace(staying, server)


def test_the_page_says_that_it_is_for_research(visit: Visit, server: Served) -> None:
    assert "For research." in visit().page.locator("footer").inner_text()


@pytest.mark.slow
def test_real_fields(shared_data: Path, open_page: OpenPage, tmp_path: Path) -> None:
    """A box drawn in a real field finds the white cell's like."""
    with serving(
        tmp_path, "-d", "bccd-cell-type", "-b", "colour-statistics", "--data", str(shared_data)
    ) as server:
        seen = open_page(server.url)
        opened(seen.page, "bccd-cell-type", "colour-statistics", within=600_000)
        drop(seen.page, "field.jpg", (shared_data / "bccd/BCCD/JPEGImages/BloodImage_00010.jpg").read_bytes())
        seen.page.locator(".field").wait_for()
        seen.page.get_by_role("button", name="Look up the whole image").wait_for()
        for name, value in (("x", 30), ("y", 240), ("w", 170), ("h", 180)):
            seen.page.get_by_label(name, exact=True).fill(str(value))
        seen.page.get_by_role("button", name="Look up the box").click()
        seen.page.locator(".neighbour").first.wait_for(timeout=60_000)
        assert "WBC" in seen.page.locator("h2").first.inner_text()
        at_peace(seen, server)
