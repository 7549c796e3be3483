"""Pictures to show of what a user names, where their licence permits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cytobench.datasets import DATASETS, source_path
from cytobench.errors import CardError, UsageError
from cytobench.images import decode
from cytobench.pretraining.examine import places_of
from cytobench.pretraining.export import DATASETS_BY_SOURCE
from cytobench.pretraining.guard import folders_around
from cytobench.pretraining.pack import Pixels, prepare
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.session import Surroundings
from cytobench.pretraining.supply import Source, list_sources, named_pool


def pictures_of(images: Sequence[str], data: Data, around: Surroundings, *, count: int) -> Pixels:
    """Return up to `count` pictures, uint8 [n, side, side, 3], spread evenly over all that is named.

    images: what pretraining accepts. Raises UsageError for pictures whose licence forbids showing them, and
    whatever listing them raises.
    """
    pool = named_pool(images)
    if pool is not None:
        _refuse_hidden_pool(pool, around)
        return pool.read(np.linspace(0, len(pool) - 1, min(count, len(pool))).astype(np.int64))
    sources = list_sources(images, data, around)
    for source in sources:
        _refuse_hidden(source, around)
    pieces = [piece for source in sources for piece in source.listed.pieces]
    chosen = np.linspace(0, len(pieces) - 1, min(count, len(pieces))).astype(np.int64)
    return np.stack([prepare(decode(pieces[i].image), pieces[i], data.side) for i in chosen])


def _refuse_hidden_pool(pool: Pool, around: Surroundings) -> None:
    known, hidden = pool.description.get(DATASETS_BY_SOURCE, {}), {name for name, _ in _hidden(around)}
    for source in pool.sources:
        for name in (source.dataset, *known.get(source.name, ())):
            if name in hidden:
                raise _forbidden(name)


def _refuse_hidden(source: Source, around: Surroundings) -> None:
    """Raise UsageError for a data set that may not be shown, or images in its folder."""
    if not source.show_images:
        raise _forbidden(source.listed.dataset)
    above = folders_around([piece.image for piece in source.listed.pieces])
    for name, own in _hidden(around):
        places = [*places_of(name, (*around.data, *above)), *own]
        if {place.resolve() for place in places} & set(above):
            raise _forbidden(name)


def _hidden(around: Surroundings) -> Iterator[tuple[str, list[Path]]]:
    """Yield data sets whose licence forbids showing their pictures, with places that a task's card gives."""
    yield from ((name, []) for name, info in DATASETS.items() if not info.show_images)
    try:
        tasks = around.registry().tasks
    except ImportError:  # no cards can be read where only the libraries of training are
        return
    for card in tasks.values():
        if card.show_images:
            continue
        try:
            path = None if isinstance(card.dataset, str) else source_path(card)
        except CardError:
            path = None
        yield card.dataset_name, [] if path is None else [path if path.is_dir() else path.parent]


def _forbidden(name: str) -> UsageError:
    return UsageError(
        f"The licence of '{name}' forbids showing its pictures (show_images = false): leave it out."
    )
