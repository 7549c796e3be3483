"""Where each item's features lie: built from the shards, and always possible to build again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.errors import StoreError
from cytobench.features.durable import write_durably
from cytobench.features.items import Ids

CACHE = "index.cache"
_MAGIC = b"CBINDEX1"

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NewShard:
    """What the index needs to know of one shard: its file name, its size in bytes, its ids uint8 [n, 16]."""

    name: str
    size: int
    ids: Ids


@dataclass(frozen=True)
class Index:
    """A sorted table of items: where several shards hold one, the first by name has it.

    shards: sorted file names; sizes: their bytes; high, low: the ids as two big-endian halves, uint64 [n],
    sorted by `high`; shard: int32 [n] into `shards`; row: int32 [n] within the shard.
    """

    shards: tuple[str, ...]
    sizes: tuple[int, ...]
    high: Keys
    low: Keys
    shard: Numbers
    row: Numbers

    def __len__(self) -> int:
        return len(self.high)

    def find(self, ids: Ids) -> Positions:
        """Return for ids uint8 [m, 16] their positions in the table, int64 [m], -1 where absent."""
        return self._find(*halves(ids))

    def _find(self, high: Keys, low: Keys) -> Positions:
        found = np.full(len(high), -1, np.int64)
        at = np.searchsorted(self.high, high)
        pending = np.arange(len(high))
        while pending.size:  # more than once only where two items share eight bytes
            pending = pending[at[pending] < len(self)]
            pending = pending[self.high[at[pending]] == high[pending]]
            equal = self.low[at[pending]] == low[pending]
            found[pending[equal]] = at[pending[equal]]
            pending = pending[~equal]
            at[pending] += 1
        return found

    def extended(self, new: Sequence[NewShard]) -> Index:
        """Return the index of these shards and `new` ones together."""
        if not new:
            return self
        sizes = dict(zip(self.shards, self.sizes, strict=True)) | {shard.name: shard.size for shard in new}
        names = tuple(sorted(sizes))
        place = {name: at for at, name in enumerate(names)}
        moved = np.array([place[name] for name in self.shards], np.int32)
        old = Index(names, tuple(sizes[name] for name in names), self.high, self.low,
                    moved[self.shard] if len(self) else self.shard, self.row)  # fmt: skip
        return _merged(old, _table_of(new, place, old))

    def ids(self) -> Ids:
        """Return all item ids: uint8 [n, 16], in the order of the table."""
        pairs = np.stack([self.high, self.low], axis=1).astype(">u8")
        return pairs.view(np.uint8).reshape(len(self), 16)


def empty() -> Index:
    """Return the index of no shards."""
    keys, numbers = np.empty(0, np.uint64), np.empty(0, np.int32)
    return Index((), (), keys, keys, numbers, numbers)


def save(index: Index, folder: Path) -> None:
    """Write the index beside its shards; where that is not possible, it is built again next time."""
    header = json.dumps({"rows": len(index), "shards": index.shards, "sizes": index.sizes}).encode()
    parts = [len(header).to_bytes(8, "little"), header]
    parts += [column.tobytes() for column in (index.high, index.low, index.shard, index.row)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with contextlib.suppress(StoreError):
        write_durably(folder / CACHE, [_MAGIC, digest.digest(), *parts])


def load(folder: Path) -> Index:
    """Read the saved index; an empty one where there is none, or where it is damaged."""
    try:
        raw = (folder / CACHE).read_bytes()
    except OSError:
        return empty()
    body = memoryview(raw)[40:]
    if raw[:8] != _MAGIC or hashlib.sha256(body).digest() != raw[8:40]:
        return empty()
    start = 8 + int.from_bytes(body[:8], "little")
    header = json.loads(bytes(body[8:start]))
    rows = header["rows"]
    high = np.frombuffer(body, np.uint64, rows, offset=start)
    low = np.frombuffer(body, np.uint64, rows, offset=start + 8 * rows)
    shard = np.frombuffer(body, np.int32, rows, offset=start + 16 * rows)
    row = np.frombuffer(body, np.int32, rows, offset=start + 20 * rows)
    return Index(tuple(header["shards"]), tuple(header["sizes"]), high, low, shard, row)


def halves(ids: Ids) -> tuple[Keys, Keys]:
    """Return ids uint8 [n, 16] as two numbers each, uint64 [n], which sort as the bytes do."""
    pairs = np.ascontiguousarray(ids).view(">u8").astype(np.uint64)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def _table_of(new: Sequence[NewShard], place: dict[str, int], frame: Index) -> Index:
    """Sort the rows of new shards by id and keep, of equal ones, the first by shard name and row."""
    ordered = sorted(new, key=lambda shard: shard.name)
    high, low = halves(np.concatenate([shard.ids for shard in ordered]))
    shard = np.repeat(np.array([place[s.name] for s in ordered], np.int32), [len(s.ids) for s in ordered])
    row = np.concatenate([np.arange(len(s.ids), dtype=np.int32) for s in ordered])
    order = np.lexsort((low, high))  # stable: equal ids stay in the order of shards and rows
    high, low = high[order], low[order]
    first = np.ones(len(order), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    kept = order[first]
    return Index(frame.shards, frame.sizes, high[first], low[first], shard[kept], row[kept])


def _merged(old: Index, new: Index) -> Index:
    """Join two tables over the same shard names; of an item in both, the one in the earlier shard stays."""
    if not len(old):
        return new
    at = old._find(new.high, new.low)
    known = at >= 0
    shard, row = old.shard.copy(), old.row.copy()
    wins = known.copy()
    wins[known] = new.shard[known] < old.shard[at[known]]
    shard[at[wins]], row[at[wins]] = new.shard[wins], new.row[wins]
    fresh = ~known
    where = np.searchsorted(old.high, new.high[fresh])
    return Index(
        old.shards,
        old.sizes,
        np.insert(old.high, where, new.high[fresh]),
        np.insert(old.low, where, new.low[fresh]),
        np.insert(shard, where, new.shard[fresh]),
        np.insert(row, where, new.row[fresh]),
    )
