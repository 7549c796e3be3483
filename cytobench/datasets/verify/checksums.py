"""Files compared with a list of their digests, where one lies in or beside the data set."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from cytobench.datasets.verify.files import FolderFiles
from cytobench.digests import FileDigests
from cytobench.errors import DataError, counted, name_some
from cytobench.findings import Finding
from cytobench.progress import Reporter

_LIST_NAME = re.compile(r"(sha256|checksum)", re.I)
_LINE = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{64}) [ *](?P<path>.+)")
_QUESTION = "digests as listed"


def checksums(root: Path, found: FolderFiles, digests: FileDigests, reporter: Reporter) -> Finding:
    """Compare the files with the lists in `root` and its parent: what is missing, changed, or not listed.

    A list is the output of `sha256sum` or a CSV file with the columns path and sha256, its paths relative to
    the folder it lies in.
    """
    try:
        return _compared(root, found, digests, reporter)
    except DataError as error:
        return Finding(_QUESTION, "fail", str(error))


def _compared(root: Path, found: FolderFiles, digests: FileDigests, reporter: Reporter) -> Finding:
    listed: dict[Path, str] = {}
    lists = _lists(root)
    for path in lists:
        listed |= {place: digest for place, digest in _entries(path).items() if place.is_relative_to(root)}
    if not listed:
        return Finding(_QUESTION, "skip", "No list of SHA-256 digests lies in the folder or beside it.")
    here = {path: digest for path, digest in listed.items() if path.is_file()}
    missing = [path for path in listed if path not in here]
    got = digests.sha256_many(here, reporter)
    changed = [path for (path, digest), is_ in zip(here.items(), got, strict=True) if digest != is_]
    known = {*listed, *lists}
    extra = [path for path in (*found.images, *found.others) if path not in known]
    return _told(found, lists, len(listed), missing, changed, extra)


def _told(
    found: FolderFiles,
    lists: list[Path],
    listed: int,
    missing: list[Path],
    changed: list[Path],
    extra: list[Path],
) -> Finding:
    names = name_some(path.name for path in lists)
    unlisted = f"; {counted(len(extra), 'file is', 'files are')} not in it" if extra else ""
    if not missing and not changed:
        cases = tuple(f"not listed: {found.named(path)}" for path in extra)
        says = f"All {listed:,} files are as in {names}{unlisted}."
        return Finding(_QUESTION, "warn" if extra else "pass", says, "", cases)
    wrong = ((missing, "missing"), (changed, "changed"))
    parts = [f"{len(paths):,} are {what}" for paths, what in wrong if paths]
    return Finding(
        _QUESTION,
        "fail",
        f"Of {listed:,} files in {names} {' and '.join(parts)}{unlisted}.",
        "Unpack or download these again.",
        tuple(
            f"{kind}: {found.named(path)}"
            for kind, paths in (("changed", changed), ("missing", missing), ("not listed", extra))
            for path in paths
        ),
    )


def _lists(root: Path) -> list[Path]:
    """Return the lists of digests in the folder and beside it, by name."""
    return [
        path
        for folder in (root.parent, root)
        for path in sorted(folder.iterdir())
        if path.is_file() and _LIST_NAME.search(path.name) and not path.name.startswith(".")
    ]


def _entries(path: Path) -> Mapping[Path, str]:
    """Return the digest of each file a list names; raises DataError for one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list of digests {path} cannot be read ({error}): mend or remove it.") from error
    lines = text.splitlines()
    if lines and "sha256" in lines[0].lower().split(","):
        rows = [{key.strip().lower(): value for key, value in row.items() if key} for row in _rows(lines)]
        pairs = [(row.get("path") or "", row.get("sha256") or "") for row in rows]
    else:
        pairs = [(match["path"], match["digest"]) for line in lines if (match := _LINE.fullmatch(line))]
    return {path.parent / name.removeprefix("./"): digest.lower() for name, digest in pairs if name}


def _rows(lines: list[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(lines))
