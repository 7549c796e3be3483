"""A manifest with a fault is refused with the exact rows, all faults at once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cytobench import manifest
from cytobench.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> pl.DataFrame:
    rows = []
    for index in range(4):
        path = tmp_path / f"{index}.png"
        path.write_bytes(b"x")
        rows.append(
            {
                "sample": f"s{index}",
                "image": str(path),
                "label": "a" if index % 2 else "b",
                "group": f"g{index // 2}",
            }
        )
    return manifest.conform(pl.DataFrame(rows))


def test_conform_adds_missing_columns_casts_and_sorts(tmp_path: Path) -> None:
    raw = pl.DataFrame({"sample": ["b", "a"], "image": ["x", "y"], "group": [2, 1]})
    made = manifest.conform(raw)
    assert made["sample"].to_list() == ["a", "b"]
    assert made["group"].to_list() == ["1", "2"]
    assert made.schema["box"] == manifest.BOX
    assert made["label"].null_count() == 2


def test_a_good_manifest_passes(table: pl.DataFrame) -> None:
    manifest.check(table)


def test_every_fault_is_named_with_its_rows(table: pl.DataFrame) -> None:
    bad = pl.concat([table, table.head(1)]).with_columns(
        pl.when(pl.col("sample") == "s2").then(None).otherwise(pl.col("label")).alias("label"),
        pl.when(pl.col("sample") == "s3").then(pl.lit("gone.png")).otherwise(pl.col("image")).alias("image"),
        pl.Series("split", ["train", "test", "train", "train", "train"]),
    )
    with pytest.raises(DataError) as caught:
        manifest.check(bad, where="task 'x'")
    message = str(caught.value)
    for part in (
        "task 'x'",
        "1 sample id occurs more than once: s0",
        "no label: s2",
        "1 image file does not exist: gone.png",
        "1 group lies in more than one split: g0",
    ):
        assert part in message


def test_a_planted_leak_is_caught(table: pl.DataFrame) -> None:
    leak = table.with_columns(pl.Series("split", ["train", "test", "train", "train"]))
    with pytest.raises(DataError, match="1 group lies in more than one split: g0"):
        manifest.check(leak)


def test_unknown_splits_and_negative_boxes_are_refused(table: pl.DataFrame) -> None:
    boxes = pl.Series("box", [[0, 0, 5, 5], [0, 0, -1, 5], None, None], dtype=manifest.BOX)
    with pytest.raises(DataError, match="negative size: s1"):
        manifest.check(table.with_columns(boxes))
    with pytest.raises(DataError, match="unknown split names dev"):
        manifest.check(table.with_columns(split=pl.lit("dev")))


def test_an_empty_manifest_is_refused(table: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="no rows"):
        manifest.check(table.clear())


def test_many_bad_rows_are_counted_not_listed() -> None:
    assert manifest.name_some(range(8)) == "0, 1, 2, 3, 4 and 3 more"
