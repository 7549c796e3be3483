"""SHA-256 of files, remembered between runs as long as the files have not been touched.

The memory is a folder of immutable batches, each written to a temporary name and renamed, each carrying
its own checksum. So any process may be killed at any byte and any number may write at once, on one disk or
a network share: a lost batch only costs the time to read its files again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError
from cytobench.progress import Reporter, SilentReporter

_RECORD = np.dtype([("head", "<u8"), ("tail", "<u8"), ("when", "<i8"), ("sha", "V32")])
_MAGIC = b"CBDIGST1"
_CHECK = 16  # bytes of BLAKE2b that guard a batch
_MERGE_ABOVE = 16  # batches; more of them are merged into one when the memory is opened
_FLUSH_RECORDS, _FLUSH_SECONDS = 65_536, 30.0
_BIG_FILE = 64 * 2**20  # bytes; a digest that took long is written down at once
_SETTLED_NS = 2_000_000_000  # coarsest time stamp of a common file system (FAT)
_ATTEMPTS = 3
_CHUNK = 32  # files a thread takes at once
_STALE_SECONDS = 3600.0

Records = npt.NDArray[np.void]


class FileDigests:
    """SHA-256 of files, remembered under `home` by (path, size, mtime, ctime, inode).

    A file that was touched within the last two seconds is hashed but not remembered, because a second change
    could carry the same time stamp. With `rehash` nothing written by earlier runs is believed. Safe to share
    over threads.
    """

    def __init__(self, home: Path, *, rehash: bool = False) -> None:
        self._memory = _Memory(home / "digests", load=not rehash)
        self._save = weakref.finalize(self, self._memory.flush)

    def sha256(self, path: Path | str) -> str:
        """Return the SHA-256 of the file (64 hex digits); raise `DataError` where it cannot be read."""
        path = Path(path).absolute()
        try:
            seen = path.stat()
            known = self._memory.find(_key(path, seen))
            return known.hex() if known is not None else self._hash(path)
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {error.strerror or error}; check the path and its rights."
            ) from error

    def sha256_many(self, paths: Iterable[Path | str], reporter: Reporter | None = None) -> list[str]:
        """Return the SHA-256 of each file, in order, hashing in threads what is not remembered.

        Raises `DataError` at the first file that cannot be read; what was hashed until then is remembered.
        """
        asked = [str(path) for path in paths]
        unique = list(dict.fromkeys(asked))
        chunks = [unique[i : i + _CHUNK] for i in range(0, len(unique), _CHUNK)]
        found: dict[str, str] = {}
        workers = min(8, (os.cpu_count() or 1) + 1)
        with (reporter or SilentReporter()).task("digests of files", len(unique)) as step:
            try:
                with ThreadPoolExecutor(workers, thread_name_prefix="digests") as pool:
                    for chunk, digests in zip(chunks, pool.map(self._sha256_chunk, chunks), strict=True):
                        found.update(zip(chunk, digests, strict=True))
                        step.advance(len(chunk))
            finally:
                self.flush()
        return [found[path] for path in asked]

    def flush(self) -> None:
        """Write down what is not on disk yet; also happens by itself now and then, and at exit."""
        self._memory.flush()

    def _sha256_chunk(self, paths: Sequence[str]) -> list[str]:
        return [self.sha256(path) for path in paths]

    def _hash(self, path: Path) -> str:
        for _ in range(_ATTEMPTS):
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise DataError(f"{path} is not a regular file; name the file itself.")
                started_ns = time.time_ns()
                digest = hashlib.file_digest(file, "sha256").digest()
            key = _key(path, before)
            if _key(path, path.stat()) != key:  # written to, or replaced, while it was read
                continue
            if max(before.st_mtime_ns, before.st_ctime_ns) + _SETTLED_NS < started_ns:
                self._memory.remember(key, digest, write_now=before.st_size >= _BIG_FILE)
            return digest.hex()
        raise DataError(f"{path} keeps changing while it is read; wait until it is complete and run again.")


def _key(path: Path, seen: os.stat_result) -> bytes:
    marks = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
    return hashlib.blake2b(os.fsencode(path) + repr(marks).encode(), digest_size=16).digest()


class _Memory:
    """The remembered digests: a sorted table of what is on disk and a dictionary of what is not yet."""

    def __init__(self, folder: Path, *, load: bool) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._pending: dict[bytes, tuple[bytes, int]] = {}
        self._flushed = time.monotonic()
        self._table = self._heads = np.empty(0, _RECORD)
        self._adopt(_read_folder(folder) if load else np.empty(0, _RECORD))

    def find(self, key: bytes) -> bytes | None:
        head, tail = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
        with self._lock:
            if (pending := self._pending.get(key)) is not None:
                return pending[0]
            at = int(np.searchsorted(self._heads, np.uint64(head)))
            while at < len(self._heads) and int(self._heads[at]) == head:
                if int(self._table["tail"][at]) == tail:
                    return bytes(self._table["sha"][at])
                at += 1
        return None

    def remember(self, key: bytes, digest: bytes, *, write_now: bool) -> None:
        with self._lock:
            self._pending[key] = (digest, time.time_ns())
            due = len(self._pending) >= _FLUSH_RECORDS or time.monotonic() - self._flushed > _FLUSH_SECONDS
            if due or write_now:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            if not self._pending:
                return
            raw = b"".join(
                key + when.to_bytes(8, "little") + digest for key, (digest, when) in self._pending.items()
            )
            batch = np.frombuffer(raw, _RECORD)
            self._adopt(_newest(np.concatenate([self._table, batch])))
            self._pending.clear()
            self._flushed = time.monotonic()
            # A read-only or full disk must not stop the work this memory merely speeds up.
            with contextlib.suppress(OSError):
                _write_batch(self._folder, batch)

    def _adopt(self, table: Records) -> None:
        self._table = table
        self._heads = np.ascontiguousarray(table["head"])


def _newest(records: Records) -> Records:
    """Sort records by key and keep the latest of each."""
    ordered: Records = records[np.lexsort((records["when"], records["tail"], records["head"]))]
    same_as_next = (ordered["head"][:-1] == ordered["head"][1:]) & (
        ordered["tail"][:-1] == ordered["tail"][1:]
    )
    kept: Records = ordered[np.append(~same_as_next, np.ones(min(1, len(ordered)), bool))]
    return kept


def _read_folder(folder: Path) -> Records:
    """Read all whole batches; merge them into one file when they have become many."""
    batches: dict[Path, Records] = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob("*.bin")):
            batch = _read_batch(path)
            if batch is not None:
                batches[path] = batch
    if not batches:
        return np.empty(0, _RECORD)
    table = _newest(np.concatenate(list(batches.values())))
    if len(batches) > _MERGE_ABOVE:
        # The merged batch is on disk before its parts go, and only parts that were read are removed.
        with contextlib.suppress(OSError):
            _write_batch(folder, table)
            for path in batches:
                path.unlink(missing_ok=True)
            _remove_stale(folder)
    return table


def _read_batch(path: Path) -> Records | None:
    """Return the records of a batch, or None where another process merged it away or it is damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    payload = memoryview(raw)[len(_MAGIC) + _CHECK :]
    if raw[: len(_MAGIC)] != _MAGIC or len(payload) % _RECORD.itemsize:
        return None
    if hashlib.blake2b(payload, digest_size=_CHECK).digest() != raw[len(_MAGIC) : len(_MAGIC) + _CHECK]:
        return None
    return np.frombuffer(payload, _RECORD)


def _write_batch(folder: Path, batch: Records) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{secrets.token_hex(6)}"
    temporary = folder / f"{name}.tmp"
    payload = batch.tobytes()
    try:
        temporary.write_bytes(_MAGIC + hashlib.blake2b(payload, digest_size=_CHECK).digest() + payload)
        temporary.replace(folder / f"{name}.bin")
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for path in folder.glob("*.tmp"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
