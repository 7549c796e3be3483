"""Which files of a folder are images, in an order no file system can change.

Links are followed like the folders and files they lead to. A link that leads nowhere, or back to a folder
above it, raises DataError: left out in silence, it would make a smaller data set.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from cytobench.errors import DataError, name_some

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_NOT_OURS = frozenset({"__MACOSX"})


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


def refuse(where: Path | str, problems: Sequence[str]) -> NoReturn:
    """Raise one DataError that tells all `problems` found in `where`."""
    shown = "; ".join(problems[:8])
    more = f"; and {len(problems) - 8} more problems" if len(problems) > 8 else ""
    raise DataError(f"{where}: {shown}{more}.")


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
    ours = [name for name in links if not name.startswith(".") and name not in _NOT_OURS]
    lost = sorted(name for name in ours if links[name] and not (folder / name).exists())
    if lost:
        raise DataError(f"In {folder} these links lead nowhere: {name_some(lost)}; mend or remove them.")
    return [folder / name for name in ours]
