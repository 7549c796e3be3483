"""The image files that a table names: found however their names are spelt on this disk, the rest told."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytobench.datasets import is_inside
from cytobench.datasets.listing import images_in
from cytobench.datasets.survey import damaged, same_letters
from cytobench.errors import DataError, counted, name_some


@dataclass
class NamedImages:
    """What became of the names in a table: `paths`, one a row, None where the row names no image.

    `escaped`: names that leave the table's `folder`; `lost`: names of no file, with the file meant perhaps;
    `respelt`: files whose names are the same letters in other bytes.
    """

    folder: Path
    paths: list[str | None] = field(default_factory=list)
    escaped: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    respelt: list[str] = field(default_factory=list)
    found: list[Path] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what must be mended, a sentence each."""
        problems = []
        nameless = sum(path is None for path in self.paths)
        if nameless:
            problems.append(f"{counted(nameless, 'row names', 'rows name')} no image")
        if self.escaped:
            problems.append(
                f"images outside {self.folder}: {name_some(self.escaped)}; move them there, or say "
                "outside = true in the card's dataset"
            )
        if self.lost:
            problems.append(
                f"{counted(len(self.lost), 'image file does', 'image files do')} not exist: "
                f"{name_some(self.lost)}"
            )
        return problems + damaged(self.found, self.folder)

    def remarks(self) -> list[str]:
        """Return what is worth knowing and no reason to stop."""
        remarks = []
        if self.respelt:
            remarks.append(
                f"{counted(len(self.respelt), 'image name')} spelt in other bytes than the files (accents "
                f"as macOS writes them), matched by their letters: {name_some(self.respelt)}"
            )
        unnamed = self._unnamed()
        if unnamed:
            some = name_some(_relative(path, self.folder) for path in unnamed)
            remarks.append(
                f"left out: {counted(len(unnamed), 'image file')} beside the named ones and in no row of "
                f"the table: {some}"
            )
        return remarks

    def names(self, boxes: Sequence[list[int] | None], numbers: Sequence[int]) -> list[str]:
        """Name rows by image path (relative to the table, or to what images elsewhere share) and box."""
        given = [Path(path) for path in self.paths if path is not None]
        bounds = self.folder
        if given and not self.escaped and not all(is_inside(path, self.folder) for path in given):
            bounds = Path(os.path.commonpath([path.parent for path in given]))
        return [
            _name(path, box, f"row {number}", bounds)
            for path, box, number in zip(self.paths, boxes, numbers, strict=True)
        ]

    def _unnamed(self) -> list[Path]:
        named = {str(path) for path in self.found}
        beside = []
        for folder in sorted({path.parent for path in self.found}):
            try:
                beside += [path for path in images_in(folder) if str(path) not in named]
            except DataError:  # a dead link among files that no row names is nobody's concern
                continue
        return beside


def find_images(written: Sequence[str | None], folder: Path, *, outside: bool) -> NamedImages:
    """Return the files that the names `written` in a table in `folder` mean; nothing is raised."""
    images, known, shelf = NamedImages(folder), dict[str, str](), _Shelf()
    for text in written:
        if text is None:
            images.paths.append(None)
            continue
        if text not in known:
            known[text] = str(_find(text, images, shelf, outside=outside))
        images.paths.append(known[text])
    return images


class _Shelf:
    """What lies in folders, by the letters of the names; each folder is read once."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def among(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            try:
                entries = sorted(path.name for path in folder.iterdir())
            except OSError:
                entries = []
            self._names[folder] = {same_letters(name): name for name in entries}
        return self._names[folder]

    def spelt(self, path: Path) -> Path | None:
        """Return the file or folder whose name has the same letters as `path`, or None."""
        if path.exists():
            return path
        parent = None if path.parent == path else self.spelt(path.parent)
        name = self.among(parent).get(same_letters(path.name)) if parent else None
        return parent / name if parent and name else None

    def meant(self, path: Path) -> str:
        """Return the name of the file beside `path` that differs in case only, or ''."""
        folded = {name.casefold(): actual for name, actual in self.among(path.parent).items()}
        return folded.get(same_letters(path.name).casefold(), "")


def _find(text: str, images: NamedImages, shelf: _Shelf, *, outside: bool) -> Path:
    path = Path(os.path.normpath((images.folder / text.replace("\\", "/")).absolute()))
    if not outside and not is_inside(path, images.folder):
        images.escaped.append(text)
        return path
    if path.is_file():
        images.found.append(path)
        return path
    spelt = shelf.spelt(path)
    if spelt is not None and spelt.is_file():
        images.respelt.append(text)
        images.found.append(spelt)
        return spelt
    meant = shelf.meant(path)
    images.lost.append(f"{text} (there is {meant})" if meant else text)
    return path


def _name(path: str | None, box: list[int] | None, otherwise: str, bounds: Path) -> str:
    stem = otherwise if path is None else same_letters(_relative(Path(path), bounds))
    return stem if box is None else f"{stem}#{','.join(map(str, box))}"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
