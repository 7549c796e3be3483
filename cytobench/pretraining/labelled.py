"""Labelled cells that a run is watched by: named by a task or a table, cut once, kept beside the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytobench import images
from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError
from cytobench.features.durable import make_folder
from cytobench.pretraining.neighbours import Labelled
from cytobench.pretraining.pack import prepare
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import (
    Listed,
    Piece,
    free_name,
    is_manifest,
    list_rows,
    read_manifest,
    requiring,
)

if TYPE_CHECKING:
    import polars as pl

    from cytobench.pretraining.guard import Guard
    from cytobench.pretraining.session import Request, Surroundings

_FILE = "labelled-{}.npz"


@dataclass(frozen=True)
class Uncut:
    """Labelled cells before they are cut; task: whose sealed share they are, empty for a table's.

    labels, groups: int64 [n], a row a piece; classes: the labels' names.
    """

    name: str
    task: str
    table: pl.DataFrame
    pieces: tuple[Piece, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]


def list_labelled(request: Request, around: Surroundings) -> list[Uncut]:
    """Return the labelled cells a request names. Raises UsageError or DataError for unusable ones."""
    names = _names(request.labelled, around)
    with requiring(f"Reading the labelled cells {', '.join(names)}"):
        return [_list(named, name, request.recipe.data, around) for named, name in names.items()]


def refuse_evaluated(labelled: Sequence[Uncut], guard: Guard, around: Surroundings) -> None:
    """Raise UsageError where labelled cells are evaluated by a task: their score chooses the weights."""
    digests = FileDigests(around.home)
    for one in labelled:
        listed = Listed(one.name, "", one.pieces)
        guard.refuse_closed(listed, digests, around.reporter, one.table, besides=one.task)


def save_labelled(labelled: Sequence[Uncut], pool: Path, side: int, around: Surroundings) -> None:
    """Cut labelled cells to squares of `side` px and keep them beside the pool that is to be packed."""
    make_folder(pool, option="--out")
    for one in labelled:
        pixels = _pictures(one.pieces, side, around)
        made = Labelled(one.name, pixels, one.labels, one.groups, one.classes)
        made.save(pool / _FILE.format(one.name))


def labelled_of(pool: Pool, request: Request, around: Surroundings) -> list[Labelled]:
    """Return the labelled cells beside the pool that the request names; all of them if it names none.

    Raises UsageError for cells that are not there, or not of the global crops' size.
    """
    beside = sorted(pool.folder.glob(_FILE.format("*")), key=lambda path: path.stem)
    there = {path.stem.partition("-")[2]: path for path in beside}
    wanted = list(_names(request.labelled, around).values())
    absent = [name for name in wanted if name not in there]
    if absent:
        raise UsageError(
            f"The pool {pool.folder} holds no labelled cells named {', '.join(absent)} (it holds "
            f"{', '.join(there) or 'none'}): pack it anew from its images with the same --knn."
        )
    found = [Labelled.load(there[name]) for name in wanted or there]
    if found and not wanted:
        around.reporter.say(f"watching by the labelled cells beside the pool: {', '.join(there)}")
    size = request.recipe.crops.global_size
    wrong = [one.name for one in found if one.pixels.shape[1] != size]
    if wrong:
        raise UsageError(
            f"The labelled cells {', '.join(wrong)} beside the pool {pool.folder} are not of {size} px, as "
            "global crops are: pack the pool anew."
        )
    return found


def _names(labelled: Sequence[str], around: Surroundings) -> dict[str, str]:
    """Return a name of its own for each of the labelled sets, by what was written for it."""
    names: dict[str, str] = {}
    for named in dict.fromkeys(labelled):
        path = Path(named)
        plain = path.stem if is_manifest(path) else named
        if path.suffix == ".toml":
            plain = around.registry().task(named).name
        names[named] = free_name(plain.replace("/", "-"), names.values())
    return names


def _list(named: str, name: str, data: Data, around: Surroundings) -> Uncut:
    path, task = Path(named).expanduser(), ""
    if is_manifest(path):
        rows, window = read_manifest(path), data.window
        classes = tuple(rows["label"].drop_nulls().unique().sort())
    else:
        from cytobench.pretraining.opened import labelled_rows, window_of

        card = around.registry().task(named)
        rows, classes = labelled_rows(card, data_dirs=around.data, home=around.home, memory=around.memory)
        window, task = window_of(card), card.name
    if rows["label"].null_count():
        raise DataError(f"{named}: {rows['label'].null_count()} rows have no label to watch a run by.")
    if len(classes) < 2:
        raise DataError(f"{named} holds one class only: a run cannot be watched by it.")
    groups = rows["group"] if "group" in rows.columns else rows["sample"]
    _, group = np.unique(groups.cast(str).to_numpy(), return_inverse=True)
    label = np.array([classes.index(one) for one in rows["label"]], dtype=np.int64)
    return Uncut(
        name, task, rows, _whole_or_window(rows, name, data, window), label, group.astype(np.int64), classes
    )


def _whole_or_window(rows: pl.DataFrame, name: str, data: Data, window: int) -> tuple[Piece, ...]:
    """Cut one piece from each row: its window, or the whole image, never tiles of it."""
    pieces = list_rows(name, rows, replace(data, tile=0), window=window).pieces
    if len(pieces) != len(rows):
        raise DataError(f"{name}: boxes without area cannot be labelled cells; give each a size or a window.")
    return pieces


def _pictures(pieces: Sequence[Piece], side: int, around: Surroundings) -> NDArray[Any]:
    found = []
    last: tuple[Path, images.RGB] | None = None
    with around.reporter.task("labelled cells", len(pieces)) as step:
        for piece in pieces:
            if last is None or last[0] != piece.image:
                last = (piece.image, images.decode(piece.image))
            found.append(prepare(last[1], piece, side))
            step.advance()
    return np.stack(found)
