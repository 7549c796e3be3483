"""A user's own cells in a table: CSV, TSV or Parquet with the manifest's columns, or a mapping to them."""

from __future__ import annotations

import difflib
import math
import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.delimited import SEPARATORS, Lines, read_lines
from cytobench.datasets.listing import refuse
from cytobench.datasets.named_images import find_images
from cytobench.datasets.survey import accept
from cytobench.errors import CardError, DataError, MissingDataError

_COORDINATES = ("x", "y", "w", "h")
_KNOWN = frozenset({*manifest.COLUMNS, *_COORDINATES})
_TOLD = 3
"""Rows named of each kind of fault."""
_INT32 = 2**31 - 1


def read(root: Path, *, columns: Mapping[str, str] | None = None, outside: bool = False) -> pl.DataFrame:
    """Return the manifest of the table file `root`; all its other columns are kept.

    `columns` maps manifest columns (also x, y, w, h) to the table's own: `{image = "file", group =
    "patient_id"}`. Image paths are relative to the table; those that leave its folder need `outside`. A box
    is `"x,y,w,h"` (a list in Parquet) or the columns x, y[, w, h]; without `sample` the image path (and box)
    names the row. Separators, line ends, encodings and decimal commas of spreadsheets are recognised. Raises
    DataError (CardError for a bad mapping) that lists all problems at once, by row counted from the header as
    row 1: values that are no numbers, images that are missing or damaged, ids that repeat. Images beside the
    named ones that no row names are told as a DataWarning.
    """
    problems: list[str] = []
    lines = _load(root, problems)
    table = renamed(lines.table, columns or {}, root)
    if "image" not in table.columns:
        raise DataError(_no_image_column(lines.table, root, problems))
    _refuse_lists(table, root)
    folder = Path(os.path.normpath(root.absolute())).parent
    images = find_images(table["image"].to_list(), folder, outside=outside)
    problems += images.problems()
    cells = RowProblems()
    boxes = _boxes(table, lines.numbers, cells)
    ready = table.drop(
        [name for name in ("image", "box", *_COORDINATES) if name in table.columns]
    ).with_columns(
        pl.Series("image", images.paths, dtype=pl.String), pl.Series("box", boxes, dtype=manifest.BOX)
    )
    if "mpp" in ready.columns:
        ready = ready.with_columns(pl.Series("mpp", _mpp(ready, lines.numbers, cells), dtype=pl.Float64))
    problems += cells.told()
    if "sample" not in ready.columns:
        names = images.names(boxes, lines.numbers)
        ready = ready.with_columns(pl.Series("sample", names, dtype=pl.String))
    made = manifest.conform(ready)
    # Whether labels and an official split are needed, and under which names, the card says.
    problems += manifest.problems_of(made.drop("split", strict=False), files=False, labels=False)
    return accept(root, made, problems, [*lines.remarks, *images.remarks()])


def _no_image_column(table: pl.DataFrame, path: Path, problems: Sequence[str]) -> str:
    found = table.columns
    hint = _nearest("image", found)
    if len(found) == 1:
        hint = f"; if these are several columns, separate them by one of {' '.join(SEPARATORS[::3])} ; or tab"
    also = f"; {'; '.join(problems)}" if problems else ""
    return (
        f"{path} has no column 'image' (found: {', '.join(found)}{hint}): "
        f'name it so, or map it with columns = {{ image = "…" }}{also}.'
    )


def _refuse_lists(table: pl.DataFrame, path: Path) -> None:
    """Only a Parquet table's boxes may be lists."""
    lists = [name for name, kind in table.schema.items() if kind.is_nested() and name in _KNOWN - {"box"}]
    if lists:
        raise DataError(f"{path}: the column {', '.join(lists)} holds lists: give it one value a row.")


class RowProblems:
    """What is wrong with single values, by kind, so that a fault repeated in every row is told once."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, sentence: str) -> None:
        """Note a sentence that names its row."""
        self._kinds.setdefault(kind, []).append(sentence)

    def told(self) -> list[str]:
        """Return the first sentences of each kind, and how many more there are."""
        told = []
        for found in self._kinds.values():
            told += found[:_TOLD]
            if len(found) > _TOLD:
                told[-1] += f" (and {len(found) - _TOLD} more rows like this)"
        return told


def _mpp(table: pl.DataFrame, numbers: Sequence[int], problems: RowProblems) -> list[float | None]:
    values = []
    for row, text in zip(numbers, table["mpp"].to_list(), strict=True):
        value = _number(text, row, "mpp", problems)
        if value is not None and value <= 0:
            problems.add("mpp", f"row {row}: mpp '{text}' is not above 0")
        values.append(value)
    return values


def load(path: Path) -> pl.DataFrame:
    """Return a table file with every column as text, empty text as null; raises DataError with all faults."""
    problems: list[str] = []
    lines = _load(path, problems)
    if problems:
        refuse(path, problems)
    return lines.table


def _load(path: Path, problems: list[str]) -> Lines:
    """Read the file with every column as text, empty text as null."""
    if not path.is_file():
        raise MissingDataError(f"The table {path} does not exist: correct dataset.path in the card.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pl.read_parquet(path)
            plain = [name for name, dtype in table.schema.items() if not dtype.is_nested()]
            table = table.with_columns(pl.col(plain).cast(pl.String))
            lines = Lines(table, tuple(range(2, len(table) + 2)))
        else:
            lines = read_lines(path, problems)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as a table ({reason}): correct the file.") from error
    if lines.table.is_empty():
        raise DataError(f"{path} has no rows: a table needs a header and a line for each image.")
    text = pl.col(pl.String)
    stripped = lines.table.with_columns(
        pl.when(text.str.strip_chars() == "").then(None).otherwise(text.str.strip_chars()).name.keep()
    )
    return Lines(stripped, lines.numbers, lines.remarks)


def renamed(table: pl.DataFrame, columns: Mapping[str, str], path: Path) -> pl.DataFrame:
    """Add each mapped column under its manifest name; the table's own name stays as well."""
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


def _boxes(table: pl.DataFrame, numbers: Sequence[int], problems: RowProblems) -> list[list[int] | None]:
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
        None if part is None else _box(part, names, row, problems)
        for row, part in zip(numbers, parts, strict=True)
    ]


def _split(box: str | Sequence[object]) -> list[str | None]:
    if isinstance(box, str):
        return list(box.strip("[]() ").replace(",", " ").split())
    return [None if part is None else str(part) for part in box]


def _box(
    parts: Sequence[str | None], names: Sequence[str], row: int, problems: RowProblems
) -> list[int] | None:
    if len(parts) not in (2, 4):
        problems.add(
            "size", f"row {row}: a box is x, y, w, h (or x, y for a point), not {len(parts)} numbers"
        )
        return None
    values = [
        _number(part, row, name, problems, most=_INT32)
        for name, part in zip(names, parts, strict=False)  # a point in `box` is two numbers
    ]
    if any(value is None for value in values):
        if any(part is None for part in parts):
            problems.add("incomplete", f"row {row}: the box is incomplete")
        return None
    return [round(value) for value in values if value is not None] + [0, 0] * (len(parts) == 2)


def _number(
    text: str | None, row: int, name: str, problems: RowProblems, *, most: float = math.inf
) -> float | None:
    """Read a number between -`most` and `most`, also with a decimal comma; None for a missing one."""
    if text is None:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        problems.add(f"{name}?", f"row {row}: {name} '{text}' is not a number")
        return None
    if not math.isfinite(value) or abs(value) > most:
        what = "too large" if math.isfinite(value) else "not finite"
        problems.add(f"{name}!", f"row {row}: {name} '{text}' is {what}")
        return None
    return value
