"""All that lies in a folder: the images, what else, and what is wrong with any of it, told at once.

A reader that takes only what it knows leaves the rest out in silence; a survey lets it say so.
"""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.datasets import DataWarning
from cytobench.datasets.listing import RefusedError, walk
from cytobench.errors import counted, name_some

if TYPE_CHECKING:
    import polars as pl

_TAIL_BYTES = 1024
_ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}


@dataclass
class Survey:
    """What was found below `root`: paths below it, with `/`, each list sorted.

    `folders`: at any depth; `system`: what macOS and Windows leave behind (`._x.jpg`, `.DS_Store`,
    `__MACOSX`, `Thumbs.db`, …); `hidden`: other names with a dot in front; `others`: files of a kind that is
    not read; `unfinished`: downloads that were broken off; `dead`, `circles`: links that lead nowhere, or
    back to a folder above; `closed`: folders that cannot be read.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    circles: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what must be mended before the folder can be believed, a sentence each."""
        told = [
            (self.closed, "folders cannot be read: {}; check their rights"),
            (self.dead, "links lead nowhere: {}; mend or remove them"),
            (self.circles, "{} leads back to a folder above it; remove the link"),
            (self.unfinished, "downloads were broken off: {}; fetch them again"),
        ]
        return [words.format(name_some(found)) for found, words in told if found]

    def left_out(self) -> list[str]:
        """Return what was left out, counted, a sentence each."""
        told = [
            (self.system, "{n} that macOS or Windows left behind {w} left out: {some}"),
            (self.hidden, "{n} whose name begins with a dot {w} left out: {some}"),
            (self.others, "{n} of a kind that is not read {w} left out: {some}"),
        ]
        return [
            words.format(
                n=counted(len(found), "file"),
                w="were" if len(found) > 1 else "was",
                some=name_some(found),
            )
            for found, words in told
            if found
        ]


def survey(root: Path, enter: Callable[[str], bool] = lambda _: True) -> Survey:
    """Return all that lies below the folder `root`; links are followed, files are not opened.

    enter: whether to look into a sub-folder, by its path below `root`.
    """
    found = Survey(root)
    of_kind = {
        "image": found.images,
        "folder": found.folders,
        "system": found.system,
        "hidden": found.hidden,
        "other": found.others,
        "unfinished": found.unfinished,
        "dead": found.dead,
        "circle": found.circles,
        "closed": found.closed,
    }
    for kind, below in walk(root, enter):
        of_kind[kind].append(below)
    for paths in of_kind.values():
        paths.sort()
    return found


def accept(root: Path, table: pl.DataFrame, problems: Sequence[str], remarks: Sequence[str]) -> pl.DataFrame:
    """Return a reader's `table`, with a DataWarning for each of `remarks`, which say what was left out.

    Raises RefusedError that tells all of both when there are problems.
    """
    if problems:
        raise RefusedError(root, [*problems, *remarks], table)
    for sentence in remarks:
        warnings.warn(sentence, DataWarning, stacklevel=3)
    return table


def damaged(images: Iterable[Path], root: Path) -> list[str]:
    """Return a sentence each for images that are empty files, or that end before their picture does.

    Only a JPEG or PNG file without its end marker is decoded, so that thousands are looked at in a second.
    """
    empty: list[Path] = []
    cut: list[Path] = []
    for image in images:
        try:
            (empty if not image.stat().st_size else cut if _ends_early(image) else []).append(image)
        except OSError:
            cut.append(image)
    told = [(empty, "{n} empty: {some}; copy or fetch again")]
    told += [(cut, "{n} cut off or damaged: {some}; copy or fetch again")]
    return [
        words.format(
            n=counted(len(found), "image file is", "image files are"),
            some=name_some(os.path.relpath(path, root).replace(os.sep, "/") for path in found),
        )
        for found, words in told
        if found
    ]


def same_letters(text: str) -> str:
    """Return `text` with accents composed (NFC): macOS writes ä as two characters, other systems as one."""
    return unicodedata.normalize("NFC", text)


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the names that differ only in case, in spaces around them, or in how accents are written."""
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault(same_letters(name).casefold().strip(), []).append(name)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def _ends_early(image: Path) -> bool:
    """Whether an image without its end marker cannot be decoded either: some carry notes behind the end."""
    marker = _ENDS.get(image.suffix.lower())
    if marker is None:
        return False
    with image.open("rb") as file:
        file.seek(-min(_TAIL_BYTES, image.stat().st_size), os.SEEK_END)
        if marker in file.read():
            return False
    from PIL import Image

    try:
        with Image.open(image) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False
