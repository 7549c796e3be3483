"""What pretraining may not read: everything evaluation uses, by content and by group.

A task's card opens nothing (`pretrain = "never"`) or its sealed share. Of a data set whose images are at
hand, every file that no card opens is closed, also unlabelled ones and copies under other names: files are
compared by the SHA-256 of their bytes, so a copied folder is no way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.digests import FileDigests
from cytobench.errors import DataError, MissingDataError, UsageError, name_some
from cytobench.pretraining.sources import Listed
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import TaskCard
    from cytobench.registry import Registry

_USER_GROUPS = ("group", "patient", "slide")


@dataclass(frozen=True)
class Opened:
    """A data set's rows that pretraining may read; window: the side in px its tasks cut, 0 for whole images.

    show_images: whether its licence permits pictures of it in reports.
    """

    rows: pl.DataFrame
    window: int
    show_images: bool


@dataclass(frozen=True)
class Guard:
    """What is closed: digests of files, groups of users' own tasks, and folders no file of which is open.

    examined: the tasks whose data were at hand, for the record.
    """

    digests: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    never: Mapping[Path, str] = field(default_factory=dict)
    examined: tuple[str, ...] = ()

    def refuse_folder(self, folder: Path) -> None:
        """Raise UsageError for a folder inside a data set that is closed altogether."""
        for root, task in self.never.items():
            if folder.resolve().is_relative_to(root):
                raise UsageError(
                    f"{folder} belongs to task '{task}', which is never for pretraining "
                    '(pretrain = "never" in its card): leave it out.'
                )

    def filter(
        self, listed: Listed, digests: FileDigests, reporter: Reporter, table: pl.DataFrame | None = None
    ) -> tuple[Listed, dict[str, int]]:
        """Return what of a source is open, and how many images are not, by reason.

        table: the source's manifest, whose group columns are compared too. Raises DataError when nothing is
        left.
        """
        files = list(dict.fromkeys(piece.image for piece in listed.pieces))
        readable = [path for path in files if path.is_file()]
        found = dict(zip(readable, digests.sha256_many(readable, reporter), strict=True))
        closed = {path for path, digest in found.items() if digest in self.digests}
        by_group = self._grouped(table) - closed
        kept = tuple(piece for piece in listed.pieces if piece.image not in closed | by_group)
        if listed.pieces and not kept:
            raise DataError(
                f"Every image of '{listed.name}' belongs to evaluation (tasks {name_some(self.examined)}): "
                "pretraining may not read it; leave it out."
            )
        reasons = {"evaluation images": len(closed), "images of evaluation groups": len(by_group)}
        return Listed(listed.name, listed.dataset, kept), {k: n for k, n in reasons.items() if n}

    def _grouped(self, table: pl.DataFrame | None) -> set[Path]:
        if table is None:
            return set()
        import polars as pl

        columns = [name for name in _USER_GROUPS if name in table.columns]
        mine = [table.filter(pl.col(name).cast(pl.String).is_in(list(self.groups))) for name in columns]
        return {Path(image) for part in mine for image in part["image"]}


def examine(registry: Registry, *, data_dirs: Sequence[Path], home: Path, reporter: Reporter) -> Guard:
    """Read all tasks whose data are at hand and return what they close.

    Raises DataError when a task's data are unusable: what cannot be read cannot be kept out.
    """
    from cytobench.datasets import available_tasks

    cards = [card for card in available_tasks(registry.tasks, data_dirs) if not _is_generated(card)]
    open_files: set[Path] = set()
    kept_files: set[Path] = set()
    all_files: set[Path] = set()
    never: dict[Path, str] = {}
    groups: set[str] = set()
    with reporter.task("what evaluation keeps for itself", len(cards)) as step:
        for card in cards:
            root = _root(card, data_dirs)
            if root is not None:
                all_files |= _images_below(root)
                if card.pretrain == "never":
                    never[root.resolve()] = card.name
            if root is None or card.pretrain != "never" or not isinstance(card.dataset, str):
                kept, sealed = _shares(card, data_dirs, home)
                kept_files |= _files(kept)
                open_files |= _files(sealed)
                if not isinstance(card.dataset, str) and card.group != "none":
                    groups |= set(kept["group"].cast(str))
            step.advance()
    memory = FileDigests(home)
    kept_digests = set(memory.sha256_many(sorted(kept_files), reporter))
    # a reader that leaves out byte copies of an open image does not close it
    opened = set(memory.sha256_many(sorted(open_files), reporter)) - kept_digests
    others = set(memory.sha256_many(sorted(all_files - open_files - kept_files), reporter))
    digests = frozenset(kept_digests | (others - opened))
    return Guard(digests, frozenset(groups), never, tuple(card.name for card in cards))


def open_rows(
    name: str, registry: Registry, *, data_dirs: Sequence[Path], home: Path, reporter: Reporter
) -> Opened:
    """Return the rows of a known data set that pretraining may read.

    Those that every task on it seals; all of a set that no task uses. Raises UsageError for a set that a task
    closes, MissingDataError when it is not at hand.
    """
    import polars as pl

    from cytobench import manifest
    from cytobench.datasets import DATASETS, find_root, import_function

    cards = [card for card in registry.tasks.values() if card.dataset == name]
    closing = next((card for card in cards if card.pretrain == "never"), None)
    if closing is not None:
        raise UsageError(
            f"The data set '{name}' is never for pretraining (task '{closing.name}' says so): leave it out."
        )
    info = DATASETS[name]
    root = find_root(name, data_dirs)
    if root is None:
        raise MissingDataError(
            f"The data set '{name}' is not here: no folder named {' or '.join(info.folders)} below the data "
            "folders; name the folder above it with --data or CYTOBENCH_DATA."
        )
    if not cards:
        return Opened(manifest.conform(import_function(info.reader)(root)), 0, info.show_images)
    shares = [_shares(card, data_dirs, home) for card in cards]
    kept = {file for mine, _ in shares for file in _files(mine)}
    first, (_, sealed) = cards[0], shares[0]
    rows = sealed.filter(~pl.col("image").is_in([str(file) for file in kept]))
    window = int(first.view.size or 0) if first.view.kind == "window" and first.view.unit == "px" else 0
    reporter.say(
        f"{name}: {len(rows):,} of {sum(len(part) for part in shares[0]):,} rows are open to pretraining"
    )
    return Opened(rows, window, info.show_images and first.show_images)


def labelled_rows(
    card: TaskCard, *, data_dirs: Sequence[Path], home: Path
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return a task's sealed rows with labels and groups, to watch a run by, and its classes.

    Raises UsageError when the task seals nothing: its other rows are for evaluation alone.
    """
    from cytobench.datasets.task import read_shares

    if card.sealing is None:
        raise UsageError(
            f"Task '{card.name}' has no sealed share, so a run may not be watched by it: name a task with "
            'pretrain = "sealed", or a manifest of your own labelled images.'
        )
    shares = read_shares(card, data_dirs=data_dirs, home=home)
    present = set(shares.sealed["label"])
    return shares.sealed, tuple(name for name in shares.classes if name in present)


def _shares(card: TaskCard, data_dirs: Sequence[Path], home: Path) -> Any:
    from cytobench.datasets.task import read_shares

    shares = read_shares(card, data_dirs=data_dirs, home=home)
    return shares.kept, shares.sealed


def _is_generated(card: TaskCard) -> bool:
    """A set made from a seed anywhere at any time has no files of its own to keep out."""
    from cytobench.datasets import DATASETS

    info = DATASETS.get(card.dataset) if isinstance(card.dataset, str) else None
    return info is not None and info.generated


def _root(card: TaskCard, data_dirs: Sequence[Path]) -> Path | None:
    from cytobench.datasets import find_root, source_path

    if isinstance(card.dataset, str):
        return find_root(card.dataset if ":" not in card.dataset else card.name, data_dirs)
    path = source_path(card)
    return path if path.is_dir() else None


def _images_below(root: Path) -> set[Path]:
    from cytobench.datasets.listing import images_in

    return {path.resolve() for path in images_in(root, deep=True)}


def _files(rows: pl.DataFrame) -> set[Path]:
    return {Path(image).resolve() for image in rows["image"].unique()}
