"""The page in a real browser: queries, uploads, boxes, attention, leaderboard; themes, phone, keyboard."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import HOSTILE, Served
from tests.browser import OpenPage, Watched

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., Watched]
_SECONDS = 60_000
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


def choose(page: Page, label: str, option: str) -> None:
    """Choose something in one of the pickers."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option").filter(has_text=option).first.click()


def opened(
    page: Page, collection: str = "toy", backbone: str = "morphology", *, within: int = _SECONDS
) -> None:
    """Wait until this collection is open under this backbone; have its index made where there is none."""
    about = page.get_by_text(re.compile(rf"cells of {collection} under {backbone}; index"))
    missing = page.get_by_text(f"{collection} has no index under {backbone} yet.")
    about.or_(missing).first.wait_for(timeout=_SECONDS)
    if missing.is_visible():
        page.get_by_role("button", name="Make it now").click()
    about.wait_for(timeout=within)
    page.locator(".examples .cell").first.wait_for()


def drop(page: Page, name: str, data: bytes) -> None:
    """Give the page a file."""
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "image/png", "buffer": data})


def png(pixels: np.ndarray) -> bytes:
    """Return pixels as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def noise(seed: int, side: int = 24) -> bytes:
    """Return a PNG file of noise."""
    return png(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8))


@pytest.fixture
def visit(server: Served, open_page: OpenPage) -> Visit:
    """Open the page as a visitor, with a collection ready under morphology."""

    def call(collection: str = "toy", **options: object) -> Watched:
        seen = open_page(server.url, **options)
        opened(seen.page)
        if collection != "toy":
            choose(seen.page, "Collection", collection)
            opened(seen.page, collection)
        return seen

    return call


def at_peace(seen: Watched, server: Served) -> None:
    """Assert that the browser asked nobody but the server, and complained of nothing."""
    assert not seen.asked_elsewhere(server.url, server.url.replace("http", "ws"), "data:", "blob:")
    assert seen.complaints == []
    assert "Traceback" not in server.said()


def test_a_cell_of_the_collection_is_looked_up_and_so_is_its_neighbour(visit: Visit, server: Served) -> None:
    seen = visit()
    page = seen.page
    page.locator(".examples .cell").first.click()
    page.locator(".neighbour").first.wait_for()
    assert page.locator(".neighbour").count() == 12
    shown = [
        float(text.split()[0]) for text in page.locator(".neighbour .line:first-of-type").all_inner_texts()
    ]
    assert shown == sorted(shown, reverse=True)
    before = page.locator("h2").first.inner_text()
    card = page.locator(".neighbour").nth(1)
    sample = re.search(r"(p\d/\d\.png)", card.get_attribute("title") or "")
    card.click()
    page.wait_for_function("before => document.querySelector('h2').innerText !== before", arg=before)
    assert sample is not None
    assert sample[1] in page.locator("h2").first.inner_text()
    at_peace(seen, server)


def test_the_table_has_what_the_cards_have(visit: Visit, server: Served) -> None:
    page = visit().page
    page.locator(".examples .cell").first.click()
    page.get_by_text("As a table").click()
    rows = page.locator(".for-answer tbody tr")
    assert rows.count() == 12
    assert re.match(r"1\s+[01]\.\d{4}", rows.first.inner_text())
    page.get_by_label("Neighbours", exact=True).first.fill("5")
    page.wait_for_function("document.querySelectorAll('.neighbour').length === 5")


def test_words_of_others_are_text(visit: Visit, server: Served) -> None:
    seen = visit()
    page = seen.page
    assert HOSTILE in page.locator(".examples").inner_text()
    page.locator(".examples .cell").filter(has_text="onerror").first.click()
    page.locator("h2").filter(has_text="onerror").first.wait_for()
    drop(page, f"{HOSTILE}.png", noise(1))
    page.locator("h2").filter(has_text="onerror").first.wait_for()
    page.locator(".field").wait_for()
    assert page.locator("img[src=x]").count() == 0
    at_peace(seen, server)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"this is no image", "no image that can be opened"), (noise(0)[:300], "damaged"), (b"", "empty")],
)
def test_an_upload_of_nonsense_gets_a_sentence(visit: Visit, server: Served, data: bytes, says: str) -> None:
    seen = visit()
    drop(seen.page, "cell.png", data)
    alert = seen.page.get_by_role("alert").filter(has_text=says)
    alert.wait_for()
    assert "cell.png" in alert.inner_text()
    assert str(server.place) not in seen.page.content()
    at_peace(seen, server)


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    visit: Visit, server: Served, tmp_path: Path
) -> None:
    seen = visit()
    (tmp_path / "large.png").write_bytes(noise(0) + bytes(21 * 2**20))
    seen.page.set_input_files("input[type=file]", tmp_path / "large.png")
    seen.page.get_by_role("alert").filter(has_text="larger than 20 MB").wait_for()
    assert not [url for url in seen.requests if "/upload/" in url]
    at_peace(seen, server)


def test_a_dropped_cell_is_looked_up_and_nothing_of_it_is_kept(visit: Visit, server: Served) -> None:
    seen = visit()
    page = seen.page
    # noise does not shrink: large enough for the server to spool it to a file while it arrives
    drop(page, "mine.png", noise(2, side=1200))
    page.get_by_role("button", name="Look up the whole image").click()
    page.locator(".neighbour").first.wait_for()
    assert "mine.png" in page.locator("h2").first.inner_text()
    deadline = time.monotonic() + 10
    while _left(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _left(server) == []
    assert list((server.place / "cwd").rglob("*")) == []
    at_peace(seen, server)


def _left(server: Served) -> list[str]:
    kept = [path for path in server.temporary.rglob("*") if path.is_file()]
    # libraries of numbers keep folders of their own there; what came from a visitor is an image or a form
    return [path.name for path in kept if path.parent.name.startswith("cytobench-serve-")]


def test_a_box_is_drawn_in_a_field_with_the_mouse_the_keyboard_and_by_numbers(
    visit: Visit, server: Served
) -> None:
    seen = visit("toy-fields")
    page = seen.page
    page.locator(".examples .cell").filter(has_text="blue").first.click()
    page.get_by_role("button", name="Open its field").click()
    field = page.locator(".field")
    field.wait_for()
    page.wait_for_function("document.querySelector('.field img').complete")
    label = page.locator(".field-box")
    label.wait_for(state="attached")  # where the cell lies in its field
    drop(page, "field0.png", (server.place / "my" / "field0.png").read_bytes())
    page.get_by_text("field0.png, 96 x 96 px").wait_for()
    around = field.bounding_box()
    assert around is not None
    scale = around["width"] / 96
    page.mouse.move(around["x"] + 6 * scale, around["y"] + 6 * scale)
    page.mouse.down()
    page.mouse.move(around["x"] + 20 * scale, around["y"] + 20 * scale)
    page.mouse.move(around["x"] + 26 * scale, around["y"] + 26 * scale)
    page.mouse.up()
    page.locator("h2").filter(has_text="field0.png").first.wait_for()
    assert _box(page) == pytest.approx([6, 6, 20, 20], abs=1)
    page.wait_for_function(
        "[...document.querySelectorAll('.neighbour')].slice(0, 5).every(e => e.innerText.includes('red'))"
    )
    field.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "[...document.querySelectorAll('.neighbour')].slice(0, 5).every(e => e.innerText.includes('blue'))"
    )
    x, _, _, h = _box(page)
    assert x == pytest.approx(36, abs=1)
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_function(f"document.querySelector('.field-box').getAttribute('height') === '{h + 1:.0f}'")
    for name, value in (("x", 6), ("y", 6), ("w", 20), ("h", 20)):
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Look up the box").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.neighbour')].slice(0, 5).every(e => e.innerText.includes('red'))"
    )
    page.mouse.click(around["x"] + 46 * scale, around["y"] + 16 * scale)  # the centre of a cell
    page.wait_for_function(
        "[...document.querySelectorAll('.neighbour')].slice(0, 5).every(e => e.innerText.includes('blue'))"
    )
    page.get_by_label("x", exact=True).fill("95")
    page.get_by_label("w", exact=True).fill("0")
    page.get_by_label("h", exact=True).fill("7")
    page.get_by_role("button", name="Look up the box").click()
    page.get_by_role("alert").filter(has_text="Draw a box").wait_for()
    at_peace(seen, server)


def _box(page: Page) -> list[float]:
    box = page.locator(".field-box")
    return [float(box.get_attribute(name) or "nan") for name in ("x", "y", "width", "height")]


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


def test_pictures_behind_a_licence_are_never_sent(visit: Visit, server: Served) -> None:
    seen = visit("toy-hidden")
    page = seen.page
    assert "does not let its pictures be shown" in page.locator(".for-answer").inner_text()
    page.locator(".examples .cell").first.click()
    rows = page.locator(".for-answer tbody tr")
    rows.first.wait_for()
    assert rows.count() == 12
    assert page.locator(".for-answer img").count() == 0
    assert page.locator(".examples img").count() == 0
    page.get_by_role("tab", name="Attention").click()
    page.get_by_text("The licence of this collection does not let").wait_for()
    page.get_by_role("tab", name="Similar cells").click()
    drop(page, "mine.png", noise(3))  # one's own picture may be seen
    page.locator(".for-answer img").wait_for()
    assert page.locator(".for-answer img").count() == 1
    at_peace(seen, server)


def test_attention_of_a_transformer_and_a_sentence_for_handcrafted_features(
    visit: Visit, server: Served
) -> None:
    seen = visit()
    page = seen.page
    page.locator(".examples .cell").first.click()
    page.locator(".neighbour").first.wait_for()
    page.get_by_role("tab", name="Attention").click()
    page.get_by_text("handcrafted features and has no attention").wait_for()
    page.get_by_role("tab", name="Similar cells").click()
    choose(page, "Backbone", "random-vit-tiny")
    opened(page, backbone="random-vit-tiny")
    page.locator(".neighbour").first.wait_for()  # the same cell, looked up again
    page.get_by_role("tab", name="Attention").click()
    page.locator(".maps figure").first.wait_for()
    titles = page.locator(".maps figcaption").all_inner_texts()
    assert [title.split("\n")[0] for title in titles] == [
        "as the backbone sees it",
        "rollout",
        "mean of the heads",
        "head 1",
        "head 2",
        "head 3",
    ]
    sources = page.locator(".maps img").evaluate_all("images => images.map(image => image.src)")
    assert len(set(sources)) == 6
    at_peace(seen, server)


def test_a_group_is_left_out(visit: Visit, server: Served) -> None:
    seen = visit("toy-fields")
    page = seen.page
    page.locator(".examples .cell").first.click()
    page.locator(".neighbour").first.wait_for()
    page.get_by_text("As a table").click()
    groups = page.locator(".for-answer tbody td:nth-child(4)")
    assert "slide1" in groups.all_inner_texts()
    choose(page, "Leave out group", "slide1")
    page.wait_for_function("!document.querySelector('.cards').innerText.includes('slide1')")
    choose(page, "Leave out group", "the query's own")
    page.wait_for_function("document.querySelector('.cards').innerText.includes('slide1')")
    drop(page, "mine.png", noise(4))
    page.get_by_role("alert").filter(has_text="name the group to leave out").wait_for()
    at_peace(seen, server)


def test_the_leaderboard_is_browsed(visit: Visit, server: Served) -> None:
    seen = visit()
    page = seen.page
    page.get_by_role("tab", name="Leaderboard").click()
    choose(page, "Leaderboard", "Toy board")
    page.get_by_role("heading", name="Toy board").wait_for()
    page.get_by_text("No run of these backbones on this task is stored here.").wait_for()
    page.get_by_role("heading", name="Notes").wait_for()
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


def test_a_name_that_is_no_cell_gets_a_sentence(visit: Visit, server: Served) -> None:
    seen = visit()
    for name in ("../../etc/passwd", "/etc/passwd", "nobody"):
        seen.page.get_by_label("By its name").fill(name)
        seen.page.get_by_label("By its name").press("Enter")
        seen.page.get_by_role("alert").filter(has_text=f"'{name}'").wait_for()
    at_peace(seen, server)


def test_the_page_says_that_it_is_for_research(visit: Visit, server: Served) -> None:
    assert "For research." in visit().page.locator("footer").inner_text()


@pytest.mark.slow
def test_real_fields(shared_data: Path, open_page: OpenPage, tmp_path: Path) -> None:
    """A box drawn in a real field finds the white cell's like."""
    from tests.app.conftest import serving

    with serving(
        tmp_path, "-d", "bccd-cell-type", "-b", "colour-statistics", "--data", str(shared_data)
    ) as server:
        seen = open_page(server.url)
        opened(seen.page, "bccd-cell-type", "colour-statistics", within=10 * _SECONDS)
        drop(seen.page, "field.jpg", (shared_data / "bccd/BCCD/JPEGImages/BloodImage_00010.jpg").read_bytes())
        seen.page.locator(".field").wait_for()
        seen.page.get_by_role("button", name="Look up the whole image").wait_for()
        for name, value in (("x", 30), ("y", 240), ("w", 170), ("h", 180)):
            seen.page.get_by_label(name, exact=True).fill(str(value))
        seen.page.get_by_role("button", name="Look up the box").click()
        seen.page.locator(".neighbour").first.wait_for(timeout=_SECONDS)
        assert "WBC" in seen.page.locator("h2").first.inner_text()
        at_peace(seen, server)
