"""Where features stay: one folder per space, immutable shards in it, an index over them.

Any process may be killed at any byte and any number may write at once, on one disk or a network share: a
shard is either whole or not there, no two processes use one name, and no file is ever changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.errors import StoreError
from cytobench.features import index as indexing
from cytobench.features.description import Description, describe, is_space_name, read_description
from cytobench.features.durable import bytes_under, unwritable
from cytobench.features.index import Index, NewShard, Positions
from cytobench.features.items import Ids
from cytobench.features.shards import (
    BrokenShardError,
    Features,
    Stored,
    is_shard_name,
    open_shard,
    round_features,
    write_shard,
)

if TYPE_CHECKING:
    from cytobench.features.tidy import Tidied
    from cytobench.features.verify import Problem
    from cytobench.progress import Reporter

_SAVE_INDEX_ABOVE = 4096  # rows that a later process would otherwise have to read from shards again
_ATTEMPTS = 5
_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Appended:
    """What one `append` wrote: rows, and the largest absolute difference made by rounding."""

    rows: int
    max_rounding_error: float


@dataclass(frozen=True)
class SpaceSummary:
    """A space as `ls` shows it: distinct items, shards and bytes on disk."""

    id: str
    dim: int
    identity: Mapping[str, object]
    created: str
    rows: int
    shards: int
    bytes: int


class FeatureStore:
    """The spaces under one folder (`<home>/features`); nothing is created before it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def space(
        self, space: str, *, dim: int | None = None, identity: Mapping[str, object] | None = None
    ) -> Space:
        """Open a space; with `dim` and `identity` it is created where it does not exist.

        Raises StoreError where it is absent, contradicts what is on disk, or cannot be created.
        """
        return Space(self.folder / space, describe(self.folder, space, dim, identity))

    def ls(self) -> list[SpaceSummary]:
        """Summarise all spaces, sorted by id; folders without a readable description are left to `verify`."""
        found = []
        for folder in self.folders():
            description = read_description(folder)
            if description is not None:
                found.append(Space(folder, description).summary())
        return found

    def verify(self, reporter: Reporter | None = None) -> list[Problem]:
        """Read every byte of every space and list what is wrong; changes nothing."""
        from cytobench.features.verify import verify

        return verify(self, reporter)

    def gc(
        self, *, max_age: float = 86_400.0, remove: Sequence[str] = (), reporter: Reporter | None = None
    ) -> Tidied:
        """Tidy up, also while others read and write: leftovers older than `max_age` seconds, small shards.

        remove: ids of spaces to delete. Raises StoreError for an unknown one and where the disk is read-only.
        """
        from cytobench.features.tidy import tidy

        return tidy(self, max_age=max_age, remove=remove, reporter=reporter)

    def folders(self) -> list[Path]:
        """Return the folders of all spaces, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(
            entry for entry in self.folder.iterdir() if entry.is_dir() and is_space_name(entry.name)
        )


class Space:
    """The features of one space: float32 [n, dim] to the outside, half precision on disk.

    Safe to use from several threads; sees what other processes add when asked again.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder = folder
        self.id = description.id
        self.dim = description.dim
        self.identity = description.identity
        self._created = description.created
        self._index: Index | None = None
        self._cached_rows = 0
        self._mapped: dict[str, Stored] = {}
        self._broken: dict[str, int] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Return the number of distinct items stored."""
        return len(self.refresh())

    def missing(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Tell for ids uint8 [n, 16] which have no features here: bool [n]."""
        absent: npt.NDArray[np.bool_] = self.refresh().find(ids) < 0
        return absent

    def load(self, ids: Ids) -> Features:
        """Return the features of ids uint8 [n, 16], in their order, repeats allowed: float32 [n, dim].

        Raises StoreError where some are not stored.
        """
        for _ in range(_ATTEMPTS):
            index = self._index if self._index is not None else self.refresh()
            at = index.find(ids)
            if (at < 0).any():
                index = self.refresh()
                at = index.find(ids)
            if (at < 0).any():
                raise StoreError(
                    f"{int((at < 0).sum())} of {len(at)} features are not stored in space {self.id[:12]}: "
                    f"extract them first."
                )
            try:
                return self._gather(index, at)
            except FileNotFoundError:  # compacted by another process after the index was read
                self._forget()
            except BrokenShardError as broken:
                self._broken[str(broken.args[-1])] = -1
                self._forget()
        raise StoreError(f"{self.folder} keeps changing while it is read: try again when no clean-up runs.")

    def append(self, ids: Ids, features: Features, *, names: Sequence[str] | None = None) -> Appended:
        """Store features [n, dim] of ids uint8 [n, 16] durably before returning.

        Rows beyond the range of half precision go to a shard of their own in single precision. names: what a
        person calls the items, for messages. Raises StoreError, with nothing written, for a wrong shape or a
        row that is not finite; and where the disk is full or read-only.
        """
        features = np.asarray(features, np.float32)
        if features.shape != (len(ids), self.dim):
            raise StoreError(
                f"Features of shape {list(features.shape)} were offered to space {self.id[:12]}, which takes "
                f"{[len(ids), self.dim]}: correct `dim` in the backbone's card."
            )
        require_finite(features, names or [bytes(item).hex() for item in ids], f"space {self.id[:12]}")
        if not len(ids):
            return Appended(0, 0.0)
        halves, fits, error = round_features(features)
        if fits.any():
            write_shard(self.folder, self.id, ids[fits], halves[fits], error=error)
        if not fits.all():
            write_shard(self.folder, self.id, ids[~fits], features[~fits], error=0.0)
        return Appended(len(ids), error)

    def refresh(self) -> Index:
        """Take notice of shards that were added or removed, and return the index."""
        with self._lock:
            for _ in range(_ATTEMPTS):
                present = self._scan()
                index = self._index if self._index is not None else self._saved()
                if any(present.get(n) != s for n, s in zip(index.shards, index.sizes, strict=True)):
                    index = indexing.empty()
                    self._mapped.clear()
                new = self._read_new(index, present)
                if new is None:  # one vanished meanwhile: compacted by another process
                    continue
                self._index = index.extended(new)
                self._save()
                return self._index
        raise StoreError(f"{self.folder} keeps changing while it is read: try again when no clean-up runs.")

    def summary(self) -> SpaceSummary:
        """Summarise this space for a listing."""
        index = self.refresh()
        size = bytes_under(self.folder)
        return SpaceSummary(
            self.id, self.dim, self.identity, self._created, len(index), len(index.shards), size
        )

    def _scan(self) -> dict[str, int]:
        try:
            with os.scandir(self.folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if is_shard_name(entry.name)}
        except FileNotFoundError:
            if self.folder.is_dir():  # a shard vanished between its name and its size
                return self._scan()
            return {}
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _saved(self) -> Index:
        index = indexing.load(self.folder)
        self._cached_rows = len(index)
        return index

    def _read_new(self, index: Index, present: Mapping[str, int]) -> list[NewShard] | None:
        known = set(index.shards)
        new = []
        for name, size in present.items():
            if name in known or self._broken.get(name) in (size, -1):
                continue
            try:
                shard = open_shard(self.folder / name)
                if shard.dim == self.dim and shard.metadata.get("space") == self.id:
                    new.append(NewShard(name, size, shard.ids()))
                else:
                    self._broken[name] = size
            except BrokenShardError:
                self._broken[name] = size
            except FileNotFoundError:
                return None
        return new

    def _save(self) -> None:
        assert self._index is not None
        if abs(len(self._index) - self._cached_rows) >= max(_SAVE_INDEX_ABOVE, self._cached_rows // 20):
            self.save_index()

    def save_index(self) -> None:
        """Write the index down so that the next process need not read all shards."""
        index = self.refresh() if self._index is None else self._index
        self._cached_rows = len(index)
        indexing.save(index, self.folder)

    def _forget(self) -> None:
        with self._lock:
            self._index = indexing.empty()
            self._mapped.clear()
            self.refresh()
            self.save_index()

    def _gather(self, index: Index, at: Positions) -> Features:
        """Read rows shard by shard, in the order they lie on disk, several shards at a time."""
        out = np.empty((len(at), self.dim), np.float32)
        shard, row = index.shard[at], index.row[at]
        order = np.lexsort((row, shard))
        shard, row = shard[order], row[order]
        edges = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(at)]
        pieces = list(pairwise(edges)) if len(at) else []
        sources = [self._map(index.shards[shard[start]]) for start, _ in pieces]

        def copy(piece: tuple[int, int], source: Stored) -> None:
            start, stop = piece
            out[_as_slice(order[start:stop])] = source[_as_slice(row[start:stop])]

        if len(pieces) > 1 and _READERS > 1:
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(copy, pieces, sources))
        else:
            for piece, source in zip(pieces, sources, strict=True):
                copy(piece, source)
        return out

    def _map(self, name: str) -> Stored:
        with self._lock:
            if name not in self._mapped:
                try:
                    self._mapped[name] = open_shard(self.folder / name).features()
                except BrokenShardError as error:
                    raise BrokenShardError(str(error), name) from error
            return self._mapped[name]


def _as_slice(rows: npt.NDArray[np.integer]) -> slice | npt.NDArray[np.integer]:
    """Return consecutive positions as a slice, which numpy copies without looking each one up."""
    first, last = int(rows[0]), int(rows[-1])
    consecutive = last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    return slice(first, last + 1) if consecutive else rows


def require_finite(features: Features, names: Sequence[str], where: str) -> None:
    """Raise StoreError naming the first item whose features [n, d] hold a NaN or an infinity."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        more = f" and {bad.size - 1} more" if bad.size > 1 else ""
        raise StoreError(
            f"The features of {names[bad[0]]}{more} in {where} are not finite and were not stored: look at "
            'the image, or say precision = "fp32" in the backbone\'s card (?precision=fp32 after timm:NAME).'
        )
