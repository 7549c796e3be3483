"""Reading the tasks whose data are at hand, to know what they close and what they open to pretraining.

A task's card opens nothing (`pretrain = "never"`) or its sealed share. Of a data set whose images are at
hand, every file that no card opens is closed, also unlabelled ones.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.datasets import DATASETS, available_tasks, source_path
from cytobench.datasets.listing import IMAGE_SUFFIXES, images_in
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError, DataError, counted, name_some
from cytobench.pretraining.guard import ANY_GROUP, Guard, digests_of
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import TaskCard
    from cytobench.datasets.task import RawTables, Shares
    from cytobench.registry import Registry

_Named = defaultdict[Path, set[str]]


@dataclass(frozen=True)
class _Copy:
    """A data set in one place, and the tasks on it.

    root: None for a table, whose images lie anywhere; known: whether it is a data set of the project's own
    list, whose groups mean nothing elsewhere.
    """

    name: str
    root: Path | None
    cards: tuple[TaskCard, ...]
    known: bool


def _names() -> _Named:
    return defaultdict(set)


@dataclass
class _Ledger:
    """Files with the tasks that evaluate them, with the data sets that open them, and all the others.

    free: files of data sets that no task uses; they are open, but relieve nothing that another set closes.
    """

    kept: _Named = field(default_factory=_names)
    opened: _Named = field(default_factory=_names)
    free: _Named = field(default_factory=_names)
    other: _Named = field(default_factory=_names)
    groups: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    never: dict[Path, str] = field(default_factory=dict)
    examined: list[str] = field(default_factory=list)


def examine(
    registry: Registry,
    *,
    data_dirs: Sequence[Path],
    home: Path,
    reporter: Reporter,
    memory: RawTables | None = None,
) -> Guard:
    """Read all tasks whose data are at hand, in every place they lie in, and return what they close.

    A task that cannot be read is passed over where another one on its data set can; otherwise all images of
    the set are closed, and a warning says so. memory: as in `read_shares`.
    """
    for one in registry.broken:
        reporter.warn(
            f"What the tasks of {one.origin} evaluate is not kept out of pretraining, as its cards cannot be "
            f"read: {one.reason}"
        )
    copies = _at_hand(registry.tasks, data_dirs)
    ledger, memory = _Ledger(), {} if memory is None else memory
    with reporter.task("what evaluation keeps for itself", len(copies)) as step:
        for copy in copies:
            _enter(copy, ledger, home, memory, reporter)
            step.advance()
    return _guard(ledger, FileDigests(home), reporter)


def read_tasks(
    cards: Iterable[TaskCard], root: Path | None, *, home: Path, memory: RawTables
) -> tuple[list[tuple[TaskCard, Shares]], list[tuple[TaskCard, CytoBenchError]]]:
    """Return the shares of the tasks of one data set that can be read, and why the others cannot be."""
    from cytobench.datasets.task import read_shares

    read: list[tuple[TaskCard, Shares]] = []
    failed: list[tuple[TaskCard, CytoBenchError]] = []
    for card in cards:
        try:
            read.append((card, read_shares(card, data_dirs=(), home=home, root=root, memory=memory)))
        except CytoBenchError as error:
            failed.append((card, error))
    return read, failed


def places_of(name: str, data_dirs: Sequence[Path]) -> list[Path]:
    """Return all folders of a data set: below `data_dirs`, or one of these itself; none within another."""
    names = DATASETS[name].folders if name in DATASETS else (name,)
    found: dict[Path, Path] = {}
    for data_dir in data_dirs:
        own = [data_dir] if data_dir.name in names else []
        for folder in [*(data_dir / one for one in names), *own]:
            if folder.is_dir():
                found.setdefault(folder.resolve(), folder)
    return [path for place, path in found.items() if not any(above in found for above in place.parents)]


def files_of(rows: pl.DataFrame) -> set[Path]:
    """Return where the images of a manifest really lie."""
    return {Path(image).resolve() for image in rows["image"].unique()}


def _at_hand(tasks: Mapping[str, TaskCard], data_dirs: Sequence[Path]) -> list[_Copy]:
    """Return every place of every data set that is at hand, with or without tasks; no generated ones."""
    by_name: dict[str, list[TaskCard]] = {name: [] for name, info in DATASETS.items() if not info.generated}
    by_path: dict[Path, list[TaskCard]] = {}
    for card in tasks.values():
        if isinstance(card.dataset, str):
            name = card.name if ":" in card.dataset else card.dataset
            if name in by_name or ":" in card.dataset:
                by_name.setdefault(name, []).append(card)
        elif available_tasks({card.name: card}, data_dirs):
            by_path.setdefault(source_path(card), []).append(card)
    copies = [
        _Copy(name, root, tuple(cards), name in DATASETS)
        for name, cards in by_name.items()
        for root in places_of(name, data_dirs)
    ]
    own = [
        _Copy(cards[0].name, path if path.is_dir() else None, tuple(cards), known=False)
        for path, cards in by_path.items()
    ]
    return [*copies, *own]


def _enter(copy: _Copy, ledger: _Ledger, home: Path, memory: RawTables, reporter: Reporter) -> None:
    """Enter what one copy of a data set keeps, opens and merely holds."""
    below = _images_below(copy.root, reporter)
    closing = [card for card in copy.cards if card.pretrain == "never"]
    if closing and copy.root is not None:
        ledger.never[copy.root.resolve()] = closing[0].name
        _add(ledger.kept, below, [card.name for card in closing])
    if not copy.cards:
        _add(ledger.free, below, [copy.name])
        return
    if closing and copy.known:  # all of it is closed already
        ledger.examined += [card.name for card in copy.cards]
        return
    read, failed = read_tasks(copy.cards, copy.root, home=home, memory=memory)
    for card, shares in read:
        ledger.examined.append(card.name)
        _add(ledger.kept, files_of(shares.kept), [card.name])
        _add(ledger.opened, files_of(shares.sealed), [card.dataset_name])
        if not copy.known and card.group != "none":
            _add_groups(ledger, card, shares.kept)
    names = [card.name for card in copy.cards]
    _add(ledger.other, below, names)
    if failed and read:
        _say_passed_over(copy, failed, reporter)
    elif failed:
        ledger.examined += names
        _close(copy, below, ledger, failed, reporter)


def _close(
    copy: _Copy,
    below: set[Path],
    ledger: _Ledger,
    failed: Sequence[tuple[TaskCard, CytoBenchError]],
    reporter: Reporter,
) -> None:
    """Close all that lies in, or beside, what cannot be read."""
    place = copy.root or source_path(copy.cards[0]).parent
    _add(ledger.kept, below or _images_below(place, reporter), [card.name for card in copy.cards])
    reporter.warn(
        f"What {_tasks(failed)} evaluate{'s' if len(failed) == 1 else ''} cannot be read, so every image in "
        f"{place} is kept out of pretraining: {failed[0][1]}"
    )


def _say_passed_over(
    copy: _Copy, failed: Sequence[tuple[TaskCard, CytoBenchError]], reporter: Reporter
) -> None:
    reporter.say(
        f"{_tasks(failed)} cannot be read in {copy.root}, so other tasks on the same images say what is kept "
        f"out: {failed[0][1]}"
    )


def _tasks(failed: Sequence[tuple[TaskCard, CytoBenchError]]) -> str:
    plural = "s" if len(failed) > 1 else ""
    return f"the task{plural} {name_some(card.name for card, _ in failed)}"


def _add(named: _Named, files: Iterable[Path], names: Iterable[str]) -> None:
    mine = list(names)
    for file in files:
        named[file].update(mine)


def _add_groups(ledger: _Ledger, card: TaskCard, kept: pl.DataFrame) -> None:
    """Enter a user's own groups under the name of their column; the usual names are compared with all."""
    column = ledger.groups.setdefault(card.group if card.group not in ANY_GROUP else ANY_GROUP[0], {})
    for group in kept["group"].unique():
        column.setdefault(str(group), set()).add(card.name)


def _images_below(root: Path | None, reporter: Reporter) -> set[Path]:
    """Return all images below a folder, and a warning instead of an error where a part cannot be listed."""
    if root is None:
        return set()
    try:
        return {path.resolve() for path in images_in(root, deep=True)}
    except DataError as error:
        reporter.warn(f"Not all evaluation images in {root} can be kept out of pretraining: {error}")
    named = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return {path.resolve() for path in named if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()}


def _guard(ledger: _Ledger, digests: FileDigests, reporter: Reporter) -> Guard:
    """Turn files into digests: closed is what is kept, and what no card opens of a data set with tasks."""
    every = [*ledger.kept, *ledger.opened, *ledger.free, *ledger.other]
    found, unreadable = digests_of(dict.fromkeys(sorted(every)), digests, reporter)
    if unreadable:
        reporter.warn(
            f"{counted(len(unreadable), 'image')} of evaluation data cannot be read, so copies of them are "
            f"not known: {name_some(unreadable)}"
        )
    kept, opened = _by_digest(ledger.kept, found), _by_digest(ledger.opened, found)
    other, free = _by_digest(ledger.other, found), _by_digest(ledger.free, found)
    # a reader that leaves out byte copies of an open image does not close it
    closed = {digest: names for digest, names in other.items() if digest not in opened} | kept
    known = {digest: names for digest, names in (free | opened).items() if digest not in closed}
    groups = {
        column: {group: tuple(sorted(names)) for group, names in held.items()}
        for column, held in ledger.groups.items()
    }
    return Guard(closed, known, groups, ledger.never, tuple(dict.fromkeys(ledger.examined)))


def _by_digest(named: _Named, found: Mapping[Path, str]) -> dict[str, tuple[str, ...]]:
    merged: defaultdict[str, set[str]] = defaultdict(set)
    for file, names in named.items():
        if file in found:
            merged[found[file]] |= names
    alike: dict[frozenset[str], tuple[str, ...]] = {}
    return {
        digest: alike.setdefault(frozenset(names), tuple(sorted(names))) for digest, names in merged.items()
    }
