"""The store: what was put in comes out, whoever wrote it, however it was cut into shards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytobench.errors import StoreError
from cytobench.features import index as indexing
from cytobench.features.items import Ids
from cytobench.features.shards import open_shard, rounding_error
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore, Space
from tests.features import append_child

IDENTITY = {"toy": 1}
DIM = 5
ROOT = Path(__file__).resolve().parents[2]


def ids_of(*numbers: int) -> Ids:
    """Ids that share their first eight bytes in threes, the hard case of the index."""
    return np.array([[*[n // 3] * 8, *[n] * 8] for n in numbers], np.uint8).reshape(-1, 16)


def features_of(ids: Ids) -> np.ndarray:
    return np.repeat(ids[:, 15:].astype(np.float32), DIM, axis=1) + np.arange(DIM, dtype=np.float32) / 8


def open_space(folder: Path) -> Space:
    return FeatureStore(folder).space(space_id(IDENTITY), dim=DIM, identity=IDENTITY)


@pytest.fixture
def space(home: Path) -> Space:
    return open_space(home)


def shard_files(space: Space) -> list[Path]:
    return sorted(space.folder.glob("shard-*"))


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=9), max_size=6),
    wanted=st.lists(st.integers(0, 40), max_size=12),
)
def test_any_cut_into_shards_gives_the_same_features(parts: list[list[int]], wanted: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer, reader = open_space(Path(folder)), open_space(Path(folder))
        for part in parts:
            writer.append(ids_of(*part), features_of(ids_of(*part)))
            reader.refresh()  # takes in one shard at a time
        stored = {number for part in parts for number in part}
        ids = ids_of(*wanted)
        assert reader.missing(ids).tolist() == [number not in stored for number in wanted]
        known = ids[~reader.missing(ids)]
        np.testing.assert_array_equal(reader.load(known), features_of(known))
        assert len(reader) == len(stored)
        rebuilt, grown = open_space(Path(folder)).refresh(), reader.refresh()
        ours, theirs = grown.find(ids_of(*stored)), rebuilt.find(ids_of(*stored))
        np.testing.assert_array_equal(grown.shard[ours], rebuilt.shard[theirs])
        np.testing.assert_array_equal(grown.row[ours], rebuilt.row[theirs])


def test_of_two_shards_with_one_item_the_first_by_name_wins(space: Space) -> None:
    one = ids_of(7)
    space.append(one, np.full((1, DIM), 1, np.float32))
    space.append(one, np.full((1, DIM), 2, np.float32))
    first, second = shard_files(space)
    assert space.load(one)[0, 0] == 1
    first.rename(space.folder / ("shard-9" + first.name[7:]))
    assert second.exists()
    assert open_space(space.folder.parent).load(one)[0, 0] == 2


def test_a_saved_index_spares_reading_shards_and_is_rebuilt_when_lost_or_damaged(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.append(ids_of(*range(30)), features_of(ids_of(*range(30))))
    space.save_index()
    cache = space.folder / indexing.CACHE
    opened: list[Path] = []
    original = open_shard
    monkeypatch.setattr(
        "cytobench.features.store.open_shard", lambda path: opened.append(path) or original(path)
    )
    assert len(open_space(space.folder.parent)) == 30
    assert not opened
    raw = bytearray(cache.read_bytes())
    raw[len(raw) // 2] ^= 1
    cache.write_bytes(raw)
    assert len(open_space(space.folder.parent)) == 30
    cache.unlink()
    assert len(open_space(space.folder.parent)) == 30
    assert len(opened) == 2


def test_a_shard_cut_at_any_byte_is_never_read(space: Space) -> None:
    whole, cut = ids_of(1, 2, 3), ids_of(10, 11, 12)
    space.append(whole, features_of(whole))
    space.append(cut, features_of(cut))
    last = shard_files(space)[-1]
    raw = last.read_bytes()
    noise = np.random.default_rng(0)
    for length in {0, 1, 7, 8, 9, len(raw) - 1, *noise.integers(0, len(raw), 40).tolist()}:
        last.write_bytes(raw[:length])
        fresh = open_space(space.folder.parent)
        assert fresh.missing(np.concatenate([whole, cut])).tolist() == [False] * 3 + [True] * 3
        np.testing.assert_array_equal(fresh.load(whole), features_of(whole))
    (problem,) = FeatureStore(space.folder.parent).verify()
    assert problem.path == last
    assert FeatureStore(space.folder.parent).gc(max_age=0).broken == 1
    assert FeatureStore(space.folder.parent).verify() == []


def test_a_shard_cut_after_it_was_indexed_counts_as_missing(space: Space) -> None:
    ids = ids_of(1, 2)
    space.append(ids, features_of(ids))
    space.save_index()
    (file,) = shard_files(space)
    file.write_bytes(file.read_bytes()[:-1])
    assert open_space(space.folder.parent).missing(ids).all()
    with pytest.raises(StoreError, match="2 of 2 features are not stored"):
        open_space(space.folder.parent).load(ids)


def test_verify_finds_a_flipped_bit_and_a_stranger(space: Space) -> None:
    ids = ids_of(1, 2)
    space.append(ids, features_of(ids))
    (file,) = shard_files(space)
    raw = bytearray(file.read_bytes())
    raw[-40] ^= 4
    file.write_bytes(raw)
    other = FeatureStore(space.folder.parent).space(space_id({"toy": 2}), dim=DIM, identity={"toy": 2})
    other.append(ids, features_of(ids))
    (theirs,) = shard_files(other)
    theirs.rename(space.folder / theirs.name)
    texts = [problem.text for problem in FeatureStore(space.folder.parent).verify()]
    assert len(texts) == 2
    assert "differ from the digest" in texts[0]
    assert "another space" in texts[1]
    assert not len(open_space(space.folder.parent)) or open_space(space.folder.parent).load(ids).shape == (
        2,
        DIM,
    )


def test_rows_beyond_half_precision_keep_their_values_alone(space: Space) -> None:
    ids = ids_of(1, 2, 3)
    features = np.array([[0.1] * DIM, [1e6] * DIM, [3.0] * DIM], np.float32)
    done = space.append(ids, features)
    kinds = {str(shard.dtype): shard for shard in map(open_shard, shard_files(space))}
    assert {kind: shard.rows for kind, shard in kinds.items()} == {"float16": 2, "float32": 1}
    np.testing.assert_array_equal(space.load(ids)[[0, 2]], features[[0, 2]].astype(np.float16))
    np.testing.assert_array_equal(space.load(ids)[1], features[1])
    assert done.max_rounding_error == pytest.approx(abs(0.1 - float(np.float16(0.1))), rel=1e-4)
    assert rounding_error(kinds["float16"]) == done.max_rounding_error


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_by_name(space: Space, value: float) -> None:
    ids = ids_of(1, 2)
    features = features_of(ids)
    features[1, 2] = value
    with pytest.raises(StoreError, match=r"features of cell_2\.png in space"):
        space.append(ids, features, names=["cell_1.png", "cell_2.png"])
    assert space.missing(ids).all()


def test_contradictions_are_one_sentence(space: Space) -> None:
    store = FeatureStore(space.folder.parent)
    with pytest.raises(StoreError, match="width 5, not 6"):
        store.space(space.id, dim=6, identity=IDENTITY)
    with pytest.raises(StoreError, match="no features of space"):
        store.space("0" * 64)
    with pytest.raises(StoreError, match="another digest"):
        store.space("0" * 64, dim=5, identity=IDENTITY)
    with pytest.raises(StoreError, match="not the id of a feature space"):
        store.space("../elsewhere")
    with pytest.raises(StoreError, match="correct `dim`"):
        space.append(ids_of(1), np.zeros((1, 7), np.float32))


def test_small_shards_are_joined_without_changing_what_is_read(space: Space) -> None:
    rows = [(1, 2, 3), (3, 4), (9,), (2, 5, 6)]
    for number, part in enumerate(rows):
        space.append(ids_of(*part), features_of(ids_of(*part)) + number)
    space.append(ids_of(50), np.full((1, DIM), 1e6, np.float32))
    space.append(ids_of(51), np.full((1, DIM), 2e6, np.float32))
    ids = ids_of(1, 2, 3, 4, 5, 6, 9, 50, 51)
    reader = open_space(space.folder.parent)
    before = reader.load(ids)
    (space.folder / ".shard-1.safetensors.77-aa.tmp").write_bytes(b"half")
    done = FeatureStore(space.folder.parent).gc(max_age=0)
    assert (done.temporary, done.joined, done.joined_into) == (1, 6, 2)
    assert len(shard_files(space)) == 2
    np.testing.assert_array_equal(reader.load(ids), before)  # its files are gone: it looks again
    np.testing.assert_array_equal(open_space(space.folder.parent).load(ids), before)
    assert FeatureStore(space.folder.parent).verify() == []
    assert FeatureStore(space.folder.parent).gc().joined == 0


def test_a_space_appears_with_its_description_or_not_at_all(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, parts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cytobench.features.description.write_durably", killed)
        patch.setattr("cytobench.features.description.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            open_space(home)
    assert FeatureStore(home).folders() == []
    assert FeatureStore(home).gc(max_age=0).temporary == 1
    space = open_space(home)
    (space.folder / "space.json").unlink()
    assert [problem.path.name for problem in FeatureStore(home).verify()] == ["space.json"]
    open_space(home)
    assert FeatureStore(home).verify() == []


def test_young_leftovers_stay_and_spaces_go_on_request(space: Space) -> None:
    store = FeatureStore(space.folder.parent)
    space.append(ids_of(1), features_of(ids_of(1)))
    (space.folder / ".shard-1.safetensors.77-aa.tmp").write_bytes(b"half")
    assert store.gc().temporary == 0
    (listed,) = store.ls()
    assert (listed.id, listed.rows, listed.shards, dict(listed.identity)) == (space.id, 1, 1, IDENTITY)
    with pytest.raises(StoreError, match="No space"):
        store.gc(remove=["ffffffffff"])
    assert store.gc(remove=[space.id[:10]]).spaces == 1
    assert store.ls() == []


def test_eight_writers_and_a_clean_up_at_once_lose_and_mix_nothing(home: Path) -> None:
    def start(seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.features.append_child", str(home), str(seed)]
        return subprocess.Popen(command, cwd=ROOT)

    children = [start(seed) for seed in range(8)]
    store = FeatureStore(home)
    while any(child.poll() is None for child in children):
        store.gc()
        time.sleep(0.02)
    assert [child.returncode for child in children] == [0] * 8
    assert store.verify() == []
    ids = append_child.all_ids()
    space = store.space(space_id(append_child.IDENTITY))
    written = np.zeros(len(ids), bool)
    for seed in range(8):
        noise = np.random.default_rng(seed)
        for _ in range(12):
            written[noise.choice(len(ids), size=int(noise.integers(1, 60)), replace=False)] = True
    np.testing.assert_array_equal(~space.missing(ids), written)
    np.testing.assert_array_equal(space.load(ids[written]), append_child.features_of(ids[written]))


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that this process may read and not write (root first becomes nobody)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_written_is_one_sentence(forbidden: Path) -> None:
    space = open_space(forbidden)
    space.append(ids_of(1), features_of(ids_of(1)))
    user = os.geteuid()
    for folder in (space.folder, forbidden):
        folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"cannot be written \(Permission denied\)"):
            space.append(ids_of(2), features_of(ids_of(2)))
        with pytest.raises(StoreError, match="--home"):
            FeatureStore(forbidden).space(space_id({"toy": 2}), dim=DIM, identity={"toy": 2})
        np.testing.assert_array_equal(open_space(forbidden).load(ids_of(1)), features_of(ids_of(1)))
    finally:
        if user == 0:
            os.seteuid(user)
        space.folder.chmod(0o755)
