"""The one table every stage reads: a row per cell, field or tile."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench.errors import DataError, counted
from cytobench.errors import name_some as name_some

BOX = pl.Array(pl.Int32, 4)
"""Type of the `box` column: x, y, width, height in pixels; null means the whole image, w = h = 0 a point."""

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.String,
    "image": pl.String,
    "box": BOX,
    "label": pl.String,
    "bag": pl.String,
    "group": pl.String,
    "patient": pl.String,
    "slide": pl.String,
    "site": pl.String,
    "stain": pl.String,
    "scanner": pl.String,
    "mpp": pl.Float64,
    "split": pl.String,
}
"""The manifest's known columns and their types; a reader may add columns of its own."""

REQUIRED = ("sample", "image", "box", "label")
SPLITS = ("train", "val", "test")


def conform(table: pl.DataFrame) -> pl.DataFrame:
    """Return `table` with known columns cast to their types, required ones added as null, sorted by sample.

    Raises DataError when a column cannot be cast.
    """
    missing = [
        pl.lit(None, dtype=COLUMNS[name]).alias(name) for name in REQUIRED if name not in table.columns
    ]
    full = table.with_columns(missing) if missing else table
    for name, dtype in COLUMNS.items():
        if name in full.columns and full.schema[name] != dtype:
            full = _cast(full, name, dtype)
    return full.sort("sample")


def check(table: pl.DataFrame, *, where: str = "the manifest") -> None:
    """Raise one DataError that lists every problem of `table` with the rows concerned.

    Looked for: missing columns, empty tables, repeated or missing sample ids, missing labels, image files
    that are not there, boxes of negative size, unknown split names, groups and bags that lie in two splits.
    """
    absent = [name for name in REQUIRED if name not in table.columns]
    if absent:
        raise DataError(f"{where} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}.")
    if table.is_empty():
        raise DataError(f"{where} has no rows; check that the folder holds the data set's images.")
    problems = problems_of(table)
    if problems:
        raise DataError(f"{where}: " + "; ".join(problems) + ".")


def problems_of(table: pl.DataFrame, *, files: bool = True, labels: bool = True) -> list[str]:
    """Return a sentence for each kind of problem of the rows of `table`, which has all REQUIRED columns.

    `files`: look for the image files too; `labels`: and for rows without a label.
    """
    return [
        *_bad_ids(table),
        *(_missing_labels(table) if labels else []),
        *(_missing_images(table) if files else []),
        *_bad_boxes(table),
        *split_problems(table),
    ]


def _cast(table: pl.DataFrame, name: str, dtype: pl.DataType | type[pl.DataType]) -> pl.DataFrame:
    try:
        return table.with_columns(pl.col(name).cast(dtype))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"The column '{name}' cannot be read as {dtype}: {error}") from error


def _bad_ids(table: pl.DataFrame) -> list[str]:
    found = []
    nameless = table.filter(pl.col("sample").is_null() | (pl.col("sample") == ""))
    if len(nameless):
        found.append(f"{counted(len(nameless), 'row has', 'rows have')} no sample id")
    repeated = table.filter(pl.col("sample").is_not_null() & pl.col("sample").is_duplicated())
    if len(repeated):
        names = repeated["sample"].unique(maintain_order=True)
        found.append(
            f"{counted(len(names), 'sample id occurs', 'sample ids occur')} more than once: "
            f"{name_some(names)}"
        )
    return found


def _missing_labels(table: pl.DataFrame) -> list[str]:
    rows = table.filter(pl.col("label").is_null() | (pl.col("label") == ""))
    return (
        [f"{counted(len(rows), 'row has', 'rows have')} no label: {name_some(rows['sample'])}"]
        if len(rows)
        else []
    )


def _missing_images(table: pl.DataFrame) -> list[str]:
    lost = [image for image in table["image"].unique(maintain_order=True) if not _is_file(image)]
    return (
        [f"{counted(len(lost), 'image file does', 'image files do')} not exist: {name_some(lost)}"]
        if lost
        else []
    )


def _is_file(image: str | None) -> bool:
    return image is not None and Path(image).is_file()


def _bad_boxes(table: pl.DataFrame) -> list[str]:
    if table["box"].is_null().all():
        return []
    sizes = table.filter(pl.col("box").is_not_null())
    rows = sizes.filter((pl.col("box").arr.get(2) < 0) | (pl.col("box").arr.get(3) < 0))
    return (
        [f"{counted(len(rows), 'box has', 'boxes have')} a negative size: {name_some(rows['sample'])}"]
        if len(rows)
        else []
    )


def split_problems(table: pl.DataFrame) -> list[str]:
    """Return what is wrong with an official split: unknown names, groups and bags that lie in two parts."""
    if "split" not in table.columns:
        return []
    found = []
    unknown = table.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(SPLITS))
    if len(unknown):
        found.append(
            f"unknown split names {name_some(unknown['split'].unique().sort())} (known: {', '.join(SPLITS)})"
        )
    for unit in ("group", "bag"):
        if unit in table.columns:
            found += _torn(table, unit)
    return found


def _torn(table: pl.DataFrame, unit: str) -> list[str]:
    counts = table.drop_nulls([unit, "split"]).group_by(unit).agg(pl.col("split").n_unique().alias("n"))
    torn = counts.filter(pl.col("n") > 1)[unit].sort()
    if not len(torn):
        return []
    many = counted(len(torn), f"{unit} lies", f"{unit}s lie")
    return [f"{many} in more than one split: {name_some(torn)}"]
