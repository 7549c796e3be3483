"""Labels without images, images without labels, and text files that another system wrote."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.listing import IMAGE_SUFFIXES
from cytobench.datasets.verify.files import FolderFiles, is_expected
from cytobench.errors import counted
from cytobench.findings import Finding

_TABLES = (".csv", ".tsv", ".dat")
_SIDECARS = (".txt", ".xml", ".json", ".dat")
_TEXTS = (".csv", ".tsv", ".txt", ".dat")
_PROSE = ("readme", "licen", "copying", "notice", "changelog", "citation")
_MOST_OF = 0.5
_MOST_BYTES = 256 * 2**20
_HEAD = 2**20


@dataclass(frozen=True)
class _Table:
    """A table of labels: the image names its `column` holds, and the separator it is written with."""

    column: str
    names: tuple[str, ...]
    separator: str


def label_files(info: DatasetInfo, found: FolderFiles) -> list[Finding]:
    """Compare what tables and label files name with the images that are there, both ways."""
    images = [path for path in found.images if not is_expected(found.named(path), path.name, info.unread)]
    findings = [*_from_tables(found, images), *_from_sidecars(found, images)]
    if findings and all(finding.mark == "pass" for finding in findings):
        return [Finding("labels and images", "pass", " ".join(finding.says for finding in findings))]
    return findings


def text_files(found: FolderFiles) -> list[Finding]:
    """Tell label files with Windows line ends, a byte-order mark, or another encoding than UTF-8."""
    kinds: dict[str, list[str]] = {"Windows line ends": [], "a byte-order mark": [], "no UTF-8": []}
    looked = 0
    for path in found.others:
        if path.suffix.lower() not in _TEXTS or _is_prose(path):
            continue
        looked += 1
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if b"\r\n" in head:
            kinds["Windows line ends"].append(found.named(path))
        if head.startswith(b"\xef\xbb\xbf"):
            kinds["a byte-order mark"].append(found.named(path))
        if not _is_utf8(head):
            kinds["no UTF-8"].append(found.named(path))
    odd = [
        Finding("text files", "warn", f"{len(names):,} of {looked:,} label files: {kind}.", "", tuple(names))
        for kind, names in kinds.items()
        if names
    ]
    plain = Finding("text files", "pass", f"{counted(looked, 'label file')}, UTF-8 with plain line ends.")
    return odd or ([plain] if looked else [])


def _from_tables(found: FolderFiles, images: Sequence[Path]) -> list[Finding]:
    tables = [(path, table) for path in found.others if (table := _table(path)) is not None]
    if not tables:
        return []
    findings = []
    ends_of = {path: _ends(found.named(path)) for path in images}
    there = {end for ends in ends_of.values() for end in ends}
    named: set[str] = set()
    for path, table in tables:
        # Paths may begin with folders of their author's; then the file names alone are compared.
        known = any(name in there for name in table.names)
        names = table.names if known else tuple(name.rpartition("/")[2] for name in table.names)
        named |= set(names)
        lost = tuple(name for name in names if name not in there)
        findings.append(_told(found.named(path), table, lost))
    unnamed = tuple(found.named(path) for path in images if not named & ends_of[path])
    if unnamed:
        files = ", ".join(found.named(path) for path, _ in tables)
        says = f"Named in no table ({files}): {len(unnamed):,} of {len(images):,} images."
        findings.append(Finding("images without a row", "warn", says, "", unnamed))
    return findings


def _ends(relative: str) -> set[str]:
    """Return the ways in which a table may name a file: its path, without one or more leading folders."""
    parts = relative.split("/")
    return {"/".join(parts[at:]) for at in range(len(parts))}


def _told(where: str, table: _Table, lost: tuple[str, ...]) -> Finding:
    written = {",": "", ";": " (separated by semicolons)", "\t": " (separated by tabs)"}
    how = written.get(table.separator, f" (separated by '{table.separator}')")
    if not lost:
        says = f"All {len(table.names):,} images that {where}{how} names are here."
        return Finding("rows without an image", "pass", says)
    says = f"Not here: {len(lost):,} of the {len(table.names):,} images that {where}{how} names."
    cure = "Unpack the whole download; of a subset this is to be expected."
    return Finding("rows without an image", "warn", says, cure, lost)


def _from_sidecars(found: FolderFiles, images: Sequence[Path]) -> list[Finding]:
    """Pair label files with images of the same name: in a folder where most of them have one."""
    folders: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for path in found.others:
        if path.suffix.lower() in _SIDECARS and not _is_prose(path):
            folders[path.parent, path.suffix.lower()][path.stem] = path
    of_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        of_stem[image.stem].append(image)
    findings = []
    for (folder, suffix), files in folders.items():
        paired = [stem for stem in files if stem in of_stem]
        if len(paired) < max(2, _MOST_OF * len(files)):
            continue
        homes = {image.parent for stem in paired for image in of_stem[stem]}
        bare = [image for image in images if image.parent in homes and image.stem not in files]
        orphans = [path for stem, path in files.items() if stem not in of_stem]
        findings += _sidecars_told(f"{found.named(folder)}/*{suffix}", found, len(paired), orphans, bare)
    return findings


def _sidecars_told(
    where: str, found: FolderFiles, paired: int, orphans: Sequence[Path], bare: Sequence[Path]
) -> list[Finding]:
    told = []
    if orphans:
        says = f"{counted(len(orphans), 'label file')} ({where}) without an image of that name."
        told.append(Finding("labels without an image", "fail", says, "", tuple(map(found.named, orphans))))
    if bare:
        says = f"{counted(len(bare), 'image has', 'images have')} no label file in {where}."
        told.append(Finding("images without a label", "warn", says, "", tuple(map(found.named, bare))))
    if not told:
        told.append(
            Finding(
                "labels and images",
                "pass",
                f"{counted(paired, 'label file')} ({where}), each with its image.",
            )
        )
    return told


def _table(path: Path) -> _Table | None:
    """Return the image names of a table, or None when the file is none or names no images."""
    if path.suffix.lower() not in _TABLES or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    lines = text.splitlines()
    if len(lines) < 2:
        return None
    separator = max(",;\t| ", key=lines[0].count)
    rows = list(csv.reader(lines[1:], delimiter=separator))
    header = next(csv.reader(lines[:1], delimiter=separator))
    for at, column in enumerate(header):
        values = [row[at].strip() for row in rows if len(row) > at and row[at].strip()]
        images = [value for value in values if Path(value).suffix.lower() in IMAGE_SUFFIXES]
        if len(images) > _MOST_OF * len(rows):
            names = dict.fromkeys(value.replace("\\", "/") for value in images)
            return _Table(column, tuple(names), separator)
    return None


def _is_prose(path: Path) -> bool:
    return path.name.lower().startswith(_PROSE) or "checksum" in path.name.lower()


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a letter cut at the end of what was read
    return True
