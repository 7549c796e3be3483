"""Reading every byte of a feature store and naming what is wrong with it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytobench.features import index as indexing
from cytobench.features.description import FILE, read_description
from cytobench.features.index import Index, NewShard
from cytobench.features.shards import BrokenShardError, Shard, is_shard_name, open_shard
from cytobench.features.space import space_id
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.features.store import FeatureStore

_REMEDY = "delete this file, its features will be computed again"


@dataclass(frozen=True)
class Problem:
    """Something wrong in a store: in which file, and what is wrong and what to do."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def verify(store: FeatureStore, reporter: Reporter | None = None) -> list[Problem]:
    """Check the description, shards (length, shape, digest, finite values) and index of every space."""
    names = {folder: shard_names(folder) for folder in store.folders()}
    found: list[Problem] = []
    with (reporter or SilentReporter()).task("verify features", sum(map(len, names.values()))) as step:
        for folder, shards in names.items():
            for name in shards:
                found += [Problem(folder / name, f"{text}; {_REMEDY}") for text in _of_shard(folder / name)]
                step.advance()
            found += _of_space(folder)
    return found


def shard_names(folder: Path) -> list[str]:
    """Return the file names of a space's shards, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if is_shard_name(entry.name))


def whole_shards(folder: Path, names: Container[str] | None = None) -> list[Shard]:
    """Open those shards of a space (of `names` in it) that are readable and belong to it, sorted."""
    found = []
    for name in shard_names(folder):
        try:
            shard = open_shard(folder / name) if names is None or name in names else None
        except (BrokenShardError, FileNotFoundError):
            continue
        if shard is not None and not _stranger(shard):
            found.append(shard)
    return found


def build_index(shards: list[Shard]) -> Index:
    """Build the index of these shards from nothing but them."""
    return indexing.empty().extended([NewShard(s.path.name, s.size, s.ids()) for s in shards])


def _of_shard(path: Path) -> list[str]:
    try:
        shard = open_shard(path)
        return _stranger(shard) or shard.problems()
    except BrokenShardError as error:
        return [str(error)]
    except FileNotFoundError:  # joined into a larger shard since its name was read
        return []


def _stranger(shard: Shard) -> list[str]:
    if shard.metadata.get("space") != shard.path.parent.name:
        return ["it belongs to another space"]
    description = read_description(shard.path.parent)
    if description is not None and description.dim != shard.dim:
        return [f"its features are {shard.dim} wide and the space's {description.dim}"]
    return []


def _of_space(folder: Path) -> list[Problem]:
    description = read_description(folder)
    if description is None:
        return [Problem(folder / FILE, "it is missing or damaged; run the extraction again, which writes it")]
    found = []
    if space_id(description.identity) != folder.name:
        found.append(
            Problem(folder / FILE, "its identity is not the one this space is named after; delete it")
        )
    saved = indexing.load(folder)
    shards = whole_shards(folder, set(saved.shards))
    if tuple(shard.path.name for shard in shards) == saved.shards and not _equal(saved, build_index(shards)):
        found.append(Problem(folder / indexing.CACHE, "it contradicts the shards; delete this file"))
    return found


def _equal(one: Index, other: Index) -> bool:
    return all(
        np.array_equal(getattr(one, column), getattr(other, column))
        for column in ("high", "low", "shard", "row")
    )
