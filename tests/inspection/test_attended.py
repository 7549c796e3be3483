"""Pictures and what is attended to: where the cell is, how much lies on it, colours, and images refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytobench.cards import View
from cytobench.digests import FileDigests
from cytobench.encoders import load
from cytobench.encoders.attention import attention_of
from cytobench.errors import DataError, UsageError
from cytobench.evaluation.plan import plan_task
from cytobench.inspection.attended import attend, cell_share, figures, spread
from cytobench.inspection.attention_pictures import strips_of_classes, strips_of_images
from cytobench.inspection.overlay import coloured, overlaid, painted, top_of
from cytobench.inspection.subjects import Subject, image_files, subject_of_file, subjects_of_task
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import backbone, request, task, write_cells


def _image(path: Path, width: int = 60, height: int = 40) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_the_cell_is_where_its_box_is_in_the_window(tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    view = View(kind="window", size=32, unit="px")
    subject = subject_of_file(path, view, (20, 10, 8, 4))
    assert subject.cell is not None
    assert subject.crop.shape == (32, 32, 3)
    rows, columns = np.nonzero(subject.cell)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (14, 18, 12, 20)
    inside = np.asarray(Image.open(path))[10:14, 20:28]
    assert (subject.crop[14:18, 12:20] == inside).all()


def test_a_box_that_fills_the_crop_says_nothing(tmp_path: Path) -> None:
    assert subject_of_file(_image(tmp_path / "a.png"), None, (5, 5, 20, 20)).cell is None


def test_attention_on_the_cell_is_weighed_by_covered_area(home: Path) -> None:
    encoder = load(backbone("network"), home=home, digests=FileDigests(home), device="cpu")
    cell = np.zeros((64, 64), dtype=bool)
    cell[:32, :16] = True  # of 2 x 2 patches the upper left one, half of it
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (one,) = attend(encoder, [Subject("a", crop, cell=cell)], SilentReporter())
    share = cell_share(encoder, one.attention, cell)
    np.testing.assert_allclose(share, [[0.5, 0], [0, 0]], atol=0.02)
    assert one.on_cell is not None
    assert one.on_cell.area == pytest.approx(0.125, abs=0.005)
    mean = one.attention.mean
    assert one.on_cell.attention == pytest.approx(float((mean * share).sum() / mean.sum()))


def test_spread_counts_patches() -> None:
    assert spread(np.ones((4, 4))) == pytest.approx(1.0)
    two = np.zeros((4, 4))
    two[0, 0] = two[3, 3] = 0.5
    assert spread(two) == pytest.approx(2 / 16)


def test_even_attention_has_the_middle_colour_and_outliers_do_not_set_the_scale() -> None:
    even = np.full((10, 10), 0.01)
    assert top_of(even) == pytest.approx(0.02)
    assert (coloured(even, 10) == coloured(even, 10)[0, 0]).all()
    assert (coloured(even, 10)[0, 0] != coloured(even * 2, 10, top=0.02)[0, 0]).any()
    spiked = np.tile(np.linspace(0, 0.04, 100), 2).reshape(10, 20)
    spiked[0, 0] = 5.0
    assert top_of(spiked) < 0.2


def test_an_overlay_colours_what_is_attended_to_and_leaves_the_rest() -> None:
    crop = np.full((8, 8, 3), 200, np.uint8)
    values = np.zeros((2, 2))
    values[0, 1] = 1.0
    over = overlaid(crop, values, top=1.0, smooth=False)
    assert (over[4:] == 200).all()
    assert (over[:4, :4] == 200).all()
    assert (over[:4, 4:] != 200).any(axis=-1).all()
    holes = np.full((8, 8), np.nan)
    holes[0] = 1.0
    assert (painted(crop, holes, top=1.0)[1:] == crop[1:]).all()


def test_a_larger_draw_of_cells_begins_with_the_smaller_one(tmp_path: Path, home: Path) -> None:
    write_cells(tmp_path)
    card = task(tmp_path)
    plan = plan_task(card, request(tmp_path, home), FileDigests(home), SilentReporter())
    few, many = subjects_of_task(plan, 2, 0), subjects_of_task(plan, 4, 0)
    for label in plan.examples.classes:
        names = [[one.name for one in drawn if one.label == label] for drawn in (few, many)]
        assert names[0] == names[1][:2]
        assert len(names[1]) == 4
    assert [one.name for one in subjects_of_task(plan, 2, 1)] != [one.name for one in few]


def test_strips_show_every_head_and_a_row_a_class(home: Path) -> None:
    encoder = load(backbone("network"), home=home, digests=FileDigests(home), device="cpu")
    crop = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    found = attend(
        encoder, [Subject(name, crop, label) for name, label in ("ax", "bx", "cy")], SilentReporter()
    )
    overlays, bare, *_ = strips_of_images(found)
    assert [tile.lines[0] for tile in overlays.tiles] == [
        "the picture", "head 1", "head 2", "head 3", "mean of heads", "rollout",
    ]  # fmt: skip
    assert len(bare.tiles) == 6
    assert (attention_of(encoder, crop).heads == found[0].attention.heads).all()
    rows = strips_of_classes(found, 1)
    assert [strip.heading for strip in rows] == ["x", "y", "Colours"]
    assert [len(strip.tiles) for strip in rows[:2]] == [3, 3]
    assert [(one.label, one.n) for one in figures(found)] == [("x", 2), ("y", 1)]


@pytest.mark.parametrize(
    ("size", "said"), [((1, 1), "too few"), ((20_000, 4), "too few"), ((20_000, 5_000), "too large")]
)
def test_images_without_room_and_monsters_are_refused(
    tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    Image.new("1", size).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=said):
        subject_of_file(tmp_path / "a.png")


@pytest.mark.parametrize("box", [(60, 0, 5, 5), (50, 30, 20, 5), (-1, 0, 5, 5), (0, 0, 5, 99)])
def test_a_box_outside_is_refused(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match=r"not inside .* 60 x 40 px"):
        subject_of_file(_image(tmp_path / "a.png"), None, box)


def test_folders_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").mkdir()
    names = ["b.png", "a.jpg"]
    for name in names:
        _image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image", encoding="utf-8")
    assert [one.name for one in image_files([tmp_path / "in"])] == sorted(names)
    with pytest.raises(UsageError, match="holds no image"):
        image_files([tmp_path / "empty"])
    with pytest.raises(UsageError, match="no task, image or folder"):
        image_files([tmp_path / "absent.png"])
