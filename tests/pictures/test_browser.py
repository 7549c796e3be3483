"""Pages in a real browser: the policy holds, the theme switches, nothing is asked of anybody."""

from __future__ import annotations

from pathlib import Path

from cytobench.pictures.page import render
from tests.browser import OpenPage


def _page(folder: Path, body: str = "") -> Path:
    (folder / "t.html").write_text(
        '{% extends "page.html" %}{% block content %}' + body + "{% endblock %}", encoding="utf-8"
    )
    path = folder / "page.html"
    path.write_text(render("t.html", {"title": "A page"}, folder=folder), encoding="utf-8")
    return path


def test_a_page_asks_nobody_for_anything_and_has_nothing_to_complain_about(
    tmp_path: Path, open_page: OpenPage
) -> None:
    opened = open_page(_page(tmp_path))
    assert opened.page.title() == "A page"
    assert opened.requests
    assert not opened.asked_elsewhere()
    assert not opened.complaints


def test_the_policy_stops_a_page_that_would_fetch_something(tmp_path: Path, open_page: OpenPage) -> None:
    opened = open_page(_page(tmp_path, '<img src="http://127.0.0.1:9/spy.png" alt="">'))
    assert any("Content Security Policy" in said or "Content-Security" in said for said in opened.complaints)


def test_the_button_switches_the_theme(tmp_path: Path, open_page: OpenPage) -> None:
    opened = open_page(_page(tmp_path), dark=True)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = opened.page.evaluate(paper)
    opened.page.click("#theme")
    assert opened.page.evaluate(paper) != dark
