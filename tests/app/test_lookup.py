"""A question and its answer, without a browser: what is shown, and what a licence keeps."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from cytobench.app import desk as desks
from cytobench.app.attended import maps_of
from cytobench.app.bench import Bench
from cytobench.app.boards import drawn
from cytobench.app.desk import Desk, Dropped
from cytobench.app.jobs import Job, News
from cytobench.app.lookup import OWN_GROUP, Wanted, examples, field_of, groups_to_exclude, look_up
from cytobench.errors import CytoBenchError, DataError, UsageError
from cytobench.leaderboard.table import Cell, Heading, Layout
from cytobench.registry import Registry
from cytobench.retrieval import Searcher
from tests.app.conftest import HOSTILE, write_collections
from tests.app.visiting import run_alone


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("bench")
    (root / "my").mkdir()
    write_collections(root / "my")
    return Bench(Registry.load([root / "my"], entry_points=False), root / "home", device="cpu")


def opened(bench: Bench, collection: str, backbone: str = "morphology") -> Searcher:
    job = bench.open((collection, backbone))
    assert job.wait(120)
    assert job.error == ""
    assert job.result is not None
    return job.result


def test_neighbours_are_those_of_the_index_with_pictures(bench: Bench) -> None:
    searcher = opened(bench, "toy")
    found = look_up(searcher, Wanted(sample="p0/0.png", k=5))
    answer = searcher.search_sample("p0/0.png", k=5)
    assert [one.hit for one in found.neighbours] == list(answer.hits)
    assert all(one.uri.startswith("data:image/webp") for one in found.neighbours)
    assert {one.agrees for one in found.neighbours} <= {True, False}
    assert found.remark == "the query itself is left out"


def test_pictures_behind_a_licence_stay_here(bench: Bench) -> None:
    searcher = opened(bench, "toy-hidden")
    found = look_up(searcher, Wanted(sample="p0/0.png"))
    assert found.uri == ""
    assert {one.uri for one in found.neighbours} == {""}
    assert {uri for _, _, uri in examples(searcher, 9, 0)} == {""}
    with pytest.raises(UsageError, match="does not let its pictures be shown"):
        field_of(searcher, "p0/0.png")
    mine = look_up(searcher, Wanted(pixels=np.full((20, 20, 3), 90, np.uint8), name="mine"))
    assert mine.uri
    assert {one.uri for one in mine.neighbours} == {""}


def test_examples_take_labels_in_turn_and_others_come_on_request(bench: Bench) -> None:
    searcher = opened(bench, "toy")
    first, second = examples(searcher, 12, 0), examples(searcher, 12, 1)
    assert len(first) == 12
    assert {label for _, label, _ in first[:3]} == set(searcher.labels)
    assert [name for name, _, _ in first] != [name for name, _, _ in second]


def test_a_field_comes_with_the_cells_box(bench: Bench) -> None:
    searcher = opened(bench, "toy-fields")
    sample = searcher.samples[0]
    pixels, box = field_of(searcher, sample)
    assert pixels.shape == (96, 96, 3)
    assert box is not None
    assert box[2:] == (20, 20)
    for name in ("../cells.csv", "/etc/passwd"):
        with pytest.raises(UsageError):
            field_of(searcher, name)


def test_groups_are_left_out(bench: Bench) -> None:
    searcher = opened(bench, "toy-fields")
    assert list(groups_to_exclude(searcher)) == [OWN_GROUP, "slide0", "slide1", "slide2", "slide3"]
    sample = next(name for name in searcher.samples if "field2" in name)
    for group in ("slide2", OWN_GROUP):
        found = look_up(searcher, Wanted(sample=sample, group=group))
        assert "slide2" not in {one.hit.group for one in found.neighbours}
    with pytest.raises(UsageError, match="not known"):
        look_up(searcher, Wanted(pixels=np.zeros((20, 20, 3), np.uint8), group=OWN_GROUP))


@pytest.mark.parametrize("k", [0, -3, 49, 10**9])
def test_nobody_gets_a_million_neighbours(k: int) -> None:
    with pytest.raises(UsageError, match="1 to 48"):
        Wanted(sample="x", k=k)


def test_the_box_decides_what_is_looked_up(bench: Bench) -> None:
    searcher = opened(bench, "toy-fields")
    pixels, _ = field_of(searcher, next(name for name in searcher.samples if "field0" in name))
    for x, label in ((6, "red"), (36, "blue")):
        found = look_up(searcher, Wanted(pixels=pixels, box=(x, 6, 20, 20), k=3))
        assert {one.hit.label for one in found.neighbours} == {label}
    with pytest.raises(CytoBenchError, match="does not lie in the image"):
        look_up(searcher, Wanted(pixels=pixels, box=(90, 6, 20, 20)))


def test_attention_is_a_picture_for_each_head_and_a_sentence_where_there_is_none(bench: Bench) -> None:
    searcher = opened(bench, "toy", "random-vit-tiny")
    maps = maps_of(searcher, searcher.crop("p0/0.png"))
    assert [one.title for one in maps[1:]] == ["rollout", "mean of the heads", "head 1", "head 2", "head 3"]
    with pytest.raises(UsageError, match="has no attention"):
        maps_of(opened(bench, "toy"), searcher.crop("p0/0.png"))


def test_of_questions_that_come_while_one_is_answered_only_the_last_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(bench, "toy")
    desk = Desk(bench, Path(), ("toy", "morphology"))
    desk.open()
    asked: list[str] = []
    go_on = threading.Event()

    def slowly(searcher: Searcher, wanted: Wanted) -> object:
        asked.append(str(wanted.sample))
        go_on.wait(30)
        return look_up(searcher, wanted)

    monkeypatch.setattr(desks, "look_up", slowly)

    async def ask() -> None:
        first = asyncio.create_task(desk.ask_sample("p0/0.png"))
        await asyncio.sleep(0.1)
        for name in ("p0/1.png", "p0/2.png", "p0/3.png"):
            await desk.ask_sample(name)
        go_on.set()
        await first

    run_alone(ask())
    assert asked == ["p0/0.png", "p0/3.png"]
    assert desk.found is not None
    assert desk.found.query.sample == "p0/3.png"


def test_a_visitor_who_has_left_is_told_nothing_and_forgotten(bench: Bench) -> None:
    opened(bench, "toy")
    desk = Desk(bench, Path(), ("toy", "morphology"))
    desk.open()
    told: list[int] = []
    desk.on_found.append(lambda: told.append(1))
    desk.place(Dropped(np.zeros((20, 20, 3), np.uint8), "mine"))

    async def ask() -> None:
        asking = asyncio.create_task(desk.ask_image(None))
        await asyncio.sleep(0)
        desk.leave()
        await asking

    run_alone(ask())
    assert told == []
    assert desk.image is None
    assert desk.found is None


def test_a_failure_is_told_in_our_words_only() -> None:
    def known(news: News) -> None:
        raise DataError("There is no cell.")

    def unknown(news: News) -> None:
        raise ValueError("/home/somebody/secret")

    for work, says in ((known, "There is no cell."), (unknown, "should not have happened")):
        job = Job(work)
        assert job.wait(10)
        assert says in job.error
        assert "secret" not in job.error


def test_news_say_how_far_the_work_is() -> None:
    news = News()
    with news.task("outer", None), news.task("features", 200) as step:
        step.advance(50)
        assert news.line == "outer · features: 50 of 200"
        assert news.share == 0.25
    assert news.share is None


def test_a_leaderboard_is_text_and_can_be_narrowed() -> None:
    heading = Heading("toy", "knn", tuned=False, ranked=True, about="n = 3")
    lines = ((HOSTILE, (Cell("91.0", best=True),)), ("other", (Cell("90.0"),)), ("third", (Cell("not run"),)))
    layout = Layout(f"Board {HOSTILE}", (heading,), lines, (HOSTILE,))
    page = drawn(layout)
    assert "<img" not in page
    assert "&lt;img" in page
    assert "third" not in page
    assert "91.0" not in drawn(layout, only="OTH")
    assert "90.0" in drawn(layout, only="OTH")
    assert "No backbone of that name." in drawn(layout, only="nobody")


@pytest.mark.parametrize(
    ("said", "box"),
    [
        ([10, 20, 30, 25], (10, 20, 30, 25)),
        ([90, 40, 30, 40], (90, 40, 10, 10)),
        ([-5, -5, 10, 10], (0, 0, 5, 5)),
        ([5, 5, 0, 0], (5, 5, 0, 0)),
        ([100, 5, 0, 0], None),
        ([5, 5, 0, 9], None),
        ([5, 5, -9, 9], None),
        ([200, 5, 9, 9], None),
        ([1, 2, 3], None),
        (["1", 2, 3, 4], None),
        ([float("nan"), 2, 3, 4], None),
        ([1e300, 2, 3, 4], None),
        ("../../etc/passwd", None),
        (None, None),
    ],
)
def test_boxes_from_a_browser_lie_in_the_image_or_are_none(said: object, box: object) -> None:
    field = pytest.importorskip("cytobench.app.field", reason="no tests of the page: NiceGUI is missing")
    assert field.checked_box(said, 100, 50) == box
