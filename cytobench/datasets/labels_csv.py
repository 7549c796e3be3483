"""The label files of public data sets: the columns one needs of a table as spreadsheets save it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from cytobench.datasets import DataWarning
from cytobench.datasets.delimited import read_lines
from cytobench.errors import DataError


def read_labels(path: Path, columns: Sequence[str], problems: list[str]) -> list[dict[str, str]]:
    """Return the lines of a table as texts without blanks around them, keyed by its own column names.

    Separators, line ends and encodings are those of `read_lines`. What is wrong (no such file, not UTF-8,
    columns that are not there, lines longer or shorter than the header) is added to `problems`, and then
    there are no lines; that empty lines were left out is a DataWarning.
    """
    if not path.is_file():
        problems.append(f"{path.name} is missing")
        return []
    wrong: list[str] = []
    try:
        read = read_lines(path, wrong)
    except DataError as error:
        problems.append(str(error).rstrip("."))
        return []
    absent = [name for name in columns if name not in read.table.columns]
    if absent:
        wrong.append(f"lacks the columns {', '.join(absent)} (it has {', '.join(read.table.columns)})")
    problems += [f"{path.name}: {problem}" for problem in wrong]
    for remark in read.remarks:
        warnings.warn(f"{path.name}: {remark}.", DataWarning, stacklevel=2)
    if wrong:
        return []
    return [{name: (value or "").strip() for name, value in line.items()} for line in read.table.to_dicts()]
