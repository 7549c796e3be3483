"""From what a user names to the pool a run learns from: packed once, with evaluation kept out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.datasets import DATASETS
from cytobench.digests import FileDigests
from cytobench.errors import UsageError
from cytobench.pretraining.examine import examine
from cytobench.pretraining.export import DATASETS_BY_SOURCE, GROUPED_SOURCES
from cytobench.pretraining.guard import Checked, Guard, folders_around
from cytobench.pretraining.labelled import Uncut, list_labelled, refuse_evaluated, save_labelled
from cytobench.pretraining.opened import open_rows
from cytobench.pretraining.pack import pack
from cytobench.pretraining.pool import DESCRIPTION, Pool, is_pool
from cytobench.pretraining.recipe import Data, Recipe, as_dict
from cytobench.pretraining.session import POOL, Request, Surroundings
from cytobench.pretraining.sources import (
    Listed,
    free_name,
    is_manifest,
    list_folder,
    list_manifest,
    list_rows,
    requiring,
)

if TYPE_CHECKING:
    import polars as pl

_OF_POOL = ("side", "tile", "window", "share", "min_tissue", "near_duplicates")
"""Settings of `data` that are a pool's own once it is packed."""


@dataclass(frozen=True)
class Source:
    """What one of the user's names stands for.

    folder: the plain folder it is, if it is one; table: its manifest, if it is a table; grouped: whether its
    open rows are whole groups; show_images: whether the licence permits showing its pictures.
    """

    listed: Listed
    folder: Path | None = None
    table: pl.DataFrame | None = None
    grouped: bool = False
    show_images: bool = True


def find_or_make_pool(folder: Path, request: Request, around: Surroundings) -> Pool:
    """Return the run's pool: the packed one that the request names, or `folder`/pool, packed if need be.

    Raises UsageError for what cannot be read or must not be, DataError for broken or empty sources.
    """
    named = named_pool(request.images)
    if named is not None:
        _check_named(named, request.recipe, around)
        return named
    inside = folder / POOL
    return Pool(inside) if is_pool(inside) else _pack(inside, request, around)


def named_pool(images: Sequence[str]) -> Pool | None:
    """Return the packed pool that is named by itself or by its run; raises UsageError if it is not alone."""
    paths = [Path(one).expanduser() for one in images]
    folders = [path if (path / DESCRIPTION).exists() else path / POOL for path in paths]
    pools = [folder for folder in folders if is_pool(folder)]
    if pools and len(images) > 1:
        raise UsageError(f"{pools[0]} is a packed pool and stands alone: give no other --images beside it.")
    return Pool(pools[0]) if pools else None


def list_sources(images: Sequence[str], data: Data, around: Surroundings) -> list[Source]:
    """Return what each name stands for, under names of their own; raises UsageError and DataError."""
    sources: list[Source] = []
    for one in images:
        source = _list(one, data, around)
        name = free_name(source.listed.name, [other.listed.name for other in sources])
        sources.append(replace(source, listed=replace(source.listed, name=name)))
    return sources


def _pack(folder: Path, request: Request, around: Surroundings) -> Pool:
    data = request.recipe.data
    sources = list_sources(request.images, data, around)
    labelled = list_labelled(request, around)
    guard = _guard(sources, labelled, around)
    refuse_evaluated(labelled, guard, around)
    checked = _check(sources, guard, around)
    save_labelled(labelled, folder, request.recipe.crops.global_size, around)
    facts = {
        "guard": list(guard.examined),
        "closed_digests": len(guard.closed),
        "settings": as_dict(data),
        DATASETS_BY_SOURCE: {one.listed.name: list(one.datasets) for one in checked},
        GROUPED_SOURCES: [
            one.listed.name
            for one, source in zip(checked, sources, strict=True)
            if one.by_group or source.grouped
        ],
    }
    return pack(
        [one.listed for one in checked],
        data,
        folder,
        closed={one.listed.name: one.closed for one in checked},
        facts=facts,
        reporter=around.reporter,
    )


def _list(named: str, data: Data, around: Surroundings) -> Source:
    if named in DATASETS:
        with requiring(f"Reading the data set '{named}'"):
            opened = open_rows(
                named,
                around.registry(),
                data_dirs=around.data,
                home=around.home,
                reporter=around.reporter,
                memory=around.memory,
            )
        listed = list_rows(named, opened.rows, data, window=opened.window)
        return Source(listed, grouped=opened.grouped, show_images=opened.show_images)
    path = Path(named).expanduser()
    if is_manifest(path):
        listed, table = list_manifest(path, data)
        return Source(listed, table=table)
    return Source(list_folder(path, data), folder=path)


def _guard(sources: Sequence[Source], labelled: Sequence[Uncut], around: Surroundings) -> Guard:
    """Return what tasks close whose data are at hand: in the data folders, or round the images themselves.

    Only where nothing else tells of evaluation may libraries that read its tables be missing.
    """
    images = [piece.image for source in sources for piece in source.listed.pieces]
    images += [piece.image for one in labelled for piece in one.pieces]
    nearby = folders_around(list(dict.fromkeys(images)))
    try:
        return examine(
            around.registry(),
            data_dirs=(*around.data, *nearby),
            home=around.home,
            reporter=around.reporter,
            memory=around.memory,
        )
    except ImportError as error:
        if around.data or around.plugins or _inside_known(nearby):
            with requiring("Keeping evaluation cells out"):
                raise
        around.reporter.warn(
            f"The images were not compared with what tasks evaluate: that needs {error.name}, which is not "
            "installed here."
        )
        return Guard()


def _inside_known(folders: Sequence[Path]) -> bool:
    """Tell whether one of these folders has the name of a known data set."""
    names = {name for info in DATASETS.values() for name in info.folders}
    return any(folder.name in names for folder in folders)


def _check(sources: Sequence[Source], guard: Guard, around: Surroundings) -> list[Checked]:
    digests = FileDigests(around.home)
    for source in sources:
        if source.folder is not None:
            guard.refuse_folder(source.folder)
    return [guard.filter(one.listed, digests, around.reporter, one.table) for one in sources]


def _check_named(pool: Pool, recipe: Recipe, around: Surroundings) -> None:
    """Say what a packed pool does not give: raises UsageError for pictures too small, warns of the rest."""
    if pool.side < recipe.crops.global_size:
        raise UsageError(
            f"The pool {pool.folder} holds pictures of {pool.side} px, smaller than global crops of "
            f"{recipe.crops.global_size} px: pack it anew with a larger data.side."
        )
    if not pool.description.get("guard"):
        around.reporter.warn(
            f"The pool {pool.folder} was packed where no evaluation data were at hand, so it may hold cells "
            "that tasks evaluate: pack it anew with --data to keep them out."
        )
    own, asked = pool.description.get("settings", {}), as_dict(recipe.data)
    other = _differing(own, asked)
    if other:
        around.reporter.say(f"The pool {pool.folder} keeps the settings it was packed with: {other}")


def _differing(own: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    return ", ".join(
        f"data.{key} = {own[key]} (not {asked[key]})"
        for key in _OF_POOL
        if key in own and own[key] != asked[key]
    )
