"""The pool: pictures ready for training, uint8 and of one size, in shards that are mapped into memory.

On disk: `shard-00000.npy` … (uint8 [n, side, side, 3], in numpy's own format) and `pool.json`, which is
written last, so that a folder without it is no pool. Sources lie one after another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytobench.errors import DataError
from cytobench.features.durable import make_folder, save_durably

Pixels = NDArray[np.uint8]

DESCRIPTION = "pool.json"
_FORMAT = 1
_SHARD_BYTES = 2**31  # each mapped shard keeps a file open


@dataclass(frozen=True)
class Source:
    """Pictures of one origin in a pool: how many, and what was left out on the way and why."""

    name: str
    dataset: str
    images: int
    left_out: Mapping[str, int]


class Pool:
    """A finished pool, opened for reading; safe to read from many threads."""

    def __init__(self, folder: Path) -> None:
        """Open a pool; raises DataError where it is unfinished, damaged or of another version."""
        self.folder = folder
        self.description = _read_description(folder)
        self.side = int(self.description["side"])
        self.sources = tuple(Source(**one) for one in self.description["sources"])
        self._shards = [_map(folder / name, self.side) for name in self.description["shards"]]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        if not len(self._ends) or self._ends[-1] != sum(source.images for source in self.sources):
            raise DataError(f"The pool {folder} is damaged (pictures are missing): delete it and pack anew.")

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def digest(self) -> str:
        """SHA-256 over what lies in the pool, 64 hex digits."""
        return str(self.description["digest"])

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """Return the pictures `rows`, uint8 [n, side, side, 3], in that order."""
        out = np.empty((len(rows), self.side, self.side, 3), dtype=np.uint8)
        shard_of = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(shard_of):
            mine = np.flatnonzero(shard_of == number)
            start = self._ends[number - 1] if number else 0
            out[mine] = self._shards[number][rows[mine] - start]
        return out


class PoolWriter:
    """Writes pictures into a new pool, shard by shard; nothing counts before `finish`."""

    def __init__(self, folder: Path, side: int) -> None:
        self.folder, self.side = folder, side
        self._names: list[str] = []
        self._waiting: list[Pixels] = []
        self._per_shard = max(1, _SHARD_BYTES // (side * side * 3))
        make_folder(folder, option="--out")

    def add(self, pictures: Iterable[Pixels]) -> None:
        """Append pictures, each uint8 [side, side, 3]."""
        for picture in pictures:
            self._waiting.append(picture)
            if len(self._waiting) == self._per_shard:
                self._write()

    def finish(self, sources: Sequence[Source], digest: str, facts: Mapping[str, Any]) -> Pool:
        """Write the last shard and the description, and return the pool."""
        if self._waiting:
            self._write()
        description = {
            "format": _FORMAT,
            "side": self.side,
            "shards": self._names,
            "digest": digest,
            "sources": [vars(source) | {"left_out": dict(source.left_out)} for source in sources],
            **facts,
        }
        text = json.dumps(description, indent=1, ensure_ascii=False)
        save_durably(self.folder / DESCRIPTION, lambda file: file.write(text.encode()), option="--out")
        return Pool(self.folder)

    def _write(self) -> None:
        name = f"shard-{len(self._names):05d}.npy"
        stack = np.stack(self._waiting)
        save_durably(self.folder / name, lambda file: np.save(file, stack), option="--out")
        self._names.append(name)
        self._waiting = []


def is_pool(folder: Path) -> bool:
    """Tell whether `folder` holds a finished pool."""
    return (folder / DESCRIPTION).is_file()


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} is no finished pool (it has no {DESCRIPTION}): pack it anew.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / DESCRIPTION} cannot be read ({error}): pack the pool anew.") from error
    if description.get("format") != _FORMAT:
        raise DataError(f"The pool {folder} was written by another version of CytoBench: pack it anew.")
    return dict(description)


def _map(path: Path, side: int) -> Pixels:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}): delete the pool and pack it anew."
        ) from error
    if shard.dtype != np.uint8 or shard.shape[1:] != (side, side, 3):
        raise DataError(f"{path} does not hold pictures of {side} px: delete the pool and pack it anew.")
    pixels: Pixels = shard
    return pixels
