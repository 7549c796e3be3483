"""What a transfer is told by whoever wants a file: whose it is, where it goes, and the words of its world."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from cytobench.errors import CytoBenchError, TransferError, WrongFileError
from cytobench.progress import Reporter

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Words:
    """How messages speak of the files of one world, and what they advise.

    `things`: "weights"; `address`, `digest`: what to do about a wrong address or digest, "correct …";
    `unknown_length`: what to do when no one says how long a file is; `elsewhere`: the option that chooses
    another disk.
    """

    things: str
    address: str
    digest: str
    unknown_length: str
    elsewhere: str


class Errand(Protocol):
    """One file that is wanted: its name in messages, the folder it goes to, and who is told."""

    @property
    def uri(self) -> str:
        """What the file is called in messages."""

    @property
    def folder(self) -> Path:
        """Where the bytes are collected."""

    @property
    def reporter(self) -> Reporter:
        """Who is told."""

    @property
    def words(self) -> Words:
        """The words of its world."""

    def announce(self, where: str, size: int | None) -> None:
        """Say what is about to be fetched from where, and how much it is."""

    def out_of_reach(self, host: str, reason: str, page: str) -> CytoBenchError:
        """Return the error for a server out of reach, with the way to bring the file by hand."""


class WebPageError(TransferError):
    """A server answered with a web page where a file was expected."""


class RefusedError(TransferError):
    """A server refused a request for good; `code` is the HTTP status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class InterruptedTransferError(Exception):
    """The connection failed in a way that may pass; `reached` says whether the server was there at all."""

    def __init__(self, reason: str, *, reached: bool) -> None:
        super().__init__(reason)
        self.reached = reached


@contextmanager
def writing(folder: Path, words: Words) -> Iterator[None]:
    """Turn failures to write below `folder` into a WrongFileError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise WrongFileError(
                f"no room left for {words.things} in {folder}; free some space or choose another disk with "
                f"{words.elsewhere}."
            ) from error
        reason = error.strerror or str(error)
        raise WrongFileError(
            f"cannot write {words.things} to {folder} ({reason}); choose a folder you may write to with "
            f"{words.elsewhere}."
        ) from error


@contextmanager
def alone(folder: Path, words: Words, what: str, reporter: Reporter) -> Iterator[None]:
    """Hold a folder against other processes; the operating system lets go when the holder dies."""
    with writing(folder, words):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            reporter.say(f"waiting for another process that is fetching {what} (lock {lock.lock_file})")
            lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def human_size(size: int) -> str:
    """Return a number of bytes in decimal units, as download pages print it."""
    amount, units = float(size), ["B", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"
