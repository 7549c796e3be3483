"""What evaluation opens of a known data set: rows to learn from, and labelled cells to watch a run by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.datasets import DATASETS, import_function
from cytobench.errors import MissingDataError, UsageError
from cytobench.pretraining.examine import files_of, places_of, read_tasks
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import TaskCard
    from cytobench.datasets.task import RawTables
    from cytobench.registry import Registry


@dataclass(frozen=True)
class Opened:
    """A data set's rows that pretraining may read; window: the side in px its tasks cut, 0 for whole images.

    show_images: whether its licence permits pictures of it in reports; grouped: whether what its tasks seal
    is whole groups.
    """

    rows: pl.DataFrame
    window: int
    show_images: bool
    grouped: bool


def open_rows(
    name: str,
    registry: Registry,
    *,
    data_dirs: Sequence[Path],
    home: Path,
    reporter: Reporter,
    memory: RawTables | None = None,
) -> Opened:
    """Return the rows of a known data set that pretraining may read.

    Those that every readable task on it seals; all of a set that no task uses. memory: as in `read_shares`.
    Raises UsageError for a set that a task closes, MissingDataError when it is not at hand.
    """
    import polars as pl

    from cytobench import manifest

    cards = [card for card in registry.tasks.values() if card.dataset == name]
    closing = next((card for card in cards if card.pretrain == "never"), None)
    if closing is not None:
        raise UsageError(
            f"The data set '{name}' is never for pretraining (task '{closing.name}' says so): leave it out."
        )
    info, root = DATASETS[name], _place(name, data_dirs)
    if not cards:
        rows = manifest.conform(import_function(info.reader)(root))
        return Opened(rows, 0, info.show_images, grouped=False)
    read, failed = read_tasks(cards, root, home=home, memory={} if memory is None else memory)
    if not read:
        raise failed[0][1]
    kept = {file for _, shares in read for file in files_of(shares.kept)}
    first, shares = read[0]
    is_open = [Path(image).resolve() not in kept for image in shares.sealed["image"]]
    rows = shares.sealed.filter(pl.Series(is_open, dtype=pl.Boolean))
    every = len(shares.kept) + len(shares.sealed)
    reporter.say(f"{name}: {len(rows):,} of {every:,} rows are open to pretraining")
    shown = info.show_images and all(card.show_images for card in cards)
    return Opened(rows, window_of(first), shown, grouped=all(card.group != "none" for card in cards))


def labelled_rows(
    card: TaskCard, *, data_dirs: Sequence[Path], home: Path, memory: RawTables | None = None
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
    shares = read_shares(card, data_dirs=data_dirs, home=home, memory=memory)
    present = set(shares.sealed["label"])
    return shares.sealed, tuple(name for name in shares.classes if name in present)


def window_of(card: TaskCard) -> int:
    """Return the side in px of the squares that a task cuts round its cells, 0 where it cuts none."""
    return int(card.view.size or 0) if card.view.kind == "window" and card.view.unit == "px" else 0


def _place(name: str, data_dirs: Sequence[Path]) -> Path:
    places = places_of(name, data_dirs)
    if not places:
        folders = " or ".join(DATASETS[name].folders)
        raise MissingDataError(
            f"The data set '{name}' is not here: no folder named {folders} below the data folders; name the "
            "folder above it with --data or CYTOBENCH_DATA."
        )
    return places[0]
