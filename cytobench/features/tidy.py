"""Tidying a feature store while others read and write it: leftovers go, small shards are joined."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytobench.errors import StoreError
from cytobench.features import index as indexing
from cytobench.features.description import NEW
from cytobench.features.durable import TEMPORARY, bytes_under, unwritable
from cytobench.features.index import Index
from cytobench.features.shards import (
    SUFFIX,
    BrokenShardError,
    Shard,
    open_shard,
    rounding_error,
    write_shard,
)
from cytobench.features.verify import build_index, shard_names, whole_shards
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.features.store import FeatureStore

_SMALL_ROWS = 16_384  # shards below this are joined
_JOINED_ROWS, _JOINED_BYTES = 65_536, 128 * 2**20  # into shards of at most this
_DOOMED = ".removed-"
_JOIN = "+"  # sorts before the dot of the suffix: a joined shard takes the place of its first part


@dataclass(frozen=True)
class Tidied:
    """What a clean-up did; `bytes` is how much smaller the store became.

    temporary: half-written files of killed processes; broken: unreadable shards; joined: small shards, now
    `joined_into` larger ones; spaces: whole spaces removed on request.
    """

    temporary: int = 0
    broken: int = 0
    joined: int = 0
    joined_into: int = 0
    spaces: int = 0
    bytes: int = 0


def tidy(
    store: FeatureStore, *, max_age: float, remove: Sequence[str] = (), reporter: Reporter | None = None
) -> Tidied:
    """Remove spaces on request, then leftovers older than `max_age` seconds, then join small shards.

    remove: ids of spaces, or beginnings that only one has. Raises StoreError for one that is not there and
    where the disk cannot be written; no row that could be read before is lost.
    """
    before = bytes_under(store.folder)
    doomed = [_named(store, name) for name in remove]
    temporary = broken = joined = joined_into = 0
    try:
        _remove_spaces(store, doomed)
        temporary += _remove_unborn(store.folder, max_age)
        folders = store.folders()
        with (reporter or SilentReporter()).task("tidy features", len(folders)) as step:
            for folder in folders:
                temporary += _remove_temporary(folder, max_age)
                broken += _remove_broken(folder, max_age)
                parts, wholes = _join_small(folder)
                joined, joined_into = joined + parts, joined_into + wholes
                step.advance()
    except OSError as error:
        raise unwritable(store.folder, error) from error
    freed = before - bytes_under(store.folder)
    return Tidied(temporary, broken, joined, joined_into, len(doomed), freed)


def _named(store: FeatureStore, name: str) -> Path:
    found = [folder for folder in store.folders() if name and folder.name.startswith(name)]
    if len(found) != 1:
        what = "No space" if not found else f"{len(found)} spaces"
        raise StoreError(
            f"{what} in {store.folder} with an id that begins with '{name}': give one that `cache ls` shows."
        )
    return found[0]


def _remove_spaces(store: FeatureStore, doomed: Sequence[Path]) -> None:
    for folder in doomed:  # renamed first, so that a removal cut short leaves no half space
        folder.rename(store.folder / f"{_DOOMED}{folder.name[:12]}-{secrets.token_hex(4)}")
    if store.folder.is_dir():
        for folder in store.folder.glob(f"{_DOOMED}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _older_than(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:
        return False


def _remove_unborn(folder: Path, max_age: float) -> int:
    old = [entry for entry in folder.glob(f"{NEW}*") if _older_than(entry, max_age)]
    for entry in old:
        shutil.rmtree(entry, ignore_errors=True)
    return len(old)


def _remove_temporary(folder: Path, max_age: float) -> int:
    old = [entry for entry in folder.glob(f".*{TEMPORARY}") if _older_than(entry, max_age)]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _remove_broken(folder: Path, max_age: float) -> int:
    removed = 0
    for name in shard_names(folder):
        try:
            open_shard(folder / name)
        except FileNotFoundError:
            continue
        except BrokenShardError:
            if _older_than(folder / name, max_age):
                (folder / name).unlink(missing_ok=True)
                removed += 1
    return removed


def _join_small(folder: Path) -> tuple[int, int]:
    """Join small shards and return how many became how many."""
    shards = whole_shards(folder)
    index = build_index(shards)
    joined = joined_into = 0
    for group in _groups(shards):
        if _join(folder, group, index):
            joined, joined_into = joined + len(group), joined_into + 1
    if joined:
        indexing.save(build_index(whole_shards(folder)), folder)
    return joined, joined_into


def _groups(shards: Sequence[Shard]) -> Iterator[list[Shard]]:
    """Yield two or more small shards of one number type that fit into one of full size."""
    for dtype in sorted({shard.dtype for shard in shards}, key=str):
        group: list[Shard] = []
        for shard in shards:
            if shard.dtype != dtype or shard.rows >= _SMALL_ROWS or shard.problems():
                continue
            rows = sum(part.rows for part in group) + shard.rows
            if rows > _JOINED_ROWS or rows * shard.dim * dtype.itemsize > _JOINED_BYTES:
                if len(group) > 1:
                    yield group
                group = []
            group.append(shard)
        if len(group) > 1:
            yield group


def _join(folder: Path, group: Sequence[Shard], index: Index) -> bool:
    """Write the rows that readers take from these shards into one, then remove them.

    Rows that readers take from another shard are left out: that shard stays, or is joined by whoever
    removes it. The new name sorts where the first part did, so every reader goes on finding the same bits.
    """
    place = {name: at for at, name in enumerate(index.shards)}
    ids, features = [], []
    try:
        for shard in group:
            rows = np.sort(index.row[index.shard == place[shard.path.name]])
            ids.append(shard.ids()[rows])
            features.append(shard.features()[rows])
    except (BrokenShardError, FileNotFoundError):  # another clean-up was here first
        return False
    if sum(map(len, ids)):
        first = group[0].path.name.removesuffix(SUFFIX).split(_JOIN)[0]
        name = f"{first}{_JOIN}{secrets.token_hex(6)}{SUFFIX}"
        error = max(map(rounding_error, group))
        write_shard(
            folder, folder.name, np.concatenate(ids), np.concatenate(features), error=error, name=name
        )
    for shard in group:
        shard.path.unlink(missing_ok=True)
    return True
