"""Everything that goes wrong with a table of one's own cells, planted together: one message names it all."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cytobench.cards import TaskCard
from cytobench.datasets import DataWarning, table
from cytobench.datasets.task import load_task
from cytobench.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "Zellä.png") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for name in ("a.png", "b.png", "c.png", "no label.png"):
        draw(tmp_path / "img" / name)
    return tmp_path


def load(path: Path, **changes: object) -> object:
    raw: dict[str, object] = {
        "name": "mine",
        "title": "Mine",
        "dataset": {"format": "table", "path": str(path)},
        "label": "type",
        "group": "who",
        "view": {"kind": "box"},
    }
    return load_task(TaskCard(**raw | changes), data_dirs=[], home=path.parent)


def test_all_faults_of_a_table_are_named_in_one_message(folder: Path) -> None:
    (folder / "img" / "zero.png").write_bytes(b"")
    lines = [
        "image;type;who;x;y;split",
        "img/a.png;benign;p1;1,5;2;train",
        "img/b.png;Benign;p1;1;2;test",
        "img/gone.png;benign;p2;1;2;train",
        "img/C.PNG;benign;p2;one;2;train",
        ";benign;p2;1;2;train",
        ";;;;;",
        "img/c.png;;p3;1;2;dev",
        "img/c.png;benign;;1;;train",
        "img/zero.png;benign;p3;3;3;train",
        "img/a.png;rare;p3;7;7;train",
        "img/a.png;benign;p4;8;8;train;oh",
        "../secret.png;benign;p4;8;8;train",
        "img/\u00fc.png;ben",
    ]
    path = folder / "cells.csv"
    path.write_bytes("\r\n".join(lines).encode("cp1252"))
    with pytest.raises(DataError) as caught:
        load(path, classes=["benign", "rare", "malign"], split={"kind": "official"})
    message = str(caught.value)
    for part in (
        f"{path}: ",
        "1 row has fewer values than the header's 6 (row 14): the file may break off",
        "1 row has more values than the header's 6 (row 12): a value with a ';' in it",
        "not UTF-8 text but perhaps Windows-1252 (read so, row 14: 'img/ü.png'): save it as 'CSV UTF-8'",
        "1 row names no image",
        "3 image files do not exist: img/gone.png, img/C.PNG (there is c.png), img/ü.png",
        "1 image file is empty: img/zero.png",
        f"images outside {folder}: ../secret.png",
        "row 5: x 'one' is not a number",
        "row 9: the box is incomplete",
        "unknown split names dev",
        "2 groups lie in more than one split: p1, p3",
        "1 row is empty and was left out (row 7)",
        "left out: 1 image file beside the named ones and in no row of the table: img/no label.png",
        "1 row has no label: img/c.png#1,2,0,0",
        "no row is labelled malign",
        "only one cell is labelled 'rare'",
        "2 rows have no who to group by",
    ):
        assert part in message
    with pytest.raises(DataError, match="the classes 'Benign' and 'benign' differ only in case or spaces"):
        load(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
def test_what_spreadsheets_save_is_read(folder: Path, encoding: str, first: str) -> None:
    content = f'{first}image;type;"two\r\nlines";x;y\r\nimg/a.png;" benign";"a ""b"";\r\nc";1,0;2\r\n;;;;\r\n'
    (folder / "t.csv").write_bytes(content.encode(encoding))
    with pytest.warns(DataWarning, match=r"1 row is empty"):
        read = table.read(folder / "t.csv")
    assert read.select("sample", "type", "two\nlines").rows() == [
        ("img/a.png#1,2,0,0", "benign", 'a "b";\nc')
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 and so on", "is a workbook or archive"),
        (b'image,type\nimg/a.png,"benign\nimg/b.png,x\n', r"from row 2 on .*never closed"),
        (b"image type\nimg/a.png benign\n", r"found: image type; if these are several columns, separate"),
        ("image,type\nimg/a.png,x\n".encode("utf-16")[:-1], "breaks off or is damaged"),
        (b"image,,type\nimg/a.png,1,x\n", r"a column without a name \(column 2\)"),
        (b"Image,type\nimg/a.png,x\n", "did you mean 'Image'"),
    ],
)
def test_what_cannot_be_read_is_said_precisely(folder: Path, content: bytes, reason: str) -> None:
    (folder / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        table.read(folder / "t.csv")


def test_names_in_other_bytes_find_their_files_and_give_the_same_samples(
    tmp_path: Path, draw: Callable[..., Path]
) -> None:
    read = {}
    for system, name in (("linux", NFC), ("macos", NFD)):
        path = tmp_path / system / "t.csv"
        draw(tmp_path / system / name.removesuffix(".png") / name)
        path.write_text(f"image,label\n{NFC.removesuffix('.png')}/{NFC},a\n", encoding="utf-8")
        if system == "macos":
            with pytest.warns(DataWarning, match="1 image name spelt in other bytes"):
                read[system] = table.read(path)
        else:
            read[system] = table.read(path)
    assert read["linux"]["sample"].equals(read["macos"]["sample"])
    assert all(Path(one["image"][0]).is_file() for one in read.values())


def test_a_fault_in_every_row_is_told_once_with_its_number(folder: Path) -> None:
    rows = [f"img/a.png,a,{n}x,{n}" for n in range(500)]
    (folder / "t.csv").write_text("\n".join(("image,label,x,y", *rows)))
    with pytest.raises(DataError) as caught:
        table.read(folder / "t.csv")
    assert "row 4: x '2x' is not a number (and 497 more rows like this)" in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_parquet_table_is_held_to_the_same(folder: Path) -> None:
    pl.DataFrame({"image": ["img/a.png", "img/gone.png"], "x": ["1", "b"], "y": ["1", "1"]}).write_parquet(
        folder / "t.parquet"
    )
    with pytest.raises(DataError) as caught:
        table.read(folder / "t.parquet")
    assert "1 image file does not exist: img/gone.png" in str(caught.value)
    assert "row 3: x 'b' is not a number" in str(caught.value)
