"""Images sorted into folders named by their class: what is there, what is missing, what does not belong.

Large sets are listed in one pass without a look at each file, and everything found wrong is told at once.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cytobench.datasets import DataWarning
from cytobench.datasets.listing import folders_in, refuse, walk
from cytobench.datasets.survey import Survey, survey
from cytobench.errors import DataError, counted, name_some

_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tar.gz", ".tgz", ".npz")
_Classed = Callable[[str], tuple[str, str] | None]


class ClassImage(NamedTuple):
    """One image: its class, its path below the class folder (with `/`), its absolute path, its class folder.

    `folder` is the class folder's path below the searched one.
    """

    label: str
    below: str
    path: str
    folder: str

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
    packed = _still_packed(sorted(name for _, name in walk(root, lambda _: False)))
    raise DataError(
        f"{root} is not laid out like the official download: no folder named {name_some(holds)} in it"
        f"{packed}; unpack the download there without renaming its folders."
    )


def sort_out(folder: Path, classes: Sequence[str], *, optional: Iterable[str] = ()) -> Found:
    """List the images of the class folders directly in `folder`, whatever folders lie in them, in order.

    classes: the folder names, case does not count; optional: those that may be missing. A problem is a class
    folder that is missing, empty, there twice or inside that of another class, an unfinished download, a link
    that leads nowhere or back, a folder that cannot be read. Left out are folders of other names, images
    outside class folders, and files that are no images; hidden files and what macOS and Windows leave behind
    (`._x.jpg`, `__MACOSX`, `Thumbs.db`) never count.
    """
    by_key = {name.casefold(): name for name in classes}

    def is_ours(below: str) -> bool:
        return below.partition("/")[0].casefold() in by_key

    def classed(below: str) -> tuple[str, str] | None:
        name = below.partition("/")[0]
        label = by_key.get(name.casefold())
        return None if label is None else (label, name)

    seen = survey(folder, is_ours)
    strangers = [name for name in seen.folders if not is_ours(name)]
    wanted = [name for name in classes if name not in set(optional)]
    found = _sorted(seen, classed, lambda name: by_key.get(name.casefold()), wanted, strangers)
    if strangers:
        found.left_out.insert(
            0, f"the folders {name_some(strangers)} are no class of this set and were left out"
        )
    return found


def sort_out_below(root: Path, labels: Mapping[str, str]) -> Found:
    """List the images of the class folders of `root` at any depth, the outermost class counting, in order.

    labels: the class of each folder name as `plain` gives it: of every spelling that may be met. What is said
    is what `sort_out` says, but folders outside the classes that hold images are a problem: where the
    download's own names are not known for certain, they may be a class under another spelling.
    """

    def label_of(name: str) -> str | None:
        return labels.get(plain(name))

    def classed(below: str) -> tuple[str, str] | None:
        parts = below.split("/")
        for n, name in enumerate(parts, start=1):
            if label := label_of(name):
                return label, "/".join(parts[:n])
        return None

    seen = survey(root)
    holders = {image.rpartition("/")[0] for image in seen.images if "/" in image}
    strangers = sorted(holder for holder in holders if classed(holder) is None)
    found = _sorted(seen, classed, label_of, list(dict.fromkeys(labels.values())), strangers)
    if strangers:
        found.problems.append(
            f"folders that hold images but are no class: {name_some(strangers)}; rename them as published, "
            "or move them away"
        )
    return found


def plain(name: str) -> str:
    """Return a folder's name in lower case without blanks, dots, `-` and `_`."""
    return re.sub(r"[\s._-]+", "", name).lower()


def misnamed(images: Iterable[ClassImage]) -> list[str]:
    """Say which images do not begin with the name of their class folder, as `BLA_00001.jpg` in `BLA` does."""
    wrong = [
        f"{image.label}/{image.below}"
        for image in images
        if image.name.partition("_")[0].casefold() != image.label.casefold()
    ]
    if not wrong:
        return []
    carry = counted(len(wrong), "image carries", "images carry")
    return [f"{carry} another class in the name than that of the folder: {name_some(wrong)}"]


def repeated_names(images: Iterable[ClassImage]) -> list[str]:
    """Say which file names stand twice in one class, in two of its sub-folders."""
    counts = Counter((image.label, image.name) for image in images)
    twice = [f"{label}/{name}" for (label, name), n in counts.items() if n > 1]
    are = counted(len(twice), "image is", "images are")
    return [f"{are} there twice: {name_some(twice)}; keep one copy"] if twice else []


def _sorted(
    seen: Survey,
    classed: _Classed,
    label_of: Callable[[str], str | None],
    wanted: Sequence[str],
    strangers: Sequence[str],
) -> Found:
    """Sort what was seen by class.

    classed: the class and the class folder of a folder's path; label_of: the class of a folder's own name;
    wanted: classes that must be there.
    """
    found = Found(images=_images(seen, classed))
    places: dict[str, list[str]] = defaultdict(list)
    astray = []
    for folder in seen.folders:
        place, own = classed(folder), label_of(folder.rpartition("/")[2])
        if place is not None and place[1] == folder:
            places[place[0]].append(folder)
        elif place is not None and own not in (None, place[0]):
            astray.append(folder)
    missing = [name for name in wanted if name not in places]
    if missing:
        found.problems.append(_missing(missing, strangers, seen))
    if astray:
        found.problems.append(
            f"class folders lie in that of another class: {name_some(astray)}; move them out"
        )
    found.problems += _twice(places) + _empty(places, found.images) + seen.problems()
    loose = [image for image in seen.images if "/" not in image]
    if loose:
        found.left_out.append(
            f"left out: {counted(len(loose), 'image')} in no class folder: {name_some(loose)}"
        )
    others = [file for file in seen.others if "/" in file and classed(file.rpartition("/")[0])]
    if others:
        are = counted(len(others), "file is no image", "files are no images")
        found.left_out.append(f"{are}: {name_some(others)}")
    return found


def _images(seen: Survey, classed: _Classed) -> list[ClassImage]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for image in seen.images:
        by_folder[image.rpartition("/")[0]].append(image)
    root, found = str(seen.root.absolute()), []
    for holder, images in by_folder.items():
        if holder and (place := classed(holder)):
            label, folder = place
            cut = len(folder) + 1
            found += [ClassImage(label, image[cut:], f"{root}/{image}", folder) for image in images]
    return sorted(found)


def _missing(missing: Sequence[str], strangers: Sequence[str], seen: Survey) -> str:
    others = f" (and {name_some(strangers)} are no classes: renamed?)" if strangers else ""
    packed = _still_packed(file for file in seen.others if "/" not in file)
    return f"the class folders {', '.join(missing)} are missing{others}{packed}: unpack the whole download"


def _still_packed(names: Iterable[str]) -> str:
    archives = [name for name in names if name.lower().endswith(_ARCHIVES)]
    return f" (unpack {name_some(archives)} first)" if archives else ""


def _twice(places: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which classes have two folders side by side."""
    problems = []
    for label, folders in places.items():
        by_parent: dict[str, list[str]] = defaultdict(list)
        for folder in folders:
            by_parent[folder.rpartition("/")[0]].append(folder)
        problems += [
            f"the class {label} has two folders, {' and '.join(sorted(mine))}: keep one"
            for mine in by_parent.values()
            if len(mine) > 1
        ]
    return problems


def _empty(places: Mapping[str, Sequence[str]], images: Iterable[ClassImage]) -> list[str]:
    filled = {image.folder for image in images}
    empty = [folder for folders in places.values() for folder in folders if folder not in filled]
    return [f"the class folder {folder} holds no image" for folder in empty]
