"""A user's own cells in a table."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cytobench.datasets import table
from cytobench.errors import CardError, DataError

ROWS = [
    ("img/a b.png", "benign", "p1", "0.25"),
    ("img/c.png", "malignant", "p2", "0.5"),
    ("img/ä.png", "benign", "p3", ""),
]


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for name, *_ in ROWS:
        draw(tmp_path / name)
    return tmp_path


def write(path: Path, header: str, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes(end.join((header, *lines, "")).encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_line_ends_and_byte_order_marks_are_recognised(
    folder: Path, separator: str, end: str, encoding: str
) -> None:
    lines = [separator.join(row) for row in ROWS]
    header = separator.join(("image", "label", "patient", "mpp"))
    read = table.read(write(folder / "cells.csv", header, *lines, end=end, encoding=encoding))
    assert read.select("sample", "label", "patient", "mpp").rows() == [
        ("img/a b.png", "benign", "p1", 0.25),
        ("img/c.png", "malignant", "p2", 0.5),
        ("img/ä.png", "benign", "p3", None),
    ]
    assert all(Path(path).is_file() for path in read["image"])


def test_parquet_equals_csv(folder: Path) -> None:
    csv = write(
        folder / "cells.csv", "image,label,mpp,x,y,w,h,age", *(f"{a},{b},0.5,1,2,3,4,61" for a, b, *_ in ROWS)
    )
    pl.read_csv(csv).write_parquet(folder / "cells.parquet")
    assert table.read(folder / "cells.parquet").equals(table.read(csv))


def test_columns_are_mapped_and_keep_their_own_names_too(folder: Path) -> None:
    path = write(folder / "t.csv", "file,Diagnosis,who", *(f"{a},{b},{c}" for a, b, c, _ in ROWS))
    read = table.read(path, columns={"image": "file", "label": "Diagnosis", "group": "who"})
    assert read["label"].to_list() == read["Diagnosis"].to_list() == ["benign", "malignant", "benign"]
    assert read["group"].to_list() == ["p1", "p2", "p3"]


def test_boxes_and_points_come_from_one_column_or_from_four(folder: Path) -> None:
    one = write(
        folder / "one.csv", "image,label,box", 'img/c.png,a,"1,2,3,4"', 'img/c.png,b,"[5 6]"', "img/c.png,b,"
    )
    assert table.read(one).select("sample", "box").rows() == [
        ("img/c.png", None),
        ("img/c.png#1,2,3,4", [1, 2, 3, 4]),
        ("img/c.png#5,6,0,0", [5, 6, 0, 0]),
    ]
    four = write(folder / "four.csv", "image;label;x;y;w;h", "img/c.png;a;1,4;2;3.0;4", "img/c.png;b;;;;")
    assert table.read(four)["box"].to_list() == [None, [1, 2, 3, 4]]
    points = write(folder / "points.csv", "image,label,x,y", "img/c.png,a,7,8")
    assert table.read(points)["box"].to_list() == [[7, 8, 0, 0]]


def test_the_order_of_rows_does_not_matter(folder: Path) -> None:
    lines = [f"{a},{b},{n},{n}" for n in range(5) for a, b, *_ in ROWS]
    first = table.read(write(folder / "a.csv", "image,label,x,y", *lines))
    random.Random(3).shuffle(lines)
    assert table.read(write(folder / "b.csv", "image,label,x,y", *lines)).equals(first)


@pytest.mark.parametrize("escape", ["../secret.png", "img/../../secret.png", "{}/secret.png"])
def test_images_outside_the_tables_folder_need_to_be_asked_for(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Path], escape: str
) -> None:
    inner = folder / "inner"
    inner.mkdir()
    secret = draw(folder / "secret.png")
    path = write(inner / "t.csv", "image,label", escape.format(folder) + ",x")
    with pytest.raises(DataError, match=r"images outside .*secret\.png.*outside = true"):
        table.read(path)
    read = table.read(path, outside=True)
    assert Path(read["image"][0]) == secret
    assert read["sample"].to_list() == ["secret.png"]


def test_a_full_path_inside_the_tables_folder_is_as_good_as_a_relative_one(folder: Path) -> None:
    path = write(folder / "t.csv", "image,label", f"{folder / 'img' / 'c.png'},x", "img\\a b.png,y")
    assert table.read(path)["sample"].to_list() == ["img/a b.png", "img/c.png"]


def test_all_bad_cells_are_told_at_once_with_their_line(folder: Path) -> None:
    path = write(
        folder / "t.csv",
        "image,label,x,y,mpp",
        "img/c.png,a,1,2,0.5",
        ",a,1,2,0.5",
        "img/c.png,a,one,2,half",
        "img/c.png,a,1,,0.5",
        "../c.png,a,1,2,",
    )
    with pytest.raises(DataError) as caught:
        table.read(path)
    message = str(caught.value)
    for part in (
        "1 row names no image",
        "row 4: x 'one' is not a number",
        "row 4: mpp 'half' is not a number",
        "row 5: the box is incomplete",
        "images outside",
    ):
        assert part in message


def test_numbers_that_are_none_are_told_by_row_and_column(folder: Path) -> None:
    path = write(
        folder / "t.csv",
        "image,label,x,y,w,h,mpp",
        "img/c.png,a,nan,2,3,4,0.5",
        "img/c.png,a,1,2,3,-inf,nan",
        "img/c.png,a,1,2,3,4,-0.25",
        "img/c.png,a,1,99999999999,3,4,0",
    )
    with pytest.raises(DataError) as caught:
        table.read(path)
    for part in (
        "row 2: x 'nan' is not finite",
        "row 3: h '-inf' is not finite",
        "row 3: mpp 'nan' is not finite",
        "row 4: mpp '-0.25' is not above 0",
        "row 5: y '99999999999' is too large",
        "row 5: mpp '0' is not above 0",
    ):
        assert part in str(caught.value)
    one = write(folder / "one.csv", "image,label,box", 'img/c.png,a,"1,inf,3,4"')
    with pytest.raises(DataError, match="row 2: box 'inf' is not finite"):
        table.read(one)


def test_lists_in_parquet_are_boxes_of_four_numbers_and_nothing_else(folder: Path) -> None:
    path = folder / "t.parquet"
    rows = {"image": ["img/c.png"] * 3, "label": ["a"] * 3}
    pl.DataFrame(rows | {"box": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0], None]}).write_parquet(path)
    assert table.read(path)["box"].to_list() == [None, [1, 2, 3, 4], [5, 6, 0, 0]]
    pl.DataFrame(
        rows | {"box": [[1.0, 2.0, 3.0], [1.0, 2.0, float("nan"), 4.0], [1.0, 2.0, 3.0, None]]}
    ).write_parquet(path)
    with pytest.raises(DataError) as caught:
        table.read(path)
    for part in (
        "row 2: a box is x, y, w, h",
        "row 3: box 'nan' is not finite",
        "row 4: the box is incomplete",
    ):
        assert part in str(caught.value)
    pl.DataFrame(rows | {"mpp": [[0.5]] * 3}).write_parquet(path)
    with pytest.raises(DataError, match="mpp holds lists"):
        table.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no rows|cannot be read"),
        (b"image,label\n", "no rows"),
        (b"picture,label\nimg/c.png,a\n", "no column 'image' .*picture, label"),
        (b"image,label\nimg/\xe4.png,a\n", "not UTF-8"),
        (b"image,label\nimg/c.png,a,b,c\n", "1 row has more values than the header's 2 .row 2"),
        (b"image,label,label\nimg/c.png,a,b\n", "names the column label twice"),
    ],
)
def test_unusable_tables_are_refused_by_name(folder: Path, content: bytes, reason: str) -> None:
    path = folder / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        table.read(path)
    assert str(path) in str(caught.value)


def test_a_bad_mapping_is_the_cards_fault(folder: Path) -> None:
    path = write(folder / "t.csv", "file,label", "img/c.png,a")
    with pytest.raises(CardError, match=r"no column 'flie' \(did you mean 'file'\?\)"):
        table.read(path, columns={"image": "flie"})
    with pytest.raises(CardError, match="name picture, which the manifest does not have"):
        table.read(path, columns={"picture": "file"})
    with pytest.raises(DataError, match="does not exist"):
        table.read(folder / "none.csv")
