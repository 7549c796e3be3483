"""The page in a real browser: queries, uploads, boxes, attention, groups, leaderboard, hostile words."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app.conftest import HOSTILE, Served
from tests.app.visiting import Visit, at_peace, choose, drop, noise, opened

if TYPE_CHECKING:
    from playwright.sync_api import Page


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


def test_a_name_that_is_no_cell_gets_a_sentence(visit: Visit, server: Served) -> None:
    seen = visit()
    for name in ("../../etc/passwd", "/etc/passwd", "nobody"):
        seen.page.get_by_label("By its name").fill(name)
        seen.page.get_by_label("By its name").press("Enter")
        seen.page.get_by_role("alert").filter(has_text=f"'{name}'").wait_for()
    at_peace(seen, server)
