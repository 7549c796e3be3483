"""Items class by class against what was published, and class folders under other names."""

from __future__ import annotations

import difflib
import re

import polars as pl

from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.verify.files import FolderFiles
from cytobench.errors import counted
from cytobench.findings import Finding

_QUESTION = "items as published"
_OVER, _NEARLY = 1.01, 0.95
_LIKE = 0.6


def class_counts(info: DatasetInfo, table: pl.DataFrame) -> Finding:
    """Compare the items of each class with the published counts; a subset is told, not refused.

    `table`: the reader's rows. More than published points to copies or augmented versions: a failure.
    """
    if not info.items:
        return Finding(
            _QUESTION,
            "skip",
            f"No published counts are known; {counted(len(table), 'item is', 'items are')} here.",
        )
    if not info.counts:
        return _told(info, {}, len(table))
    column = table[info.counted].drop_nulls()
    found = {str(name): int(n) for name, n in column.value_counts().iter_rows()}
    return _told(info, found, sum(found.values()))


def class_folders(info: DatasetInfo, found: FolderFiles) -> list[Finding]:
    """Name folders that are probably classes under another name: of a set with folders named by class."""
    there = {folder.name for folder in found.folders}
    missing = [name for name in info.counts if name not in there]
    if not missing or len(missing) == len(info.counts):
        return []  # complete, or not laid out by class
    extra = sorted(there - set(info.counts))
    by_letters = {_letters(name): name for name in extra}
    cases, renamed = [], False
    for name in missing:
        near = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=_LIKE)
        guess = f": is it the folder {by_letters[near[0]]}?" if near else ""
        renamed = renamed or bool(near)
        cases.append(f"no folder {name}{guess}")
    return [
        Finding(
            "class folders",
            "fail" if renamed else "warn",
            f"{len(missing)} of {len(info.counts)} class folders missing: {'; '.join(cases)}.",
            "Give the folders their official names, or unpack the download again.",
            tuple(cases),
        )
    ]


def _told(info: DatasetInfo, found: dict[str, int], here: int) -> Finding:
    unknown = [f"{name} {n:,}{_guess(name, info)}" for name, n in found.items() if name not in info.counts]
    pairs = {name: (found.get(name, 0), published) for name, published in info.counts.items()}
    cases = tuple(f"{name}: {n:,} of {of:,}" for name, (n, of) in pairs.items() if n != of)
    over = [name for name, (n, of) in pairs.items() if n > of * _OVER]
    if unknown:
        says = (
            f"{counted(len(unknown), 'class is', 'classes are')} not in the published set: "
            f"{', '.join(sorted(unknown))}."
        )
        return Finding(_QUESTION, "fail", says, "Rename them as published, or move them away.", cases)
    if over or here > info.items * _OVER:
        says = f"{here:,} items where {info.items:,} were published{_named(over)}."
        return Finding(
            _QUESTION, "fail", says, "Copies or augmented versions are mixed in: move them away.", cases
        )
    if here == info.items and not cases:
        kinds = f" in {len(info.counts)} classes" if info.counts else ""
        return Finding(_QUESTION, "pass", f"{here:,} items{kinds}, as published.")
    if here > info.items * _NEARLY:
        says = f"{here:,} of the {info.items:,} published items."
        cure = "The rest is missing here, or left out by the reader: see its remarks."
        return Finding(_QUESTION, "warn", says, cure, cases)
    none = [name for name, (n, _) in pairs.items() if not n]
    lacking = f"; none of {', '.join(none)}" if none else ""
    says = f"{here:,} of the {info.items:,} published items ({here / info.items:.0%}){lacking}."
    return Finding(_QUESTION, "warn", says, "Scores are not comparable with those on the full set.", cases)


def _named(names: list[str]) -> str:
    return f" (too many of {', '.join(names)})" if names else ""


def _guess(name: str, info: DatasetInfo) -> str:
    by_letters = {_letters(known): known for known in info.counts}
    near = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=_LIKE)
    return f" (is it {by_letters[near[0]]}?)" if near else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())
