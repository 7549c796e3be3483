"""A table as spreadsheets save it: whatever separator, line ends, byte-order mark or encoding it has."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench.datasets.survey import same_letters
from cytobench.errors import DataError, counted, name_some

SEPARATORS = (",", ";", "\t", "|")
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True)
class Lines:
    """Rows of text and where they stand: `numbers`, int a row, counts from the header as row 1.

    `remarks`: what was left out, a sentence each.
    """

    table: pl.DataFrame
    numbers: tuple[int, ...]
    remarks: tuple[str, ...] = ()


def read_lines(path: Path, problems: list[str]) -> Lines:
    """Read a delimited text file with every value as text; what is wrong with single rows joins `problems`.

    The separator is the one of `SEPARATORS` that parts the header into most columns, or that of Excel's first
    line `sep=;`. UTF-8 and UTF-16 are read; of another encoding the rows are named. Raises DataError when no
    row can be told from another.
    """
    content, foreign = _decode(path)
    content, separator = _separator(content)
    records = _records(path, content, separator)
    if not records:
        raise DataError(f"{path} has no rows: a table needs a header and a line for each image.")
    (_, header), *rows = records
    header = [name.strip() for name in header]
    while header and not header[-1]:
        header.pop()
    _require_names(path, header)
    empty = [number for number, values in rows if not any(value.strip() for value in values)]
    filled = [(number, values) for number, values in rows if any(value.strip() for value in values)]
    remarks = (
        [
            (
                f"{counted(len(empty), 'row is empty and was', 'rows are empty and were')} left out (row "
                f"{name_some(empty)})"
            )
        ]
        if empty
        else []
    )
    _tell_uneven(filled, len(header), separator, problems)
    _tell_foreign(filled, foreign, problems)
    columns = {
        name: [same_letters(values[place]) if place < len(values) else None for _, values in filled]
        for place, name in enumerate(header)
    }
    numbers = tuple(number for number, _ in filled)
    return Lines(pl.DataFrame(columns, schema=dict.fromkeys(header, pl.String)), numbers, tuple(remarks))


def _decode(path: Path) -> tuple[str, bool]:
    """Return the text, and whether it had to be guessed that it is Windows' own encoding."""
    raw = path.read_bytes()
    if raw.startswith(_WORKBOOK):
        raise DataError(f"{path} is a workbook or archive, not text: save it as 'CSV UTF-8'.")
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "")
    if not encoding and b"\0" in raw[:200]:
        encoding = "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
    try:
        return raw.decode(encoding or "utf-8"), False
    except UnicodeDecodeError as error:
        if encoding:
            raise DataError(
                f"{path} breaks off or is damaged (it begins as {encoding}, and {error.reason} at byte "
                f"{error.start}): save it as 'CSV UTF-8'."
            ) from error
    return raw.decode("cp1252", errors="replace"), True


def _separator(content: str) -> tuple[str, str]:
    """Return the content without Excel's `sep=` line, and the separator."""
    named = re.match(r'\s*"?sep=(.)"?[^\S\t]*(\r\n|\r|\n)', content, flags=re.IGNORECASE)
    if named:
        return content[named.end() :], named[1]
    header = content.lstrip("\r\n ")[:100_000]

    def columns(separator: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(header, newline=""), delimiter=separator), []))
        except csv.Error:
            return 0

    return content, max(SEPARATORS, key=columns)


def _records(path: Path, content: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the rows with their numbers, from the header on; a line break within quotation marks is text."""
    reader = csv.reader(io.StringIO(content.lstrip("\r\n"), newline=""), delimiter=separator, strict=True)
    records = []
    try:
        for number, values in enumerate(reader, start=1):
            records.append((number, [value.replace("\r\n", "\n") for value in values]))
    except csv.Error as error:
        row = len(records) + 1
        raise DataError(
            f"{path} cannot be read as a table from row {row} on ({error}): look for a quotation mark that "
            "is never closed, or for a file that breaks off."
        ) from error
    return records


def _require_names(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if "" in twice or "" in header:
        raise DataError(f"{path} has a column without a name (column {header.index('') + 1}): name it.")
    if twice:
        raise DataError(f"{path} names the column {', '.join(twice)} twice: rename one.")


def _tell_uneven(rows: list[tuple[int, list[str]]], width: int, separator: str, problems: list[str]) -> None:
    short = [number for number, values in rows if len(values) < width]
    long = [number for number, values in rows if any(value.strip() for value in values[width:])]
    called = {"\t": "tab"}.get(separator, f"'{separator}'")
    if short:
        problems.append(
            f"{counted(len(short), 'row has', 'rows have')} fewer values than the header's {width} (row "
            f"{name_some(short)}): the file may break off"
        )
    if long:
        problems.append(
            f"{counted(len(long), 'row has', 'rows have')} more values than the header's {width} (row "
            f"{name_some(long)}): a value with a {called} in it (a decimal comma?) needs quotation marks"
        )


def _tell_foreign(rows: list[tuple[int, list[str]]], foreign: bool, problems: list[str]) -> None:
    """Name the rows that are not UTF-8: read as Windows' Western encoding they may or may not be right."""
    if not foreign:
        return
    strange = [(number, value) for number, values in rows for value in values if not value.isascii()]
    where = name_some(f"row {number}: '{value}'" for number, value in strange) or "the header"
    problems.append(
        f"it is not UTF-8 text but perhaps Windows-1252 (read so, {where}): save it as 'CSV UTF-8'"
    )
