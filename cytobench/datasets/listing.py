"""What the files of a folder are, and which of them are images, in an order no file system can change.

Links are followed like the folders and files they lead to. A link that leads nowhere, or back to a folder
above it, is an error: left out in silence, it would make a smaller data set.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from cytobench.errors import DataError, counted, name_some

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["image", "other", "unfinished", "system", "hidden", "folder", "dead", "circle", "closed"]

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


def walk(folder: Path, enter: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[Kind, str]]:
    """Yield what lies in `folder`, in no order: its kind, and its path below `folder` with `/`.

    enter: whether to look into a sub-folder, by that path. Nothing is raised and no file is opened or asked
    for its size, so that a hundred thousand are listed in a second. Kinds: `image`, by its suffix in any
    case; `unfinished`, a download that was broken off; `system`, what macOS, Windows or a network disk left
    behind; `hidden`, another name with a dot in front; `other` files; `folder`; `dead` and `circle`, links
    that lead nowhere or back to a folder above; `closed`, a folder that cannot be read ("" for the first).
    """
    yield from _walk(os.path.abspath(folder), "", (), enter)  # noqa: PTH100 - links are kept


def folders_in(folder: Path) -> list[Path]:
    """Return the sub-folders by name, without hidden ones and macOS leftovers."""
    return [folder / name for name in _listed(folder, "folder", lambda _: False)]


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """Return the image files by name, in any case of suffix; `deep` looks into sub-folders too."""
    return [folder / name for name in _listed(folder, "image", lambda _: deep)]


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


def _walk(
    folder: str, above: str, places: tuple[str, ...], enter: Callable[[str], bool]
) -> Iterator[tuple[Kind, str]]:
    """`above`: the path of `folder` below the first one; `places`: where the folders above it really lie."""
    place = os.path.realpath(folder)
    if any(f"{one}{os.sep}".startswith(f"{place}{os.sep}") for one in places):
        yield "circle", above.rstrip("/")
        return
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError:
        yield "closed", above.rstrip("/")
        return
    for entry in entries:
        below = above + entry.name
        if is_system(entry.name):
            yield from _left_behind(entry, below)
        elif entry.name.startswith("."):
            yield "hidden", below
        elif entry.is_dir():
            yield "folder", below
            if enter(below):
                yield from _walk(entry.path, f"{below}/", (*places, place), enter)
        elif entry.is_symlink() and not Path(entry.path).exists():
            yield "dead", below
        else:
            yield _kind(entry.name), below


def _kind(name: str) -> Kind:
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a Path for each of 100,000 is slow
    if suffix in IMAGE_SUFFIXES:
        return "image"
    half = suffix == ".tmp" and stem.endswith(tuple(IMAGE_SUFFIXES))
    return "unfinished" if half or suffix in UNFINISHED else "other"


def _left_behind(entry: os.DirEntry[str], below: str) -> Iterator[tuple[Kind, str]]:
    """Yield the files of a folder of the operating system, or the file or empty folder itself."""
    files = [path for path in Path(entry.path).rglob("*") if path.is_file()] if entry.is_dir() else []
    for path in files:
        yield "system", f"{below}/{path.relative_to(entry.path).as_posix()}"
    if not files:
        yield "system", below


def _listed(folder: Path, kind: Kind, enter: Callable[[str], bool]) -> list[str]:
    """Return the names of one kind, sorted; raises DataError for links and folders that lead nowhere."""
    found = list(walk(folder, enter))
    lost = sorted(below for one, below in found if one == "dead")
    for one, below in sorted(found):
        if one == "circle":
            raise DataError(f"The link {folder / below} leads back to a folder above it: remove the link.")
        if one == "closed":
            raise DataError(
                f"The folder {folder / below} cannot be read: check that it exists, and its rights."
            )
    if lost:
        raise DataError(f"In {folder} these links lead nowhere: {name_some(lost)}; mend or remove them.")
    return sorted(below for one, below in found if one == kind)
