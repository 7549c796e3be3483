"""Which files of a folder are images, in an order no file system can change.

Links are followed like the folders and files they lead to. A link that leads nowhere, or back to a folder
above it, raises DataError: left out in silence, it would make a smaller data set.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cytobench.errors import DataError, counted, name_some

if TYPE_CHECKING:
    import polars as pl

MOST = 24
"""So many problems are told in one message; a reader tells each kind once, with its number of cases."""
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
UNFINISHED = (
    ".aria2", ".aspera-ckpt", ".crdownload", ".download", ".filepart", ".opdownload", ".part", ".partial",
)  # fmt: skip
"""How files end that a browser or another program has not finished to fetch."""
_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "$RECYCLE.BIN", "@eaDir", "System Volume Information", ".Spotlight-V100", ".Trashes"}
)
_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


def is_system(path: str) -> bool:
    """Tell whether a relative path, with `/`, was left behind by macOS, Windows or a network disk."""
    parts = [part for part in path.split("/") if part]
    last = parts[-1] if parts else ""
    return bool(_SYSTEM_FOLDERS & set(parts)) or last.lower() in _SYSTEM_FILES or last.startswith("._")


def folders_in(folder: Path) -> list[Path]:
    """Return the sub-folders by name, without hidden ones and macOS leftovers."""
    return sorted((entry for entry in _entries(folder) if entry.is_dir()), key=lambda path: path.name)


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """Return the image files by name, in any case of suffix; `deep` looks into sub-folders too."""
    return sorted(_images(folder, deep, ()), key=lambda path: path.as_posix())


def locate(root: Path, holds: Sequence[str], *, within: Sequence[str] = ()) -> Path:
    """Return the first of `root`/`within` and `root` with a sub-folder of `holds`; raises DataError."""
    for candidate in (*(root / inner for inner in within), root):
        if any((candidate / name).is_dir() for name in holds):
            return candidate
    expected = f"{within[0]}/" if within else ""
    raise DataError(
        f"{root} is not laid out like the official download: no folder {expected}{holds[0]} in it; "
        "unpack the download there without renaming its folders."
    )


def unexpected(folder: Path, known: Iterable[str]) -> list[str]:
    """Return a sentence for each sub-folder of `folder` that is missing, renamed, or not one of `known`.

    Names count as the same however their accents are written. Hidden folders and leftovers of an operating
    system are nobody's. Raises DataError when the folder cannot be read.
    """
    wanted = {unicodedata.normalize("NFC", name): name for name in known}
    there = {unicodedata.normalize("NFC", path.name): path.name for path in folders_in(folder)}
    absent = [name for name in wanted if name not in there]
    extra = [name for name in there if name not in wanted]
    problems = []
    for name in list(absent):
        folded = {one.casefold().strip(): one for one in extra}
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
        if near:
            found = folded[near[0]]
            problems.append(f"the folder {there[found]} should be called {wanted[name]}: rename it back")
            absent.remove(name)
            extra.remove(found)
    if absent:
        problems.append(f"{len(absent)} of {len(wanted)} folders missing: {name_some(sorted(absent))}")
    if extra:
        problems.append(f"folders that are not part of the download: {name_some(sorted(extra))}")
    return problems


def byte_twins(images: Iterable[Path]) -> dict[Path, Path]:
    """Map each file that repeats an earlier one (in the given order) byte for byte to that first one."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for image in images:
        by_size[image.stat().st_size].append(image)
    twins: dict[Path, Path] = {}
    for same_size in by_size.values():
        if len(same_size) > 1:
            twins |= _same_bytes(same_size)
    return twins


class RefusedError(DataError):
    """All that is wrong with a data set, in one message; `table`: the rows that could still be read."""

    def __init__(self, where: Path | str, problems: Sequence[str], table: pl.DataFrame | None = None) -> None:
        self.where, self.problems, self.table = where, tuple(problems), table
        shown = "; ".join(problem.rstrip(".") for problem in self.problems[:MOST])
        more = len(self.problems) - MOST
        tail = f"; and {counted(more, 'more problem')}" if more > 0 else ""
        super().__init__(f"{where}: {shown}{tail}.")


def refuse(where: Path | str, problems: Sequence[str]) -> NoReturn:
    """Raise one DataError that tells all `problems` found in `where`."""
    raise RefusedError(where, problems)


def _same_bytes(images: Sequence[Path]) -> dict[Path, Path]:
    first: dict[bytes, Path] = {}
    twins: dict[Path, Path] = {}
    for image in images:
        original = first.setdefault(hashlib.sha256(image.read_bytes()).digest(), image)
        if original is not image:
            twins[image] = original
    return twins


def _images(folder: Path, deep: bool, above: tuple[Path, ...]) -> list[Path]:
    """Return the image files of `folder`; `above`: where the folders it was reached through really lie."""
    place = folder.resolve()
    if place in above:
        raise DataError(f"The link {folder} leads back to {place}, a folder above it: remove the link.")
    entries = _entries(folder)
    found = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    if deep:
        inner = [entry for entry in entries if entry.is_dir()]
        found += [image for entry in inner for image in _images(entry, deep, (*above, place))]
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as listing:
            links = {entry.name: entry.is_symlink() for entry in listing}
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read ({error.strerror}): check the data folder."
        ) from error
    ours = [name for name in links if not (name.startswith(".") or is_system(name))]
    lost = sorted(name for name in ours if links[name] and not (folder / name).exists())
    if lost:
        raise DataError(f"In {folder} these links lead nowhere: {name_some(lost)}; mend or remove them.")
    return [folder / name for name in ours]
