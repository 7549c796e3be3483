"""The label files of public data sets: a CSV of any separator and line end, with the columns one needs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

SEPARATORS = ",;\t"


def read_labels(path: Path, columns: Sequence[str], problems: list[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV as texts without blanks around them, keyed by its own column names.

    Comma, semicolon or tab, Unix or Windows line ends, with or without a byte-order mark. What is wrong (no
    such file, not UTF-8, columns that are not there, cells beyond the last column) is added to `problems`,
    and then there are no lines.
    """
    if not path.is_file():
        problems.append(f"{path.name} is missing")
        return []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(f"{path.name} is not UTF-8 text (byte {error.start}): save it as UTF-8")
        return []
    head = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    found = [name.strip() for name in reader.fieldnames or ()]
    absent = [name for name in columns if name not in found]
    if absent:
        problems.append(
            f"{path.name} lacks the columns {', '.join(absent)} (it has {', '.join(found) or 'none'})"
        )
        return []
    reader.fieldnames = found
    lines = list(reader)
    long = [f"{number}" for number, line in enumerate(lines, start=2) if None in line]
    if long:
        problems.append(f"{path.name} has lines with more cells than columns: {', '.join(long[:5])}")
        return []
    return [{name: (value or "").strip() for name, value in line.items()} for line in lines]
