"""Extraction: only what is missing, once, whatever goes wrong on the way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cytobench import images
from cytobench.cards import View
from cytobench.errors import DataError, EncoderError, StoreError
from cytobench.features import prepare, processes, writer
from cytobench.features.batches import Share
from cytobench.features.extract import extract
from cytobench.features.items import Items
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore, Space
from tests.features.toy_encoders import Recorder, ToyEncoder, draw_images, items_from

N = 22
WINDOW = View(kind="window", size=12)


@pytest.fixture
def cells(tmp_path: Path) -> list[Path]:
    return draw_images(tmp_path / "cells", N)


@pytest.fixture
def store(home: Path) -> FeatureStore:
    return FeatureStore(home / "features")


def space_of(store: FeatureStore, encoder: ToyEncoder) -> Space:
    return store.space(space_id(encoder.identity))


def undisturbed(
    items: Items, encoder: ToyEncoder, folder: Path, batch_size: int = 4
) -> npt.NDArray[np.float32]:
    store = FeatureStore(folder)
    extract([items], [encoder], store, batch_size=batch_size, share=Share())
    return space_of(store, encoder).load(items.ids)


def test_features_are_the_encoders_own_in_half_precision(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    encoder, items = ToyEncoder(), items_from(cells, home, view=WINDOW, box=[6, 6, 0, 0])
    report = extract([items], [encoder], store, batch_size=N)
    crops = [images.cut(images.decode(path), (6, 6, 0, 0), WINDOW) for path in cells]
    expected = encoder.encode(np.stack([encoder.prepare(crop) for crop in crops]))
    np.testing.assert_array_equal(space_of(store, encoder).load(items.ids), expected.astype(np.float16))
    (done,) = report.spaces
    assert (done.computed, done.cached, done.requested, report.decoded) == (N, 0, N, N)
    assert 0 < done.max_rounding_error == np.abs(expected - expected.astype(np.float16)).max()


def test_one_cell_used_by_three_tasks_is_encoded_once_and_a_second_run_encodes_nothing(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    encoder = ToyEncoder()
    tasks = [items_from(part, home) for part in (cells[:12], cells[4:18], cells[::-1])]
    extract(tasks, [encoder], store, batch_size=4)
    assert encoder.images_seen == N
    again = ToyEncoder()
    assert extract(tasks, [again], store, batch_size=4).computed == 0
    assert again.images_seen == 0


def test_an_image_is_decoded_once_for_all_encoders_and_all_its_cells(
    tmp_path: Path, store: FeatureStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = draw_images(tmp_path / "fields", 3, side=64)
    boxes = [items_from(fields, home, view=WINDOW, box=[x, x, 0, 0]) for x in range(0, 64, 3)]
    order = np.argsort(np.tile(np.arange(3), len(boxes)), kind="stable")
    items = Items(
        np.concatenate([one.ids for one in boxes])[order],
        tuple(np.concatenate([one.images for one in boxes])[order]),
        np.concatenate([one.boxes for one in boxes])[order],
        WINDOW,
        np.full(len(order), np.nan),
    )
    decoded: list[str] = []
    lock, original = threading.Lock(), images.decode

    def counting(path: str | Path) -> images.RGB:
        with lock:
            decoded.append(str(path))
        return original(path)

    monkeypatch.setattr(images, "decode", counting)
    report = extract([items], [ToyEncoder("a"), ToyEncoder("b", seed=1)], store, batch_size=4)
    assert sorted(decoded) == sorted(map(str, fields))
    assert report.decoded == 3
    assert report.computed == 2 * len(items)


def test_two_cards_of_one_identity_are_one_space(cells: list[Path], store: FeatureStore, home: Path) -> None:
    one, other = ToyEncoder("one"), ToyEncoder("other")
    report = extract([items_from(cells, home)], [one, other], store)
    assert [space.encoder for space in report.spaces] == ["one"]
    assert one.images_seen + other.images_seen == N


def test_another_mean_checkpoint_or_pixel_never_hits(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    items = items_from(cells, home)
    extract([items], [ToyEncoder()], store)
    for changed in (ToyEncoder(mean=0.5), ToyEncoder(seed=1)):
        assert extract([items], [changed], store).computed == N
    pixels = np.array(Image.open(cells[3]))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(cells[3])
    replaced = items_from(cells, home)
    before = space_of(store, ToyEncoder()).load(items.ids)
    assert extract([replaced], [ToyEncoder()], store).computed == 1
    after = space_of(store, ToyEncoder()).load(replaced.ids)
    assert (before[3] != after[3]).any()
    np.testing.assert_array_equal(np.delete(before, 3, 0), np.delete(after, 3, 0))


def test_an_image_replaced_during_a_run_is_an_error_not_a_feature(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    items = items_from(cells, home)
    cells[6].write_bytes(cells[7].read_bytes())
    with pytest.raises(DataError, match=r"cell_0006\.png is not the one it was"):
        extract([items], [ToyEncoder()], store, batch_size=4)
    assert space_of(store, ToyEncoder()).missing(items.ids).tolist() == [False] * 4 + [True] * (N - 4)


def test_a_corrupt_image_is_named_and_everything_before_it_is_stored(
    cells: list[Path], store: FeatureStore, home: Path, tmp_path: Path
) -> None:
    whole = items_from(cells, home)
    expected = undisturbed(whole, ToyEncoder(), tmp_path / "other")
    good = cells[9].read_bytes()
    cells[9].write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"cell_0009\.png"):
        extract([items_from(cells, home)], [ToyEncoder()], store, batch_size=4)
    assert len(space_of(store, ToyEncoder())) == 8
    cells[9].write_bytes(good)
    report = extract([whole], [ToyEncoder()], store, batch_size=4)
    assert report.computed == N - 8
    np.testing.assert_array_equal(space_of(store, ToyEncoder()).load(whole.ids), expected)


def test_a_batch_is_computed_whole_when_one_of_its_items_is_missing(
    cells: list[Path], store: FeatureStore, home: Path, tmp_path: Path
) -> None:
    items, encoder = items_from(cells, home), ToyEncoder()
    expected = undisturbed(items, ToyEncoder(), tmp_path / "other")
    space = store.space(space_id(encoder.identity), dim=encoder.dim, identity=encoder.identity)
    kept = np.r_[0:5, 8:16, 21]
    space.append(items.ids[kept], expected[kept])
    report = extract([items], [encoder], store, batch_size=4)
    np.testing.assert_array_equal(space.load(items.ids), expected)
    assert encoder.batches == [4, 4, 2]  # items 4..7, 16..19 and 20..21
    assert report.computed == N - len(kept)


class Interrupting(ToyEncoder):
    """Meets Ctrl-C after two batches."""

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return super().encode(batch)


def test_an_interrupt_leaves_what_was_computed(
    cells: list[Path], store: FeatureStore, home: Path, tmp_path: Path
) -> None:
    items = items_from(cells, home)
    with pytest.raises(KeyboardInterrupt):
        extract([items], [Interrupting()], store, batch_size=4)
    assert len(space_of(store, ToyEncoder())) == 8
    assert store.verify() == []
    extract([items], [ToyEncoder()], store, batch_size=4)
    expected = undisturbed(items, ToyEncoder(), tmp_path / "other")
    np.testing.assert_array_equal(space_of(store, ToyEncoder()).load(items.ids), expected)


class Cramped(ToyEncoder):
    """Fits `room` images into its memory."""

    def __init__(self, room: int, error: Exception, **options: Any) -> None:
        super().__init__(**options)
        self.room, self.error = room, error

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if len(batch) > self.room:
            raise self.error
        return super().encode(batch)


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError()])
def test_out_of_memory_halves_the_batch_and_goes_on(
    cells: list[Path], store: FeatureStore, home: Path, error: Exception
) -> None:
    recorder, encoder = Recorder(), Cramped(3, error, static_batch=True)
    report = extract([items_from(cells, home)], [encoder], store, batch_size=8, reporter=recorder)
    assert set(encoder.batches) == {2}
    assert report.spaces[0].batch_size == 2
    assert len(space_of(store, encoder)) == N
    assert [text.split()[-1] for text in recorder.warnings] == ["4.", "2."]


def test_no_room_for_one_image_is_a_sentence_and_other_errors_stay_themselves(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    items = items_from(cells, home)
    with pytest.raises(EncoderError, match="even with one image at a time"):
        extract([items], [Cramped(0, RuntimeError("out of memory"))], store)
    with pytest.raises(RuntimeError, match="shapes"):
        extract([items], [Cramped(0, RuntimeError("shapes cannot be multiplied"))], store)


def test_the_last_batch_is_filled_up_where_batches_must_be_equal(
    cells: list[Path], store: FeatureStore, home: Path
) -> None:
    fixed, free = ToyEncoder(static_batch=True), ToyEncoder(seed=1)
    extract([items_from(cells, home)], [fixed, free], store, batch_size=8)
    assert fixed.batches == [8, 8, 8]
    assert free.batches == [8, 8, 6]
    assert len(space_of(store, fixed)) == N


class Broken(ToyEncoder):
    """Returns what no encoder should; the seventh image is the culprit."""

    def __init__(self, value: float, *, width: int = 12, refuses: bool = False) -> None:
        super().__init__()
        self.value, self.width, self.refuses = value, width, refuses
        self.culprit: npt.NDArray[Any] | None = None

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        features = super().encode(batch)[:, : self.width]
        here = [at for at, one in enumerate(batch) if np.array_equal(one, self.culprit)]
        features[here] = self.value
        if here and self.refuses:
            raise EncoderError("toy returned NaN; correct it.")
        return features


def test_an_unusable_feature_names_its_image(cells: list[Path], store: FeatureStore, home: Path) -> None:
    items = items_from(cells, home)
    refused = r"correct it \(first met at .*cell_0006\.png\)\.$"
    for refuses, kind, words in ((False, StoreError, r"cell_0006\.png"), (True, EncoderError, refused)):
        broken = Broken(np.nan, refuses=refuses)
        broken.culprit = broken.prepare(images.decode(cells[6]))
        with pytest.raises(kind, match=words):
            extract([items], [broken], store, batch_size=4)
        assert len(space_of(store, broken)) == 4
    with pytest.raises(EncoderError, match="correct `dim`"):
        extract([items], [Broken(0.0, width=11)], store)


def test_features_that_never_vary_are_warned_about(cells: list[Path], home: Path, tmp_path: Path) -> None:
    class Dull(ToyEncoder):
        def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            features = super().encode(batch)
            features[:, 3] = 2.5
            return features

    many = draw_images(tmp_path / "many", 40, seed=5)
    recorder = Recorder()
    extract([items_from(many, home)], [Dull()], FeatureStore(home), reporter=recorder)
    assert len(recorder.warnings) == 1
    assert "1 of 12 features are the same for all 40 images (columns 3)" in recorder.warnings[0]


def test_no_more_images_are_held_than_a_few_batches(
    tmp_path: Path, home: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = items_from(draw_images(tmp_path / "many", 120, side=8), home)
    outstanding, most = 0, 0
    lock, original = threading.Lock(), images.decode

    def counting(path: str | Path) -> images.RGB:
        nonlocal outstanding, most
        with lock:
            outstanding += 1
            most = max(most, outstanding)
        return original(path)

    class Slow(ToyEncoder):
        def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            nonlocal outstanding
            with lock:
                outstanding -= len(batch)
            return super().encode(batch)

    monkeypatch.setattr(images, "decode", counting)
    extract([items], [Slow(seconds=0.01)], store, batch_size=4, workers=4)
    assert most <= 4 * 4  # three batches ahead and the one in hand, of 30


def test_descriptors_prepared_in_processes_are_the_same(
    cells: list[Path], store: FeatureStore, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_WORTH_ROWS", 1)
    asked: list[str] = []
    original = processes.PrepareProcesses.prepare

    def noting(self: processes.PrepareProcesses, key: str) -> prepare.Prepare:
        asked.append(key)
        return original(self, key)

    monkeypatch.setattr(processes.PrepareProcesses, "prepare", noting)
    items = items_from(cells, home)
    far = ToyEncoder(prefers_processes=True)
    extract([items], [far], store, batch_size=4, workers=2)
    assert asked == ["toy/8"]
    np.testing.assert_array_equal(
        space_of(store, far).load(items.ids), undisturbed(items, ToyEncoder(), tmp_path / "other")
    )


def test_a_process_that_dies_is_replaced_by_threads(
    cells: list[Path], store: FeatureStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_WORTH_ROWS", 1)
    recorder = Recorder()
    doomed = DiesElsewhere(prefers_processes=True)
    extract([items_from(cells, home)], [doomed], store, workers=2, reporter=recorder)
    assert len(space_of(store, doomed)) == N
    assert len(recorder.warnings) == 1


class DiesElsewhere(ToyEncoder):
    """Takes its process with it, unless that is the one that made it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        import os

        self.birthplace = os.getpid()

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        import os

        if os.getpid() != self.birthplace:
            os._exit(3)
        return super().prepare(crop)


def test_shards_are_written_while_the_run_goes_on(
    cells: list[Path], store: FeatureStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FLUSH_ROWS", 8)
    extract([items_from(cells, home)], [ToyEncoder()], store, batch_size=4)
    assert len(list(space_of(store, ToyEncoder()).folder.glob("shard-*"))) == 3


def test_work_of_processes_that_are_gone_is_taken_over(
    cells: list[Path], store: FeatureStore, home: Path, tmp_path: Path
) -> None:
    items, recorder = items_from(cells, home), Recorder()
    extract([items], [ToyEncoder()], store, batch_size=4, share=Share(1, 3), patience=0.1, reporter=recorder)
    assert "No news" in recorder.warnings[0]
    expected = undisturbed(items, ToyEncoder(), tmp_path / "other")
    np.testing.assert_array_equal(space_of(store, ToyEncoder()).load(items.ids), expected)
