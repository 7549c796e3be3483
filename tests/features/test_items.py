"""What was seen: the id of an item follows bytes, box and view, never paths."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cytobench.cards import View
from cytobench.errors import DataError
from cytobench.features.items import item_id, items_of
from cytobench.images import decode
from tests.features.toy_encoders import FreshDigests, draw_images, items_from

WINDOW = View(kind="window", size=16)


def test_renaming_the_folder_changes_nothing(tmp_path: Path) -> None:
    before = items_from(draw_images(tmp_path / "old", 4), tmp_path)
    shutil.move(tmp_path / "old", tmp_path / "new")
    after = items_from(sorted((tmp_path / "new").iterdir()), tmp_path)
    np.testing.assert_array_equal(before.ids, after.ids)


def test_bytes_box_and_view_tell_items_apart() -> None:
    sha = "0" * 64
    box = (4, 4, 8, 8)
    ids = [
        item_id(sha, box, WINDOW),
        item_id("1" + sha[1:], box, WINDOW),
        item_id(sha, (4, 4, 8, 9), WINDOW),
        item_id(sha, None, WINDOW),
        item_id(sha, (0, 0, 0, 0), WINDOW),
        item_id(sha, box, View(kind="window", size=17)),
        item_id(sha, box, View(kind="window", size=16, pad="black")),
        item_id(sha, box, View(kind="box")),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 16 for one in ids)


def test_what_does_not_change_the_cut_does_not_change_the_id() -> None:
    box = (0, 0, 16, 16)
    sparse = View(kind="tile", size=16, stride=32, min_tissue=0.5)
    assert item_id("a", box, sparse) == item_id("a", box, View(kind="tile", size=16))
    assert item_id("a", box, WINDOW, 0.25) == item_id("a", box, WINDOW)
    micrometres = View(kind="window", size=16, unit="um")
    assert item_id("a", box, micrometres, 0.25) != item_id("a", box, micrometres, 0.5)


def test_a_table_without_boxes_or_with_some_missing_is_understood(tmp_path: Path) -> None:
    image = str(draw_images(tmp_path / "images", 1)[0])
    digests = FreshDigests(tmp_path)
    boxes = pl.Series("box", [[1, 2, 3, 4], None], dtype=pl.Array(pl.Int32, 4))
    some = items_of(
        pl.DataFrame({"image": [image] * 2, "mpp": [0.5, None]}).with_columns(boxes), WINDOW, digests
    )
    none = items_of(pl.DataFrame({"image": [image]}), WINDOW, digests)
    assert [some.box(0), some.box(1), none.box(0)] == [(1, 2, 3, 4), None, None]
    assert [some.scale(0), some.scale(1)] == [0.5, None]
    np.testing.assert_array_equal(some.ids[1], none.ids[0])
    assert some.name(0) == f"{image} (box 1, 2, 3, 4)"
    assert bytes(some.ids[0]) == item_id(digests.sha256(image), (1, 2, 3, 4), WINDOW, 0.5)


def test_crops_come_in_the_order_asked_for_and_each_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = draw_images(tmp_path / "images", 2)
    items = items_from([paths[0], paths[1], paths[0]], tmp_path, box=[0, 0, 8, 8])
    read: list[str] = []
    monkeypatch.setattr(
        "cytobench.features.items.decode", lambda path: (read.append(str(path)), decode(path))[1]
    )
    made = items.crops([2, 1, 0, 2])
    assert sorted(read) == sorted(map(str, paths))
    for crop, row in zip(made, [2, 1, 0, 2], strict=True):
        np.testing.assert_array_equal(crop, items.cut(decode(items.images[row]), row))


def test_a_box_of_negative_size_is_refused(tmp_path: Path) -> None:
    paths = draw_images(tmp_path / "images", 1)
    with pytest.raises(DataError, match="width, height"):
        items_from(paths, tmp_path, box=[0, 0, -2, 4])
