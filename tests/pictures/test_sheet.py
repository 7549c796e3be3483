"""Contact sheets hold what they are given, where they say, whatever the captions."""

import numpy as np
import pytest
from PIL import Image

from cytobench.pictures.sheet import QUERY, Strip, Tile, contact_sheet, fitted

RED = np.full((20, 40, 3), (255, 0, 0), np.uint8)
BLUE = np.full((50, 50, 3), (0, 0, 255), np.uint8)


def _count(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


def test_pictures_are_fitted_and_never_stretched() -> None:
    assert fitted(RED, 80).size == (80, 40)
    assert fitted(BLUE, 10).size == (10, 10)
    sheet = contact_sheet([Strip("", [Tile(RED)])], side=80)
    assert _count(sheet, (255, 0, 0)) == 80 * 40


def test_tiles_wrap_and_all_of_them_are_shown() -> None:
    sheet = contact_sheet([Strip("many", [Tile(BLUE, ("a", "b"))] * 7)], columns=3, side=50)
    assert _count(sheet, (0, 0, 255)) == 7 * 50 * 50


def test_a_frame_stands_around_its_own_tile_only() -> None:
    framed = contact_sheet([Strip("", [Tile(BLUE, frame=QUERY), Tile(BLUE)])], side=50)
    columns = np.flatnonzero((np.asarray(framed) == (0x00, 0x72, 0xB2)).all(-1).any(0))
    assert columns.size
    assert columns.max() < framed.width // 2


@pytest.mark.parametrize(
    "caption", ["x" * 900, "日本語 ✓ \x00\n\ttwo  lines", "", "<script>alert(1)</script>"]
)
def test_no_caption_breaks_a_sheet(caption: str) -> None:
    tile = Tile(BLUE, (caption,))
    sheet = contact_sheet([Strip(caption, [tile])], title=caption, notes=[caption], side=50)
    assert _count(sheet, (0, 0, 255)) == 50 * 50


def test_an_empty_sheet_is_a_sheet() -> None:
    assert contact_sheet([Strip("nothing found", [])]).width > 0


def test_wide_pictures_take_several_columns_and_a_height_of_their_own() -> None:
    field = np.full((30, 120, 3), 7, np.uint8)
    cells = Strip("cells", [Tile(np.full((20, 20, 3), 90, np.uint8))] * 4)
    fields = Strip("fields", [Tile(field), Tile(field)], span=2, height=50)
    both = np.asarray(contact_sheet([cells, fields], columns=4, side=100))
    alone = np.asarray(contact_sheet([cells], columns=4, side=100))
    assert both.shape[1] == alone.shape[1]
    rows, columns = np.nonzero((both == 7).all(-1))
    assert rows.max() - rows.min() + 1 == 50  # as high as the strip says, at 4 : 1 in 216 px of width
    assert len(np.unique(columns)) == 2 * 200
