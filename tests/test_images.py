"""Decoding any file to 8-bit RGB, cutting views out of images, laying tiles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cytobench import images
from cytobench.cards import View
from cytobench.errors import DataError

ORIENTATION = 0x0112


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(23, 31)).convert(mode)


def reference(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("rgb.jpg", "RGB"),
        ("grey.jpg", "L"),
        ("cmyk.jpg", "CMYK"),
        ("rgb.png", "RGB"),
        ("palette.png", "P"),
        ("bits.png", "1"),
        ("opaque.png", "RGBA"),
        ("rgb.tif", "RGB"),
        ("cmyk.tif", "CMYK"),
        ("UPPER.BMP", "RGB"),
        ("rgb.webp", "RGB"),
        ("palette.gif", "P"),
    ],
)
def test_ordinary_files_decode_byte_for_byte_as_pillow_converts_them(
    tmp_path: Path, name: str, mode: str
) -> None:
    path = tmp_path / name
    picture(mode).save(path)

    pixels = images.decode(path)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (23, 31, 3)
    np.testing.assert_array_equal(pixels, reference(path))
    assert images.size(path) == (31, 23)


def test_a_real_cell_decodes_byte_for_byte_as_pillow_converts_it(shared_data: Path) -> None:
    path = sorted((shared_data / "pbc").glob("*/basophil/*.jpg"))[0]
    np.testing.assert_array_equal(images.decode(path), reference(path))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_files_come_out_upright_and_size_agrees(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture().save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    pixels = images.decode(path)

    np.testing.assert_array_equal(pixels, upright)
    assert images.size(path) == (pixels.shape[1], pixels.shape[0])
    assert pixels.shape[:2] == ((31, 23) if orientation >= 5 else (23, 31))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "clear.png"
    grey = np.full((4, 6, 4), 100, dtype=np.uint8)
    grey[..., 3] = 255
    grey[:, :2, 3] = 0
    grey[:, 2:4, 3] = 128
    Image.fromarray(grey).convert(mode).save(path)

    pixels = images.decode(path)

    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 4:] == 100).all()
    assert (abs(pixels[:, 2:4].astype(int) - (100 * 128 + 255 * 127) // 255) <= 1).all()


def test_a_transparent_colour_of_palette_grey_and_rgb_files_is_white(tmp_path: Path) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    palette = Image.fromarray(values)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=0)
    Image.fromarray(values).save(tmp_path / "l.png", transparency=0)
    Image.fromarray(np.repeat(values[..., None], 3, axis=2)).save(
        tmp_path / "rgb.png", transparency=(0, 0, 0)
    )

    for name, opaque in (("p.png", [40, 50, 60]), ("l.png", [1, 1, 1]), ("rgb.png", [1, 1, 1])):
        pixels = images.decode(tmp_path / name)
        assert pixels[0, 0].tolist() == [255, 255, 255], name
        assert pixels[0, 1].tolist() == opaque, name


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_high_byte(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 255, 256], [4660, 40000, 65535]], dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)

    pixels = images.decode(path)

    np.testing.assert_array_equal(pixels, np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 99.6, 255.0]], dtype=np.float32), [0, 100, 255]),
        (np.array([[0, 7, 255]], dtype=np.int32), [0, 7, 255]),
        (np.array([[0, 256, 65535]], dtype=np.int32), [0, 1, 255]),
    ],
)
def test_float_and_long_tiffs_are_scaled_to_eight_bits(
    tmp_path: Path, values: np.ndarray, expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "odd.tif")
    pixels = images.decode(tmp_path / "odd.tif")
    assert pixels[0].tolist() == [[value] * 3 for value in expected]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-1.0, 0.5]], dtype=np.float32),
        np.array([[0.0, 4000.0]], dtype=np.float32),
        np.array([[0.0, np.nan]], dtype=np.float32),
        np.array([[-5, 5]], dtype=np.int32),
        np.array([[0, 70000]], dtype=np.int32),
    ],
)
def test_values_of_no_known_scale_are_refused_with_their_range(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "unscaled.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=r"unscaled\.tif holds .* from .* to "):
        images.decode(path)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_unprinted_paper_is_white_in_both_conventions_of_cmyk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"paper.{suffix}"  # JPEG stores CMYK inverted (Adobe), TIFF does not
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(path)
    assert (images.decode(path) == 255).all()


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "cell.png"
    kind = request.param
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a picture")
    elif kind != "missing":
        image = Image.fromarray(noise(90, 90))
        image.save(path, format="JPEG" if kind == "truncated jpeg" else "PNG")
        if kind == "huge":
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        else:
            path.write_bytes(path.read_bytes()[: 600 if kind == "truncated jpeg" else 2000])
    return path


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "is not an image"),
        ("truncated jpeg", "is damaged"),
        ("truncated png", "is damaged"),
        ("huge", "is too large"),
    ],
    indirect=["broken"],
)
def test_unreadable_files_are_one_sentence_that_names_file_reason_and_remedy(
    broken: Path, reason: str
) -> None:
    with pytest.raises(DataError) as caught:
        images.decode(broken)
    message = str(caught.value)
    assert str(broken) in message
    assert reason in message
    assert "\n" not in message
    assert ": " in message


def test_decoding_in_many_threads_gives_what_one_thread_gives(tmp_path: Path) -> None:
    paths = []
    for index in range(24):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(np.roll(noise(40, 50), index, axis=0)).save(path)
        paths.append(path)
    alone = [images.decode(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(images.decode, paths))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_window_inside_the_image_is_the_pixels_around_the_box_centre() -> None:
    image = noise(30, 40)
    window = View(kind="window", size=6)
    np.testing.assert_array_equal(images.cut(image, [10, 12, 4, 2], window), image[10:16, 9:15])
    np.testing.assert_array_equal(images.cut(image, [20, 9, 0, 0], window), image[6:12, 17:23])
    np.testing.assert_array_equal(images.cut(image, None, window), image[12:18, 17:23])


def test_a_crop_never_shares_memory_with_its_image() -> None:
    image = noise(8, 8)
    crop = images.cut(image, None, View(kind="window", size=8))
    assert crop.flags.writeable
    assert not np.shares_memory(crop, image)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    x=st.integers(-12, 12),
    y=st.integers(-12, 12),
    w=st.integers(0, 8),
    side=st.integers(1, 30),
    pad=st.sampled_from(["reflect", "edge", "black", "white"]),
)
def test_windows_that_leave_the_image_equal_numpys_padding(
    height: int, width: int, x: int, y: int, w: int, side: int, pad: str
) -> None:
    image = noise(height, width)
    margin = 60
    how = {
        "reflect": {"mode": "reflect"},
        "edge": {"mode": "edge"},
        "black": {"mode": "constant"},
        "white": {"mode": "constant", "constant_values": 255},
    }[pad]
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), **how)
    left, top = margin + x + (w - side) // 2, margin + y + (w - side) // 2

    crop = images.cut(image, [x, y, w, w], View(kind="window", size=side, pad=pad))

    np.testing.assert_array_equal(crop, padded[top : top + side, left : left + side])


def test_a_box_is_widened_to_a_square_and_never_stretched() -> None:
    image = noise(30, 40)
    box = View(kind="box", pad="black")
    np.testing.assert_array_equal(images.cut(image, [10, 5, 4, 12], box), image[5:17, 6:18])
    whole = images.cut(image, None, box)
    assert whole.shape == (40, 40, 3)
    np.testing.assert_array_equal(whole[5:35], image)
    assert not whole[:5].any()
    assert not whole[35:].any()


def test_a_view_in_micrometres_needs_the_resolution() -> None:
    image = noise(50, 50)
    view = View(kind="window", size=8, unit="um")
    assert images.cut(image, None, view, mpp=0.5).shape == (16, 16, 3)
    for mpp in (None, 0.0, float("nan")):
        with pytest.raises(DataError, match="mpp"):
            images.cut(image, None, view, mpp=mpp)


def test_views_without_an_extent_are_refused() -> None:
    with pytest.raises(DataError, match="no area"):
        images.cut(noise(9, 9), [3, 3, 0, 0], View(kind="box"))
    with pytest.raises(DataError, match="needs a box"):
        images.cut(noise(9, 9), None, View(kind="tile", size=3))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_tiles_lie_on_a_grid_inside_the_field_and_none_is_missing(
    width: int, height: int, side: int, stride: int
) -> None:
    boxes = images.tile_boxes(width, height, View(kind="tile", size=side, stride=stride))

    def count(length: int) -> int:
        return max(0, (length - side) // stride) + 1

    assert len(boxes) == len(set(boxes)) == count(width) * count(height)
    for x, y, w, h in boxes:
        assert (w, h) == (side, side)
        assert (0 <= x <= width - side and x % stride == 0) or x == (width - side) // 2 < 0
        assert (0 <= y <= height - side and y % stride == 0) or y == (height - side) // 2 < 0


def test_a_field_of_2048_by_1536_gives_48_tiles_of_256() -> None:
    assert len(images.tile_boxes(2048, 1536, View(kind="tile", size=256))) == 48


def test_background_is_bright_and_unsaturated_or_black() -> None:
    crop = np.zeros((4, 4, 3), dtype=np.uint8)
    crop[0] = (240, 238, 235)
    crop[1] = (0, 0, 0)
    crop[2] = (230, 160, 200)
    crop[3] = (90, 90, 90)
    assert images.tissue_fraction(crop) == 0.5
