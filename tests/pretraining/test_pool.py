"""The pool: what enters it, what is left out and said, and how it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Draw
from PIL import Image

from cytobench.errors import DataError, StoreError, UsageError
from cytobench.fingerprint import Seen, difference_hash, is_blank, pixel_digest
from cytobench.pretraining.pack import pack
from cytobench.pretraining.pool import Pool, is_pool
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import list_folder, list_manifest
from cytobench.progress import SilentReporter

DATA = Data(side=32)


def packed(folder: Path, *sources: Path, data: Data = DATA) -> Pool:
    listings = [list_folder(source, data) for source in sources]
    return pack(listings, data, folder, closed={}, facts={}, reporter=SilentReporter())


def test_pictures_come_back_in_order_from_many_shards(
    tmp_path: Path, draw_cells: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytobench.pretraining.pool._SHARD_BYTES", 5 * 32 * 32 * 3)
    source = draw_cells(tmp_path / "cells", 13)
    pool = packed(tmp_path / "pool", source)
    assert (len(pool), len(list((tmp_path / "pool").glob("shard-*.npy")))) == (13, 3)
    rows = np.array([12, 0, 7, 7, 5])
    wanted = [
        np.asarray(Image.open(source / f"cell-{row:04d}.png").resize((32, 32), Image.Resampling.BICUBIC))
        for row in rows
    ]
    np.testing.assert_array_equal(pool.read(rows), np.stack(wanted))


def test_copies_near_copies_and_blanks_are_left_out_and_counted(tmp_path: Path, draw_cells: Draw) -> None:
    source = draw_cells(tmp_path / "cells", 6)
    shutil.copy(source / "cell-0000.png", source / "copy.png")
    Image.open(source / "cell-0001.png").save(source / "again.jpg", quality=88)
    Image.new("RGB", (48, 48), (240, 240, 238)).save(source / "glass.png")
    pool = packed(tmp_path / "pool", source)
    assert len(pool) == 6
    assert pool.sources[0].left_out == {"exact copies": 1, "near copies": 1, "blank pictures": 1}
    assert len(packed(tmp_path / "all", source, data=Data(side=32, near_duplicates=0))) == 7


def test_a_share_of_the_pictures_is_chosen_by_their_content(tmp_path: Path, draw_cells: Draw) -> None:
    source = draw_cells(tmp_path / "cells", 60)
    half = packed(tmp_path / "half", source, data=Data(side=32, share=0.5))
    assert 20 <= len(half) <= 40
    assert half.sources[0].left_out == {"pictures outside the share": 60 - len(half)}
    draw_cells(source, 61)
    more = packed(tmp_path / "more", source, data=Data(side=32, share=0.5))
    assert len(half) <= len(more) <= len(half) + 1


def test_two_sources_with_the_same_files_give_one_and_say_so(tmp_path: Path, draw_cells: Draw) -> None:
    one = draw_cells(tmp_path / "one", 5)
    other = shutil.copytree(one, tmp_path / "other")
    with pytest.raises(DataError, match=r"Nothing of the source 'other' is left .*5 exact copies"):
        packed(tmp_path / "pool", one, other)
    assert not is_pool(tmp_path / "pool")
    draw_cells(other, 7, seed=1)
    assert [source.images for source in packed(tmp_path / "pool2", one, other).sources] == [5, 7]


def test_grey_transparent_and_wide_images_are_read_alike(tmp_path: Path, draw_cells: Draw) -> None:
    source = draw_cells(tmp_path / "cells", 3)
    first = Image.open(source / "cell-0000.png")
    first.convert("L").rotate(90).save(source / "grey.png")
    first.convert("RGBA").rotate(180).save(source / "alpha.png")
    Image.fromarray(np.asarray(first.convert("L").transpose(0)).astype(np.uint16) * 256).save(
        source / "wide.png"
    )
    first.resize((9, 9)).rotate(270).save(source / "tiny.png")
    pool = packed(tmp_path / "pool", source)
    assert len(pool) == 7
    assert pool.read(np.arange(7)).shape == (7, 32, 32, 3)


def test_unreadable_images_are_skipped_listed_and_too_many_stop_the_packing(
    tmp_path: Path, draw_cells: Draw
) -> None:
    source = draw_cells(tmp_path / "cells", 120)
    (source / "cut.png").write_bytes((source / "cell-0000.png").read_bytes()[:200])
    pool = packed(tmp_path / "pool", source)
    assert (len(pool), pool.sources[0].left_out["unreadable images"]) == (120, 1)
    assert "cut.png" in json.loads((tmp_path / "pool" / "pool.json").read_text())["unreadable"][0]
    (source / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 122 images of 'cells' cannot be read, more than 1%.*cut.png"):
        packed(tmp_path / "pool2", source)


def test_fields_become_tiles_and_boxes_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    field = rng.integers(0, 256, (100, 130, 3), dtype=np.uint8)
    (tmp_path / "fields").mkdir()
    Image.fromarray(field).save(tmp_path / "fields" / "a.png")
    tiled = packed(tmp_path / "pool", tmp_path / "fields", data=Data(side=32, tile=32))
    assert len(tiled) == 12
    np.testing.assert_array_equal(tiled.read(np.array([5]))[0], field[32:64, 32:64])
    (tmp_path / "cells.csv").write_text("image,x,y,w,h\nfields/a.png,40,50,10,20\nfields/a.png,0,0,0,0\n")
    listed, _ = list_manifest(tmp_path / "cells.csv", Data(side=32, window=32))
    pool = pack(
        [listed], Data(side=32, window=32), tmp_path / "w", closed={}, facts={}, reporter=SilentReporter()
    )
    np.testing.assert_array_equal(pool.read(np.array([1]))[0], field[44:76, 29:61])
    assert len(pool) == 2  # the other window leaves the field and is mirrored


def test_empty_and_absent_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        list_folder(tmp_path / "empty", DATA)
    with pytest.raises(UsageError, match="no folder of images"):
        list_folder(tmp_path / "absent", DATA)
    with pytest.raises(UsageError, match="no table of images"):
        list_manifest(tmp_path / "absent.csv", DATA)


def test_unfinished_and_damaged_pools_are_not_read(tmp_path: Path, draw_cells: Draw) -> None:
    pool = packed(tmp_path / "pool", draw_cells(tmp_path / "cells", 4))
    shard = pool.folder / "shard-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(DataError, match="missing or damaged"):
        Pool(pool.folder)
    (pool.folder / "pool.json").unlink()
    with pytest.raises(DataError, match="no finished pool"):
        Pool(pool.folder)


def test_a_full_disk_is_said(tmp_path: Path, draw_cells: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    source = draw_cells(tmp_path / "cells", 3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space is left"):
        packed(tmp_path / "pool", source)
    assert not is_pool(tmp_path / "pool")


def test_near_copies_are_found_by_their_bands_exactly_as_by_comparing_all() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, (200, 256), dtype=np.uint8)
    flips = [int(rng.integers(0, 17)) for _ in base]
    changed = base.copy()
    for row, n in enumerate(flips):
        changed[row, rng.choice(256, n, replace=False)] ^= 1
    seen = Seen(8)
    small = np.zeros((16, 16, 3), np.uint8)
    assert not any(seen.is_near_copy(np.packbits(bits), small) for bits in base)
    found = [seen.is_near_copy(np.packbits(bits), small) for bits in changed]
    assert found == [n <= 8 for n in flips]
    other = np.full_like(small, 9)
    assert not seen.is_near_copy(np.packbits(base[0]), other)


def test_fingerprints_tell_cells_apart_and_know_recompressed_ones(tmp_path: Path, draw_cells: Draw) -> None:
    source = draw_cells(tmp_path / "cells", 2)
    one, other = (np.asarray(Image.open(source / f"cell-000{i}.png")) for i in (0, 1))
    Image.fromarray(one).save(tmp_path / "one.jpg", quality=85)
    again = np.asarray(Image.open(tmp_path / "one.jpg"))
    distance = [
        int(np.bitwise_count(difference_hash(one) ^ difference_hash(b)).sum()) for b in (again, other)
    ]
    assert distance[0] <= 16 < distance[1]
    assert pixel_digest(one) == pixel_digest(one.copy()) != pixel_digest(again)
    assert is_blank(np.full((8, 8, 3), 200, np.uint8))
    assert not is_blank(one)
