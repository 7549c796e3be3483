"""The site says what the leaderboard says, bears any name, and never writes or leads out of its folder."""

from __future__ import annotations

import csv
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from cytobench.leaderboard.rows import tidy
from cytobench.leaderboard.site.backbone_page import add_backbone
from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.build import build, make_page
from cytobench.leaderboard.site.index_page import backbone_page_name, task_page_name
from cytobench.leaderboard.site.names import file_stem, printable, short
from cytobench.leaderboard.site.workers import made
from cytobench.progress import SilentReporter
from tests.leaderboard import stored_board as toys
from tests.leaderboard.conftest import ABSENT


class Reader(HTMLParser):
    """Collects the tags, links and text of a page as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [str(attrs["href"]) for tag, attrs in self.tags if tag == "a" and attrs.get("href")]


@pytest.fixture(scope="session")
def pages(toy_site: Path) -> dict[str, Reader]:
    return {path.name: Reader(path.read_text(encoding="utf-8")) for path in toy_site.glob("*.html")}


def test_there_is_a_page_for_every_task_and_backbone(toy_board: Board, pages: dict[str, Reader]) -> None:
    wanted = {"index.html", "how-to-read.html", "downloads.html"}
    wanted |= {task_page_name(name) for name in toy_board.tasks}
    wanted |= {backbone_page_name(name) for name in toy_board.backbones}
    assert set(pages) == wanted
    assert len(wanted) == 3 + len(toy_board.tasks) + len(toy_board.backbones)


def test_every_link_leads_to_a_file_of_the_site_or_to_the_web(
    toy_site: Path, pages: dict[str, Reader]
) -> None:
    for name, page in pages.items():
        assert page.links(), name
        for link in page.links():
            if link.startswith("#"):
                continue
            if ":" in link:
                assert link.startswith(("https://", "http://")), (name, link)
                continue
            target = (toy_site / unquote(link.partition("#")[0])).resolve()
            assert target.is_file(), (name, link)
            assert target.is_relative_to(toy_site.resolve()), (name, link)


def test_every_link_to_a_place_on_a_page_finds_it(pages: dict[str, Reader]) -> None:
    ids = {name: {attrs.get("id") for _, attrs in page.tags} for name, page in pages.items()}
    for name, page in pages.items():
        for link in page.links():
            target, _, anchor = link.partition("#")
            if anchor and ":" not in link:
                assert anchor in ids[target or name], (name, link)


def test_no_page_loads_anything_and_no_id_is_there_twice(pages: dict[str, Reader]) -> None:
    for name, page in pages.items():
        for tag, attrs in page.tags:
            assert tag not in ("iframe", "object", "embed", "base"), name
            source = attrs.get("src") or (attrs.get("href") if tag == "link" else None)
            assert source is None or source.startswith("data:"), (name, tag, source)
        ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
        assert len(ids) == len(set(ids)), name


def test_hostile_words_are_text_on_every_page(pages: dict[str, Reader]) -> None:
    for name, page in pages.items():
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert len(scripts) == 1, name
        assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)], name
        assert toys.SCRIPT in page.text, name
    index = pages["index.html"]
    for hostile in (toys.SCRIPT, toys.QUOTES, toys.UPWARDS, toys.LONG, toys.BACKWARDS):
        assert hostile in index.text


def test_hostile_names_become_file_names_that_stay_in_the_folder(toy_content: dict[str, bytes]) -> None:
    for name in toy_content:
        assert re.fullmatch(r"(files/)?[a-z0-9._-]{1,120}", name), name
        assert ".." not in name.split("/")
    assert len({name.lower() for name in toy_content}) == len(toy_content)


@pytest.mark.parametrize("name", [*toys.HOSTILE, "", ".", "..", "CON", "a/b", "Ünï", "\ud800"])
def test_a_file_stem_is_harmless_and_its_own(name: str) -> None:
    stem = file_stem("task", name)
    assert re.fullmatch(r"task-[a-z0-9_][a-z0-9._-]*", stem)
    assert stem != file_stem("task", name + "x")
    assert stem != file_stem("task", name.upper() + "X".lower())


def test_plain_names_keep_their_name() -> None:
    assert file_stem("backbone", "dinov2-vitb14") == "backbone-dinov2-vitb14"
    assert file_stem("task", "A") != file_stem("task", "a")


def test_figures_show_names_shortened_and_without_what_turns_text_around() -> None:
    assert printable(toys.BACKWARDS) == "gnihtemos"
    assert printable("a\n\tb\x00") == "a b"
    assert len(short(toys.LONG)) == 34
    assert short("dinov2-vitb14") == "dinov2-vitb14"


def test_the_index_shows_the_scores_intervals_and_ranks_of_the_rows(
    toy_board: Board, pages: dict[str, Reader]
) -> None:
    text = pages["index.html"].text
    shown = [row for row in toy_board.judged.rows if row.value is not None]
    assert len(shown) == len(toys.SKILLS) * len(toy_board.columns)
    for row in shown:
        assert row.value is not None
        assert row.low is not None
        assert row.high is not None
        assert f"{100 * row.value:.1f}" in text
        assert f"[{100 * row.low:.1f}, {100 * row.high:.1f}]" in text
    assert text.count("may be first") >= sum(row.tied for row in shown)


def test_a_critical_difference_diagram_is_there_from_eight_tasks_on(
    toy_board: Board, pages: dict[str, Reader]
) -> None:
    ids = {attrs.get("id") for _, attrs in pages["index.html"].tags}
    assert "critical-difference" in ids
    from dataclasses import replace

    few = dict(list(toy_board.tasks.items())[:7])
    rows = [row for row in toy_board.judged.rows if row.task in few]
    smaller = replace(toy_board, tasks=few, judged=replace(toy_board.judged, rows=rows))
    page = make_page(smaller, ("index", "")).content["index.html"].decode()
    assert 'id="critical-difference"' not in page
    assert "needs at least eight ranked tasks" in page


def test_downloads_hold_the_same_rows_in_every_format(toy_board: Board, toy_site: Path) -> None:
    stem = toy_site / "files" / "leaderboard-toys"
    wanted = tidy(toy_board.judged.rows)
    assert pl.read_parquet(stem.with_suffix(".parquet")).equals(wanted)
    from_csv = list(csv.DictReader(stem.with_suffix(".csv").open(encoding="utf-8", newline="")))
    from_json = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert [row["backbone"] for row in from_csv] == wanted["backbone"].to_list()
    assert [row.get("value") for row in from_json] == pytest.approx(
        [None if one is None else round(one, 6) for one in wanted["value"]]
    )
    assert r"\toprule" in stem.with_suffix(".tex").read_text(encoding="utf-8")
    assert stem.with_suffix(".md").is_file()


def test_every_file_can_be_reached_from_the_downloads(toy_site: Path, pages: dict[str, Reader]) -> None:
    linked = {link for link in pages["downloads.html"].links() if link.startswith("files/")}
    assert linked == {f"files/{path.name}" for path in (toy_site / "files").iterdir()}


def test_every_figure_says_in_words_what_it_shows_and_is_there_as_svg_and_png(
    toy_site: Path, pages: dict[str, Reader]
) -> None:
    drawn = 0
    for page in pages.values():
        ids = {attrs.get("id") for _, attrs in page.tags}
        for tag, attrs in page.tags:
            if tag == "svg":
                drawn += 1
                assert attrs["role"] == "img"
                assert all(one in ids for one in str(attrs["aria-labelledby"]).split())
    pictures = {path.suffix: 0 for path in (toy_site / "files").iterdir()}
    for path in (toy_site / "files").iterdir():
        pictures[path.suffix] += 1
    assert pictures[".svg"] == pictures[".png"] == drawn
    svg = (toy_site / "files" / "standings.svg").read_text(encoding="utf-8")
    assert "<text" in svg
    assert "good" in svg


def test_a_task_page_has_confusion_and_reliability(pages: dict[str, Reader], toy_board: Board) -> None:
    page = pages[task_page_name("task-0")]
    row = toy_board.in_column(toy_board.main["task-0"])[0]
    run = toy_board.run_of(row)
    assert run is not None
    for counts in run.confusion:
        for count in counts:
            assert str(count) in page.text
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert {"confusion", "reliability", "examples", "curves", "cost"} <= ids
    assert "Made without the images" in page.text


def test_a_backbone_page_has_licence_citation_and_overlap(pages: dict[str, Reader]) -> None:
    page = pages[backbone_page_name("good")]
    assert f"free {toys.SCRIPT}" in page.text
    assert f"A & B, {toys.QUOTES}" in page.text
    assert "https://example.org/?a=1&b=2" in page.links()
    assert not [link for link in page.links() if link.startswith("javascript")]
    assert "unseen" in page.text


def test_a_backbone_that_did_not_run_has_a_page_that_says_so(pages: dict[str, Reader]) -> None:
    assert "No score here: not run." in pages[backbone_page_name(toys.LONG)].text


def test_pages_are_the_same_whether_one_process_draws_or_two(toy_board: Board) -> None:
    names = [("backbone", name) for name in (*ABSENT, *ABSENT, *ABSENT, "good")]
    alone = [one.content for one in made(toy_board, names, make_page, 1)]
    shared = [one.content for one in made(toy_board, names, make_page, 2)]
    assert alone == shared


def test_a_board_without_any_run_still_has_a_site(tmp_path: Path) -> None:
    board = toys.gathered(tmp_path, toys.cards(("task-0",), ("good", "majority")))
    content = build(board, SilentReporter())
    text = html.unescape(content["index.html"].decode())
    assert "There are no overall standings" in text
    assert "No backbone has a score yet" in text
    assert b"not run" in content[backbone_page_name("good")]


def test_reasons_of_failures_stand_on_the_pages(tmp_path: Path) -> None:
    from cytobench.evaluation.ledger import Failure, record_failure

    cards = toys.cards(("task-0",), ("good", "majority"))
    why = f"the file is broken {toys.SCRIPT}"
    for probe, tuned in (("knn", False), ("linear", True)):
        record_failure(
            tmp_path, Failure(task="task-0", backbone="good", probe=probe, tuned=tuned, reason=why)
        )
    content = build(toys.gathered(tmp_path, cards), SilentReporter())
    for page in ("index.html", task_page_name("task-0"), backbone_page_name("good")):
        assert why in Reader(content[page].decode()).text


def test_a_page_of_one_backbone_is_drawn_alone(toy_board: Board) -> None:
    from cytobench.leaderboard.site.bundle import Bundle
    from cytobench.leaderboard.site.drawing import style

    bundle = Bundle({"site_title": "T", "command": "c", "version": "1", "backbone_pages": {}})
    with style():
        add_backbone(toy_board, "good", bundle)
    assert {Path(name).suffix for name in bundle.content} == {".html", ".svg", ".png", ".csv"}
