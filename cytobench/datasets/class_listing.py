"""Images sorted into folders named by their class: what is there, what is missing, what does not belong.

Large sets are listed in one pass without a look at each file, and everything found wrong is told at once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cytobench.datasets import DataWarning
from cytobench.datasets.listing import IMAGE_SUFFIXES, UNFINISHED, folders_in, is_system, refuse
from cytobench.errors import DataError, counted, name_some

_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tar.gz", ".tgz", ".npz")


class ClassImage(NamedTuple):
    """One image: its class, its path below the class folder (with `/`), and its absolute path."""

    label: str
    below: str
    path: str

    @property
    def name(self) -> str:
        """The file name, with its suffix."""
        return self.below.rpartition("/")[2]


@dataclass
class Found:
    """What class folders hold: `images` in order, `problems` that forbid use, what was `left_out` of them."""

    images: list[ClassImage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def checked(self, folder: Path) -> list[ClassImage]:
        """Return the images; raises one DataError with all problems, else warns of all that was left out."""
        if self.problems:
            refuse(folder, [*self.problems, *self.left_out])
        tell(folder, self.left_out)
        return self.images


def tell(folder: Path, left_out: Sequence[str]) -> None:
    """Warn of what was left out of `folder`, in one DataWarning."""
    if left_out:
        warnings.warn(f"{folder}: {'; '.join(left_out)}", DataWarning, stacklevel=3)


def find_folder(root: Path, holds: Sequence[str], *, depth: int = 3) -> Path:
    """Return the folder, `root` or at most `depth` levels below, that has one of the sub-folders `holds`.

    Case does not count. Raises DataError when there is none, saying which archives wait to be unpacked, or
    when several stand side by side: two copies must never be mixed.
    """
    wanted = {name.casefold() for name in holds}
    level, seen = [root], 0
    while level and seen <= depth:
        inner = {folder: folders_in(folder) for folder in level}
        found = [folder for folder, subs in inner.items() if wanted & {sub.name.casefold() for sub in subs}]
        if len(found) > 1:
            copies = name_some(folder.relative_to(root).as_posix() for folder in found)
            refuse(root, [f"two copies of the data lie here, {copies}: keep one of them"])
        if found:
            return found[0]
        level, seen = [sub for subs in inner.values() for sub in subs], seen + 1
    archives = sorted(name for name in _names(root) if name.lower().endswith(_ARCHIVES))
    packed = f" (unpack {name_some(archives)} first)" if archives else ""
    raise DataError(
        f"{root} is not laid out like the official download: no folder named {name_some(holds)} in it"
        f"{packed}; unpack the download there without renaming its folders."
    )


def sort_out(folder: Path, classes: Sequence[str], *, optional: Iterable[str] = ()) -> Found:
    """List the images of the class folders of `folder`, whatever folders lie in between, in order.

    classes: the folder names, case does not count; optional: those that may be missing. A problem is a class
    folder that is missing, empty or there twice, an unfinished download, a link that leads nowhere or back.
    Left out are folders of other names, images outside class folders, and files that are no images; hidden
    files and what macOS and Windows leave behind (`._x.jpg`, `__MACOSX`, `Thumbs.db`) never count.
    """
    result = Found()
    by_key = {name.casefold(): name for name in classes}
    places: dict[str, list[str]] = {}
    strangers, loose = [], []
    for entry in _entries(folder):
        if entry.is_dir():
            label = by_key.get(entry.name.casefold())
            if label is None:
                strangers.append(entry.name)
            else:
                places.setdefault(label, []).append(entry.name)
        elif _is_image(entry.name):
            loose.append(entry.name)
    may_miss = set(optional)
    missing = [name for name in classes if name not in places and name not in may_miss]
    if missing:
        others = f" (and {name_some(strangers)} are no classes: renamed?)" if strangers else ""
        result.problems.append(
            f"the class folders {', '.join(missing)} are missing{others}: unpack the whole download"
        )
    elif strangers:
        result.left_out.append(
            f"the folders {name_some(strangers)} are no class of this set and were left out"
        )
    if loose:
        result.left_out.append(
            f"left out: {counted(len(loose), 'image')} in no class folder: {name_some(loose)}"
        )
    _fill(result, folder, {label: places[label] for label in classes if label in places})
    return result


def misnamed(images: Iterable[ClassImage]) -> list[str]:
    """Say which images do not begin with the name of their class folder, as `BLA_00001.jpg` in `BLA` does."""
    wrong = [f"{label}/{below}" for label, below, _ in images if _prefix(below) != label.casefold()]
    if not wrong:
        return []
    return [
        (
            f"{counted(len(wrong), 'image carries', 'images carry')} another class in the name than that of "
            f"the folder: {name_some(wrong)}"
        )
    ]


def repeated_names(images: Iterable[ClassImage]) -> list[str]:
    """Say which file names stand twice in one class, in two of its sub-folders."""
    seen: set[tuple[str, str]] = set()
    twice = []
    for image in images:
        key = (image.label, image.name)
        if key in seen:
            twice.append(f"{image.label}/{image.name}")
        seen.add(key)
    return (
        [f"{counted(len(twice), 'image is', 'images are')} there twice: {name_some(twice)}; keep one copy"]
        if twice
        else []
    )


def _prefix(below: str) -> str:
    return below.rpartition("/")[2].partition("_")[0].casefold()


def _fill(result: Found, folder: Path, places: dict[str, list[str]]) -> None:
    absolute = str(folder.absolute())
    others: list[str] = []
    unfinished: list[str] = []
    for label, names in places.items():
        if len(names) > 1:
            result.problems.append(f"the class {label} has two folders, {' and '.join(sorted(names))}")
        found: list[str] = []
        for name in names:
            for below in _walk(f"{absolute}/{name}", "", (), result.problems):
                if _is_image(below):
                    found.append(below)
                    result.images.append(ClassImage(label, below, f"{absolute}/{name}/{below}"))
                elif below.lower().endswith((*UNFINISHED, ".tmp")):
                    unfinished.append(f"{name}/{below}")
                else:
                    others.append(f"{name}/{below}")
        if not found:
            result.problems.append(f"the class folder {names[0]} holds no image")
    result.images.sort()
    if unfinished:
        result.problems.append(
            f"{counted(len(unfinished), 'download')} unfinished: {name_some(sorted(unfinished))}; let them "
            "end"
        )
    if others:
        result.left_out.append(
            f"{counted(len(others), 'file is no image', 'files are no images')}: {name_some(sorted(others))}"
        )


def _walk(folder: str, above: str, links: tuple[str, ...], problems: list[str]) -> list[str]:
    """Return the files of `folder` by their path below it, which starts with `above`."""
    found: list[str] = []
    for entry in _entries(Path(folder)):
        linked = entry.is_symlink()
        if linked and not Path(entry.path).exists():
            problems.append(f"the link {entry.path} leads nowhere: mend or remove it")
        elif not entry.is_dir():
            found.append(above + entry.name)
        else:
            real = os.path.realpath(entry.path) if linked else ""
            if linked and (real in links or f"{os.path.realpath(folder)}/".startswith(f"{real}/")):
                problems.append(f"the link {entry.path} leads back to a folder above it: remove it")
            else:
                found += _walk(entry.path, f"{above}{entry.name}/", (*links, real), problems)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return [e for e in listing if not (e.name.startswith(".") or is_system(e.name))]
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read ({error.strerror}): check the data folder."
        ) from error


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder)]


def _is_image(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return bool(stem) and f".{suffix.lower()}" in IMAGE_SUFFIXES
