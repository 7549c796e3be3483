"""Files that are either whole or not there, whatever happens to the process or the machine."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from cytobench.errors import StoreError

TEMPORARY = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST}


def write_durably(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file's parts as `save_durably` does."""

    def save(file: BinaryIO) -> None:
        for part in parts:
            file.write(part)

    save_durably(path, save)


def save_durably(path: Path, save: Callable[[BinaryIO], object], *, option: str = "--home") -> None:
    """Let `save` write a file under a temporary name beside `path`, flush it to the disk, then rename it.

    Raises StoreError, which names the `option` that chooses the folder, with nothing left behind, where the
    disk is full or may not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        try:
            with temporary.open("wb") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise unwritable(path.parent, error, option=option) from error


def make_folder(folder: Path, *, option: str = "--home") -> None:
    """Create a folder and those above it; raises StoreError, which names `option`, where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, option=option) from error


def flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, on systems that can."""
    # Windows cannot open folders, and some network shares refuse to flush them.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def bytes_under(folder: Path) -> int:
    """Return the size of all files below `folder`, while others write, rename and remove some."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def unwritable(folder: Path, error: OSError, *, option: str = "--home") -> StoreError:
    """Say in one sentence why `folder` could not be written and what to do."""
    if error.errno in _FULL:
        return StoreError(
            f"No space is left for {folder} ({error.strerror}): free some and give the same command again, "
            f"everything stored so far is kept."
        )
    if error.errno in _FORBIDDEN:
        return StoreError(
            f"{folder} cannot be written ({error.strerror}): change its rights, or choose another "
            f"folder with {option}."
        )
    if error.errno in _IN_THE_WAY:
        return StoreError(
            f"{folder} cannot be made ({error.strerror}): a file is where a folder should be; remove it, or "
            f"choose another folder with {option}."
        )
    reason = error.strerror or str(error)
    return StoreError(
        f"Writing to {folder} failed ({reason}): see to the disk and give the same command again."
    )
