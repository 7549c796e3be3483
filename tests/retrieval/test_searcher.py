"""Looking cells up: the neighbours brute force finds, never the query itself, and refusals in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench.errors import DataError, StoreError, UsageError
from cytobench.features.store import FeatureStore
from cytobench.images import decode
from cytobench.progress import SilentReporter
from cytobench.registry import Registry
from cytobench.retrieval import Searcher
from cytobench.retrieval.opening import add_to_index
from cytobench.retrieval.searcher import open_collection
from cytobench.retrieval.shelf import all_indexes, folder_of
from tests.retrieval.conftest import Open, write_card


class Heard(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


def test_neighbours_are_those_of_brute_force_on_the_stored_features(open_toy: Open, home: Path) -> None:
    searcher = open_toy()
    space = FeatureStore(home / "features").space(searcher.index.about.space)
    features = space.load(searcher.collection.items.ids).astype(np.float64)
    spread = features.std(0)
    rows = (features - features.mean(0)) / np.where(spread > 1e-6, spread, np.inf)  # morphology standardises
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    samples = searcher.collection.table["sample"].to_list()
    for query in (0, 17, 47):
        values = rows @ rows[query]
        values[query] = -np.inf
        expected = np.argsort(-values, kind="stable")[:7]
        answer = searcher.search_sample(samples[query], k=7)
        assert [hit.sample for hit in answer.hits] == [samples[row] for row in expected]
        np.testing.assert_allclose([hit.similarity for hit in answer.hits], values[expected], atol=1e-4)
        assert answer.itself == (samples[query],)


def test_a_file_of_the_collection_is_known_as_that_cell(open_toy: Open, cells: Path) -> None:
    searcher = open_toy()
    answer = searcher.search_file(cells / "p3" / "2.png", k=5)
    by_name = searcher.search_sample(str(answer.query.sample), k=5)
    assert answer.query.group == "p3"
    assert answer.hits == by_name.hits
    assert answer.itself == (answer.query.sample,)


def test_a_new_picture_is_encoded_and_looked_up(open_toy: Open, cells: Path, tmp_path: Path) -> None:
    searcher = open_toy()
    pixels = decode(cells / "p3" / "2.png")
    answer = searcher.search(pixels, k=3)
    assert answer.query.sample is None
    assert answer.hits[0].file == "p3/2.png"
    assert answer.hits[0].similarity == pytest.approx(1.0, abs=1e-3)
    changed = pixels.copy()
    changed[0, 0] ^= 1
    Image.fromarray(changed).save(tmp_path / "new.png")
    found = searcher.search_file(tmp_path / "new.png", k=1)
    assert found.query.sample is None
    assert found.hits[0].file == "p3/2.png"
    np.testing.assert_array_equal(searcher.crop(found.hits[0].sample), pixels)


def test_a_network_sees_a_query_as_it_saw_the_collection(open_toy: Open, cells: Path) -> None:
    searcher = open_toy("random-vit-tiny")
    answer = searcher.search(decode(cells / "p1" / "4.png"), k=2)
    assert answer.hits[0].file == "p1/4.png"
    assert answer.hits[0].similarity > 0.999 > answer.hits[1].similarity


def test_a_box_is_cut_as_the_cells_of_the_collection_are(open_toy: Open, cells: Path) -> None:
    searcher = open_toy()
    cell = decode(cells / "p2" / "1.png")
    field = np.full((90, 120, 3), 255, np.uint8)
    field[40:64, 30:54] = cell
    answer = searcher.search(field, (30, 40, 24, 24), k=1)
    np.testing.assert_array_equal(answer.crop, cell)
    assert answer.hits[0].file == "p2/1.png"


def test_the_own_group_can_be_left_out(open_toy: Open, cells: Path) -> None:
    searcher = open_toy()
    sample = searcher.samples[0]
    answer = searcher.search_sample(sample, k=48, exclude_group=True)
    assert len(answer.hits) == 42
    assert {hit.group for hit in answer.hits}.isdisjoint({answer.query.group})
    named = searcher.search(decode(cells / "p1" / "0.png"), k=48, exclude_group="p1")
    assert len(named.hits) == 42
    with pytest.raises(UsageError, match="no group 'p77'"):
        searcher.search_sample(sample) and searcher.search(named.crop, exclude_group="p77")


def test_the_group_of_a_stranger_is_not_known(open_toy: Open, tmp_path: Path) -> None:
    Image.new("RGB", (24, 24), "purple").save(tmp_path / "new.png")
    with pytest.raises(UsageError, match="so its group is not known"):
        open_toy().search_file(tmp_path / "new.png", exclude_group=True)


def test_copies_of_a_cell_are_left_out_with_it(cells: Path, open_toy: Open) -> None:
    table = pl.read_csv(cells / "cells.csv")
    (cells / "p5" / "9.png").write_bytes((cells / "p5" / "1.png").read_bytes())
    copy = table.filter(pl.col("image") == "p5/1.png").with_columns(pl.lit("p5/9.png").alias("image"))
    pl.concat([table, copy]).write_csv(cells / "cells.csv")
    answer = open_toy().search_file(cells / "p5" / "1.png", k=48)
    assert len(answer.itself) == 2
    assert len(answer.hits) == 47


def test_an_index_is_built_once_and_then_read(open_toy: Open, home: Path) -> None:
    first = Heard()
    built = open_toy(reporter=first)
    assert any("48 cells, exact" in line for line in first.lines)
    second = Heard()
    read = open_toy(reporter=second)
    assert not any("Index of" in line for line in second.lines)
    assert read.index.about == built.index.about
    assert [about.rows for _, about, _ in all_indexes(home)] == [48]


def test_a_stale_index_is_built_again_and_that_is_said(open_toy: Open, cells: Path) -> None:
    open_toy()
    table = pl.read_csv(cells / "cells.csv")
    table.with_columns(pl.lit("blast").alias("cell_type")).head(47).write_csv(cells / "cells.csv")
    heard = Heard()
    searcher = open_toy(reporter=heard)
    assert searcher.size == 47
    assert searcher.labels == ("blast",)
    assert any("has changed since its index was built" in line for line in heard.lines)


@contextmanager
def half_the_cells(cells: Path) -> Iterator[None]:
    """Show only the first 40 cells for a while."""
    whole = (cells / "cells.csv").read_bytes()
    pl.read_csv(cells / "cells.csv").head(40).write_csv(cells / "cells.csv")
    yield
    (cells / "cells.csv").write_bytes(whole)


def opened(cells: Path, home: Path):
    registry = Registry.load([cells], entry_points=False)
    return open_collection("toy", "morphology", registry=registry, home=home, device="cpu")


def test_new_cells_are_added_without_building_again(cells: Path, home: Path, open_toy: Open) -> None:
    with half_the_cells(cells):
        before = open_toy().index
    index, added = add_to_index(*opened(cells, home))
    assert added == 8
    np.testing.assert_array_equal(index.centring.centre, before.centring.centre)
    heard = Heard()
    searcher = open_toy(reporter=heard)
    assert searcher.size == 48
    assert searcher.index.about.centred_on == 40
    assert not any("built" in line for line in heard.lines)
    new = cells / "p7" / "5.png"
    answer = searcher.search_file(new, k=1)
    assert answer.query.sample is not None
    assert add_to_index(*opened(cells, home))[1] == 0


def test_adding_is_refused_where_indexed_cells_have_changed(cells: Path, home: Path, open_toy: Open) -> None:
    with pytest.raises(StoreError, match="no index of toy"):
        add_to_index(*opened(cells, home))
    open_toy()
    Image.new("RGB", (24, 24), "green").save(cells / "p0" / "0.png")
    with pytest.raises(StoreError, match=r"1 of the 48 cells in the index are gone"):
        add_to_index(*opened(cells, home))


def test_the_index_of_another_space_is_refused_by_name(open_toy: Open, home: Path) -> None:
    other = open_toy("colour-statistics").index.about
    mine = open_toy("morphology").index.about
    here, there = (folder_of(home, "toy", about.space) for about in (mine, other))
    for file in there.rglob("*.*"):
        if file.is_file():
            target = here / file.relative_to(there)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    with pytest.raises(StoreError, match=rf"colour-statistics in the space {other.space[:12]}"):
        open_toy("morphology")


@pytest.mark.parametrize("damage", ["vectors.faiss", "cells.parquet", "centring.npz", "about.json"])
def test_a_damaged_index_is_built_again(open_toy: Open, home: Path, damage: str) -> None:
    searcher = open_toy()
    expected = searcher.search_sample(searcher.samples[3], k=4)
    (file,) = home.glob(f"indexes/toy/*/**/{damage}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = open_toy()
    assert again.search_sample(again.samples[3], k=4).hits == expected.hits
    assert len(list(home.glob("indexes/toy/*/g-*"))) == (2 if damage == "about.json" else 1)


def test_pictures_that_cannot_be_a_cell_are_refused_in_words(open_toy: Open, tmp_path: Path) -> None:
    searcher = open_toy()
    (tmp_path / "none.png").write_text("no image at all")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (20_000, 40)).save(tmp_path / "band.png")
    for name, sentence in (
        ("none.png", "is not an image of a known format"),
        ("dot.png", "is 1 x 1 px: no cell can be told"),
        ("huge.png", "too large to decode whole"),
        ("band.png", "20,000 px wide or high: that is a field and no cell"),
        ("absent.png", "does not exist"),
    ):
        with pytest.raises(DataError, match=sentence):
            searcher.search_file(tmp_path / name)
    assert len(searcher.search_file(tmp_path / "band.png", (19_000, 5, 24, 24), k=3).hits) == 3


@pytest.mark.parametrize("box", [(90, 0, 24, 24), (-1, 0, 5, 5), (100, 3, 0, 0), (5, 5, -2, 3)])
def test_a_box_outside_the_image_is_refused(open_toy: Open, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="does not lie in the image"):
        open_toy().search(np.zeros((100, 100, 3), np.uint8), box)


def test_a_field_looked_up_as_one_cell_is_remarked_on(cells: Path, home: Path, tmp_path: Path) -> None:
    write_card(cells, view='kind = "window", size = 24')
    heard = Heard()
    registry = Registry.load([cells], entry_points=False)
    searcher = Searcher.open("toy", "morphology", registry=registry, home=home, reporter=heard)
    Image.new("RGB", (300, 200), "pink").save(tmp_path / "field.png")
    searcher.search_file(tmp_path / "field.png")
    assert any("name a cell in it with --box" in line for line in heard.lines)


def test_more_neighbours_than_cells_gives_all_of_them(open_toy: Open) -> None:
    searcher = open_toy()
    assert len(searcher.search_sample(searcher.samples[0], k=1000).hits) == 47


def test_a_predictor_without_eyes_is_refused(open_toy: Open) -> None:
    with pytest.raises(UsageError, match="sees no image"):
        open_toy("majority")


def test_a_data_set_stands_for_its_ranked_task(home: Path) -> None:
    registry = Registry.load([], entry_points=False)
    heard = Heard()
    searcher = Searcher.open("synthetic", "colour-statistics", registry=registry, home=home, reporter=heard)
    assert searcher.collection.name == "synthetic-cell-type"
    with pytest.raises(UsageError, match="did you mean"):
        Searcher.open("synthetik", "colour-statistics", registry=registry, home=home)


def test_many_queries_at_once_are_answered_as_each_alone(open_toy: Open, tmp_path: Path) -> None:
    searcher = open_toy("random-vit-tiny")
    for shade in range(5):
        Image.new("RGB", (24, 24), (40 * shade, 90, 160)).save(tmp_path / f"{shade}.png")
    queries = [searcher.read(tmp_path / f"{shade}.png") for shade in range(5)]
    queries.insert(2, searcher.sample(searcher.samples[7]))
    together = searcher.search_crops(queries, k=3)
    for one, answer in zip(queries, together, strict=True):
        (alone,) = searcher.search_crops([one], k=3)
        assert [hit.sample for hit in alone.hits] == [hit.sample for hit in answer.hits]
        assert answer.query is one
