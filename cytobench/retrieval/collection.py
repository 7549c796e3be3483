"""A collection: the labelled cells of a data set as one of its tasks cuts them."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from cytobench.cards import TaskCard
from cytobench.datasets.task import load_task
from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError
from cytobench.features.items import Items, items_of
from cytobench.pictures.licence import refuse_blind
from cytobench.progress import Reporter
from cytobench.registry import Registry

_SHARED = ("sample", "image", "box", "label", "group", "mpp")


@dataclass(frozen=True)
class Collection:
    """The cells that can be found, sorted by sample.

    `table`: a row per cell with `sample`, `label`, `group`; `items`: what is seen of each, row by row.
    Cells sealed for pretraining are among them: looking cells up evaluates nothing.
    """

    card: TaskCard
    table: pl.DataFrame
    items: Items

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.items)

    @property
    def name(self) -> str:
        """The task's name, by which the collection is known."""
        return self.card.name

    @cached_property
    def keys(self) -> list[tuple[str, str, str, str]]:
        """Sample, what is seen of it (hex), label and group of every cell: what an index remembers of it."""
        seen = [item.tobytes().hex() for item in self.items.ids]
        columns = (self.table[name].to_list() for name in ("sample", "label", "group"))
        samples, labels, groups = columns
        return [(s, i, str(la), str(g)) for s, i, la, g in zip(samples, seen, labels, groups, strict=True)]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the collection holds, 64 hex digits; neither paths nor order enter it."""
        return digest_of(self.keys)

    @cached_property
    def files(self) -> list[str]:
        """Each cell's image file, relative to the folder that holds all of them."""
        folder = Path(os.path.commonpath([str(Path(image).parent) for image in set(self.items.images)]))
        relative = {image: Path(image).relative_to(folder).as_posix() for image in set(self.items.images)}
        return [relative[image] for image in self.items.images]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of every sample."""
        return {sample: row for row, sample in enumerate(self.table["sample"].to_list())}

    @cached_property
    def whole_images(self) -> bool:
        """Whether cells are whole image files, so that a query without a box is cut as they are."""
        return bool((self.items.boxes[:, 2] < 0).any())


def digest_of(keys: Sequence[tuple[str, str, str, str]]) -> str:
    """Return the SHA-256 of the cells' keys, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(keys), separators=(",", ":")).encode()).hexdigest()


def card_of(name: str, registry: Registry, reporter: Reporter) -> TaskCard:
    """Return the task that a collection is named after, or the first ranked cell task of a data set.

    Raises UsageError for a name that is neither.
    """
    if name in registry.tasks or Path(name).suffix == ".toml":
        return registry.task(name)
    of_set = [card for card in registry.tasks.values() if card.dataset_name == name]
    if not of_set:
        known = sorted({*registry.tasks, *(card.dataset_name for card in registry.tasks.values())})
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `cytobench list tasks`."
        raise UsageError(f"There is no data set or task '{name}'; {hint}")
    best = min(of_set, key=lambda card: (card.unit != "cell", not card.ranked, card.name))
    if len(of_set) > 1:
        reporter.say(f"{name}: its cells as the task {best.name} cuts and labels them.")
    return best


def read_collection(
    card: TaskCard, *, data_dirs: Sequence[Path], home: Path, digests: FileDigests, reporter: Reporter
) -> Collection:
    """Read the cells of a task, sealed ones included; raises DataError where there are none.

    Raises UsageError for a task over features of another tool: there is nothing to look at.
    """
    refuse_blind([card])
    data = load_task(card, data_dirs=data_dirs, home=home, reporter=reporter)
    parts = [data.table]
    if card.view.kind != "tile" and len(data.sealed):  # sealed fields are not tiled
        parts.append(data.sealed)
    columns = [name for name in _SHARED if all(name in part.columns for part in parts)]
    table = pl.concat([part.select(columns) for part in parts]).unique("sample").sort("sample")
    if not len(table):
        raise DataError(f"The collection {card.name} holds no cell; there is nothing to look up.")
    return Collection(card, table, items_of(table, card.view, digests, reporter))
