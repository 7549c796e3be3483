"""A user's own cells in a table: CSV, TSV or Parquet with the manifest's columns, or a mapping to them."""

from __future__ import annotations

import csv
import difflib
import math
import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import is_inside
from cytobench.datasets.listing import refuse
from cytobench.errors import CardError, DataError, MissingDataError

_COORDINATES = ("x", "y", "w", "h")
_KNOWN = frozenset({*manifest.COLUMNS, *_COORDINATES})
_SEPARATORS = (",", ";", "\t", "|")
_INT32 = 2**31 - 1


def read(root: Path, *, columns: Mapping[str, str] | None = None, outside: bool = False) -> pl.DataFrame:
    """Return the manifest of the table file `root`; all its other columns are kept.

    `columns` maps manifest columns (also x, y, w, h) to the table's own: `{image = "file", group =
    "patient_id"}`. Image paths are relative to the table; those that leave its folder need `outside`. A box
    is `"x,y,w,h"` (a list in Parquet) or the columns x, y[, w, h]; without `sample` the image path (and box)
    names the row. Separators and a byte-order mark are recognised. Raises DataError (CardError for a bad
    mapping) that lists all problems by row, counted from the header as row 1.
    """
    raw = load(root)
    table = renamed(raw, columns or {}, root)
    if "image" not in table.columns:
        found = ", ".join(raw.columns)
        raise DataError(
            f"{root} has no column 'image' (found: {found}): "
            'name it so, or map it with columns = { image = "…" }.'
        )
    _refuse_lists(table, root)
    problems: list[str] = []
    folder = Path(os.path.normpath(root.absolute())).parent
    paths = _image_paths(table["image"].to_list(), folder, outside=outside, problems=problems)
    boxes = _boxes(table, problems)
    ready = table.drop(
        [name for name in ("image", "box", *_COORDINATES) if name in table.columns]
    ).with_columns(pl.Series("image", paths, dtype=pl.String), pl.Series("box", boxes, dtype=manifest.BOX))
    if "mpp" in ready.columns:
        ready = ready.with_columns(pl.Series("mpp", _mpp(ready, problems), dtype=pl.Float64))
    if problems:
        refuse(root, problems)
    if "sample" not in ready.columns:
        ready = ready.with_columns(pl.Series("sample", _names(paths, boxes, folder), dtype=pl.String))
    return manifest.conform(ready)


def _refuse_lists(table: pl.DataFrame, path: Path) -> None:
    """Only a Parquet table's boxes may be lists."""
    lists = [name for name, kind in table.schema.items() if kind.is_nested() and name in _KNOWN - {"box"}]
    if lists:
        raise DataError(f"{path}: the column {', '.join(lists)} holds lists: give it one value a row.")


def _mpp(table: pl.DataFrame, problems: list[str]) -> list[float | None]:
    values = []
    for row, text in enumerate(table["mpp"].to_list(), start=2):
        value = _number(text, f"row {row}: mpp", problems)
        if value is not None and value <= 0:
            problems.append(f"row {row}: mpp '{text}' is not above 0")
        values.append(value)
    return values


def load(path: Path) -> pl.DataFrame:
    """Return the table in a CSV, TSV or Parquet file, every column as text, empty text as null.

    Raises MissingDataError, or DataError where the file cannot be read.
    """
    if not path.is_file():
        raise MissingDataError(f"The table {path} does not exist: correct dataset.path in the card.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pl.read_parquet(path)
            plain = [name for name, dtype in table.schema.items() if not dtype.is_nested()]
            table = table.with_columns(pl.col(plain).cast(pl.String))
        else:
            table = _load_text(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as a table ({reason}): correct the file.") from error
    if table.is_empty():
        raise DataError(f"{path} has no rows: a table needs a header and a line for each image.")
    text = pl.col(pl.String)
    return table.with_columns(
        pl.when(text.str.strip_chars() == "").then(None).otherwise(text.str.strip_chars()).name.keep()
    )


def _load_text(path: Path) -> pl.DataFrame:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): save it as UTF-8 CSV.") from error
    header = next((line for line in content.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} names the column {', '.join(twice)} twice: rename one.")
    lines = content.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    table = pl.read_csv(lines.encode(), separator=separator, infer_schema_length=0)
    return table.rename({name: name.strip() for name in table.columns})


def renamed(table: pl.DataFrame, columns: Mapping[str, str], path: Path) -> pl.DataFrame:
    """Return `table` with each mapped column under its manifest name too; raises CardError."""
    unknown = sorted(set(columns) - _KNOWN)
    if unknown:
        raise CardError(
            f"The card's columns for {path} name {', '.join(unknown)}, which the manifest does not have: "
            f"known are {', '.join(sorted(_KNOWN))}."
        )
    lost = [name for name in columns.values() if name not in table.columns]
    if lost:
        hints = [f"'{name}'{_nearest(name, table.columns)}" for name in lost]
        raise CardError(f"{path} has no column {', '.join(hints)}: correct the card's columns.")
    return table.with_columns(pl.col(theirs).alias(ours) for ours, theirs in columns.items())


def _nearest(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _image_paths(
    written: Sequence[str | None], folder: Path, *, outside: bool, problems: list[str]
) -> list[str | None]:
    paths: list[str | None] = []
    escaped: list[str] = []
    nameless = 0
    for text in written:
        if text is None:
            nameless += 1
            paths.append(None)
            continue
        path = Path(os.path.normpath((folder / text.replace("\\", "/")).absolute()))
        if not outside and not is_inside(path, folder):
            escaped.append(text)
        paths.append(str(path))
    if nameless:
        problems.append(f"{nameless} rows name no image")
    if escaped:
        some = manifest.name_some(dict.fromkeys(escaped))
        problems.append(
            f"images outside {folder}: {some}; move them there, or say outside = true in the card's dataset"
        )
    return paths


def _boxes(table: pl.DataFrame, problems: list[str]) -> list[list[int] | None]:
    """Return [x, y, w, h] a row: from the column `box`, else from x, y and (for boxes, not points) w, h."""
    names: Sequence[str] = ["box"] * 4
    if "box" in table.columns:
        parts = [None if box is None else _split(box) for box in table["box"].to_list()]
    elif "x" in table.columns and "y" in table.columns:
        names = [name for name in _COORDINATES if name in table.columns]
        parts = [
            None if all(v is None for v in row) else list(row) for row in table.select(names).iter_rows()
        ]
    else:
        return [None] * len(table)
    return [
        None if part is None else _box(part, names, f"row {row}", problems)
        for row, part in enumerate(parts, start=2)
    ]


def _split(box: str | Sequence[object]) -> list[str | None]:
    if isinstance(box, str):
        return list(box.strip("[]() ").replace(",", " ").split())
    return [None if part is None else str(part) for part in box]


def _box(
    parts: Sequence[str | None], names: Sequence[str], where: str, problems: list[str]
) -> list[int] | None:
    if len(parts) not in (2, 4):
        problems.append(f"{where}: a box is x, y, w, h (or x, y for a point), not {len(parts)} numbers")
        return None
    values = [
        _number(part, f"{where}: {name}", problems, most=_INT32)
        for name, part in zip(names, parts, strict=False)  # a point in `box` is two numbers
    ]
    if any(value is None for value in values):
        if any(part is None for part in parts):
            problems.append(f"{where}: the box is incomplete")
        return None
    return [round(value) for value in values if value is not None] + [0, 0] * (len(parts) == 2)


def _number(text: str | None, where: str, problems: list[str], *, most: float = math.inf) -> float | None:
    """Read a number between -`most` and `most`, also with a decimal comma; None for a missing one."""
    if text is None:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        problems.append(f"{where} '{text}' is not a number")
        return None
    if not math.isfinite(value) or abs(value) > most:
        problems.append(f"{where} '{text}' is " + ("too large" if math.isfinite(value) else "not finite"))
        return None
    return value


def _names(paths: Sequence[str | None], boxes: Sequence[list[int] | None], folder: Path) -> list[str]:
    """Name rows by image path (relative to the table, or to what images elsewhere have in common) and box."""
    given = [Path(path) for path in paths if path is not None]
    bounds = folder if all(is_inside(path, folder) for path in given) else _shared(given)
    stems = [path.relative_to(bounds).as_posix() for path in given]
    return [
        stem if box is None else f"{stem}#{','.join(map(str, box))}"
        for stem, box in zip(stems, boxes, strict=True)
    ]


def _shared(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))
