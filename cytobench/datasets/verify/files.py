"""Every file and folder of a data set, and which of them do not belong there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import polars as pl

from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.listing import IMAGE_SUFFIXES, UNFINISHED, is_system
from cytobench.errors import counted
from cytobench.findings import Finding

_UNFINISHED = (*UNFINISHED, ".unpacking", ".tmp")
_PACKED = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")


@dataclass(frozen=True)
class FolderFiles:
    """What lies below `root`: images, other files, leftovers of systems, hidden files, and all folders.

    `lost_links` lead nowhere; `closed` folders cannot be read.
    """

    root: Path
    images: tuple[Path, ...]
    others: tuple[Path, ...]
    system: tuple[Path, ...]
    hidden: tuple[Path, ...]
    folders: tuple[Path, ...]
    lost_links: tuple[Path, ...]
    closed: tuple[Path, ...] = ()

    def named(self, path: Path) -> str:
        """Return a path relative to the root."""
        return path.relative_to(self.root).as_posix()


def walk(root: Path) -> FolderFiles:
    """Return everything below `root`; links are followed, those that lead nowhere or in circles are not."""
    kinds: dict[str, list[Path]] = {kind: [] for kind in ("images", "others", "system", "hidden", "lost")}
    folders: list[Path] = []
    closed: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    for place, inner, files in os.walk(root, followlinks=True, onerror=closed.append):
        in_system = is_system(Path(place).relative_to(root).as_posix())
        here = Path(place).stat()
        if (here.st_dev, here.st_ino) in seen:
            inner.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        inner.sort()
        own = [name for name in inner if not (in_system or is_system(name) or name.startswith("."))]
        folders += [Path(place, name) for name in own]
        for name in sorted(files):
            path = Path(place, name)
            kinds[_kind(path, root)].append(path)
    return FolderFiles(
        root,
        tuple(kinds["images"]),
        tuple(kinds["others"]),
        tuple(kinds["system"]),
        tuple(kinds["hidden"]),
        tuple(folders),
        tuple(kinds["lost"]),
        tuple(Path(str(error.filename)) for error in closed),
    )


def is_expected(relative: str, name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a file matches one of a data set's patterns of files that the reader leaves alone."""
    return any(fnmatch(relative, pattern) or fnmatch(name, pattern) for pattern in patterns)


def unread_images(info: DatasetInfo, found: FolderFiles, table: pl.DataFrame) -> Finding:
    """Tell which images no row of `table` names, folder by folder, without those that are rightly left."""
    read = set(table["image"].to_list())
    unread = [path for path in found.images if str(path.absolute()) not in read]
    expected = [path for path in unread if is_expected(found.named(path), path.name, info.unread)]
    rightly = set(expected)
    rest = [path for path in unread if path not in rightly]
    left = f" (rightly left alone: {counted(len(expected), 'mask')} or the like)" if expected else ""
    question = "images nobody reads"
    if not rest:
        return Finding(question, "pass", f"Every image is read{left}.")
    by_folder = Counter(found.named(path.parent) for path in rest)
    named = ", ".join(f"{n:,} in {folder}" for folder, n in by_folder.most_common(5))
    more = f" and {len(by_folder) - 5} more folders" if len(by_folder) > 5 else ""
    return Finding(
        question,
        "warn",
        f"{len(rest):,} of {len(found.images):,} images not read: {named}{more}{left}.",
        "Unlabelled, left out by the reader, or in a folder that is not part of the set.",
        tuple(found.named(path) for path in rest),
    )


def odd_names(found: FolderFiles) -> list[Finding]:
    """Tell files and folders whose names other systems may change: letters outside ASCII."""
    paths = (*found.folders, *found.images, *found.others)
    odd = tuple(found.named(path) for path in paths if not path.name.isascii())
    if not odd:
        return [Finding("names", "pass", "All names are plain ASCII.")]
    return [
        Finding(
            "names",
            "warn",
            f"{counted(len(odd), 'name has', 'names have')} letters outside ASCII, which archives and other "
            "systems may change.",
            "Nothing to do here; rename them before you share the folder.",
            odd,
        )
    ]


def leftovers(found: FolderFiles) -> list[Finding]:
    """Tell what does not belong: leftovers of macOS and Windows, unfinished downloads, empty folders."""
    parts = found.others + found.hidden
    unfinished = [path for path in parts if path.name.lower().endswith(_UNFINISHED)]
    packed = [path for path in found.others if path.name.lower().endswith(_PACKED)]
    filled = {parent for path in (*found.images, *parts) for parent in path.parents}
    empty = [folder for folder in found.folders if folder not in filled]
    lost = list(found.lost_links)
    told = (
        ("unfinished downloads", "fail", unfinished, "Download or unpack them again."),
        ("folders that cannot be read", "fail", list(found.closed), "Check their rights."),
        ("links that lead nowhere", "fail", lost, "Mend or remove them."),
        ("empty folders", "warn", empty, "Unpack the download again, or remove them."),
        ("archives", "warn", packed, "Unpack them, or move them out of the data set."),
        ("files of macOS or Windows", "warn", list(found.system), "They are not read; remove them."),
        ("hidden files", "warn", list(found.hidden), "They are not read."),
    )
    findings = [
        Finding(name, mark, f"{len(paths):,} {name}.", cure, tuple(map(found.named, paths)))  # type: ignore[arg-type]
        for name, mark, paths, cure in told
        if paths
    ]
    clean = "No unfinished downloads, lost links, empty folders or files of other systems."
    return findings or [Finding("leftovers", "pass", clean)]


def _kind(path: Path, root: Path) -> str:
    if is_system(path.relative_to(root).as_posix()):
        return "system"
    if path.is_symlink() and not path.exists():
        return "lost"
    if path.name.startswith("."):
        return "hidden"
    return "images" if path.suffix.lower() in IMAGE_SUFFIXES else "others"
