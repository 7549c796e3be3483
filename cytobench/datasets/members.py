"""What is in an archive (zip, tar and its compressed kinds), told alike and made safe to unpack."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal

from cytobench.datasets.listing import is_system
from cytobench.errors import DataError

_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_OTHERS = {
    ".rar": "unrar x",
    ".7z": "7z x",
    ".zip.001": "cat PARTS > whole.zip, then unzip whole.zip",
    ".z01": "zip -s 0 FIRST.zip --out whole.zip, then unzip whole.zip",
}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError)


@dataclass(frozen=True)
class Member:
    """One entry of an archive: `name` as it may be written below a folder, `size` in bytes unpacked.

    `kind`: `file`; `link`; `system`, what macOS and Windows leave behind. `open` gives a file's bytes.
    """

    name: str
    size: int
    kind: Literal["file", "link", "system"]
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Tell whether a file is, by its name, an archive that can be unpacked here."""
    return path.name.lower().endswith(_ZIP + _TAR)


def how_by_hand(path: Path) -> str:
    """Return the command that unpacks a file which is not unpacked here; "" for files of other kinds."""
    name = path.name.lower()
    return next((command for suffix, command in _OTHERS.items() if name.endswith(suffix)), "")


@contextmanager
def opened(archive: Path) -> Iterator[tuple[Iterator[Member], int | None]]:
    """Open an archive and give its members in their order, and how many there are (None: not known).

    Raises DataError, while opening or reading, where it is damaged, half there, encrypted, or holds a path
    that would leave the folder it is unpacked into.
    """
    try:
        if archive.name.lower().endswith(_ZIP):
            with zipfile.ZipFile(archive) as held:
                yield _zipped(archive, held), len(held.infolist())
        else:
            with tarfile.open(archive) as tape:
                yield _taped(archive, tape), None
    except _DAMAGE as error:
        raise DataError(
            f"{archive} is damaged or only half there ({_first_line(error)}): download it again."
        ) from error
    except RuntimeError as error:  # how zipfile speaks of encryption
        raise DataError(
            f"{archive} cannot be unpacked ({error}): unpack it by hand and name the folder with --from."
        ) from error


def _zipped(archive: Path, held: zipfile.ZipFile) -> Iterator[Member]:
    entries = [entry for entry in held.infolist() if not entry.is_dir()]
    names = _refuse_unsafe(archive, [entry.filename for entry in entries])
    for entry, name in zip(entries, names, strict=True):
        link = stat.S_ISLNK(entry.external_attr >> 16)
        yield Member(name, entry.file_size, _kind(name, link=link), partial(held.open, entry))


def _taped(archive: Path, tape: tarfile.TarFile) -> Iterator[Member]:
    for entry in tape:
        if entry.isdir():
            continue
        (name,) = _refuse_unsafe(archive, [entry.name])
        kind = _kind(name, link=not entry.isreg())
        yield Member(name, entry.size, kind, partial(_bytes_of, tape, entry))


def _bytes_of(tape: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    found = tape.extractfile(entry)
    if found is None:
        raise tarfile.TarError(f"{entry.name} is no file")
    return found


def _kind(name: str, *, link: bool) -> Literal["file", "link", "system"]:
    return "system" if is_system(name) else "link" if link else "file"


def _refuse_unsafe(archive: Path, names: list[str]) -> list[str]:
    """Return names as relative POSIX paths; raises DataError for those that would leave their folder."""
    plain = [name.replace("\\", "/") for name in names]
    unsafe = [name for name in plain if not _stays_inside(name)]
    if unsafe:
        some = ", ".join(repr(name) for name in unsafe[:5])
        raise DataError(
            f"{archive} holds paths that would leave the folder it is unpacked into ({some}"
            f"{f' and {len(unsafe) - 5} more' if len(unsafe) > 5 else ''}): nothing of it was unpacked; do "
            "not trust it, and download the original."
        )
    return [PurePosixPath(name).as_posix() for name in plain]


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(
        path.parts
        and not path.is_absolute()
        and ".." not in path.parts
        and not PureWindowsPath(name).drive
        and "\0" not in name
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
