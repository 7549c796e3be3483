"""Where indexes stay: beside the features, one folder per collection and feature space.

A folder holds generations and `about.json`, which names the one that counts and is replaced in one step: an
index is whole or not there, whoever is killed and however many build at once.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import polars as pl

from cytobench.errors import StoreError
from cytobench.evaluation.ledger import folder_name
from cytobench.features.durable import bytes_under, make_folder, unwritable, write_durably
from cytobench.retrieval.collection import Collection, digest_of
from cytobench.retrieval.vectors import Centring, Vectors, opened

INDEXES = "indexes"
_SCHEMA = 1
_ABOUT, _VECTORS, _CELLS, _CENTRING = "about.json", "vectors.faiss", "cells.parquet", "centring.npz"
_ATTEMPTS = 5
_OLD = 86_400.0  # seconds after which a generation nobody points at was left by a killed process


@dataclass(frozen=True)
class About:
    """What an index was made of; `lists`: of an inverted file, read by a search (0: exact).

    `recall`: recall@10 measured when it was built; `centred_on`: rows that decided the centring; `digest`: of
    what the collection held; `generation`: the folder that holds it.
    """

    schema: int
    collection: str
    backbone: str
    space: str
    rows: int
    dim: int
    lists: int
    recall: float
    standardise: bool
    centred_on: int
    digest: str
    generation: str

    @property
    def kind(self) -> str:
        """What it is, for people."""
        if not self.lists:
            return "exact"
        return f"inverted file, recall@10 {self.recall:.3f} on the collection itself"


@dataclass(frozen=True)
class Index:
    """An index with its cells: `cells` has `sample`, `label`, `group`, `file`, `item`, row by row."""

    about: About
    vectors: Vectors
    centring: Centring
    cells: pl.DataFrame

    def keys(self) -> list[tuple[str, str, str, str]]:
        """Return what `Collection.keys` was for the indexed cells."""
        return [tuple(row) for row in self.cells.select("sample", "item", "label", "group").rows()]


def folder_of(home: Path, collection: str, space: str) -> Path:
    """Return the folder of an index."""
    return home / INDEXES / folder_name(collection) / space[:32]


def cells_of(collection: Collection) -> pl.DataFrame:
    """Return what an index keeps of a collection's cells."""
    keys = list(zip(*collection.keys, strict=True))
    named = dict(zip(("sample", "item", "label", "group"), keys, strict=True))
    boxes = {name: collection.items.boxes[:, at] for at, name in enumerate(("x", "y", "w", "h"))}
    return pl.DataFrame({**named, "file": collection.files, **boxes})


def save(index: Index, folder: Path) -> Index:
    """Write an index to `folder` and make it the one that counts; raises StoreError."""
    import faiss

    make_folder(folder)
    before = read_about(folder)
    generation = f"g-{secrets.token_hex(6)}"
    about = About(**{**asdict(index.about), "generation": generation})
    try:
        (folder / generation).mkdir()
        faiss.write_index(index.vectors.searched, str(folder / generation / _VECTORS))
        index.cells.write_parquet(folder / generation / _CELLS)
        np.savez(folder / generation / _CENTRING, centre=index.centring.centre, scale=index.centring.scale)
    except (OSError, RuntimeError) as error:  # faiss raises the latter where the disk is full
        shutil.rmtree(folder / generation, ignore_errors=True)
        raise unwritable(folder, error if isinstance(error, OSError) else OSError(str(error))) from error
    write_durably(folder / _ABOUT, [(json.dumps(asdict(about), indent=1) + "\n").encode()])
    _tidy(folder, keep=generation, replaced=before.generation if before else "")
    return Index(about, index.vectors, index.centring, index.cells)


def load(folder: Path, space: str) -> Index | None:
    """Read the index of a space, None where there is none or only a damaged one.

    Raises StoreError when `folder` holds the index of another space: similarities across feature spaces mean
    nothing.
    """
    for _ in range(_ATTEMPTS):
        about = read_about(folder)
        if about is None:
            return None
        if about.space != space:
            raise StoreError(
                f"The index in {folder} holds features of {about.backbone} in the space {about.space[:12]}, "
                f"not of the space {space[:12]} that is asked for: remove that folder, or build it again "
                "with `cytobench index build`."
            )
        found = _read(folder / about.generation, about)
        if found is not None:
            return found
        again = read_about(folder)
        if again is None or again.generation == about.generation:
            return None
    return None


def read_about(folder: Path) -> About | None:
    """Return what an index was made of, None where there is none; needs no faiss."""
    try:
        about = About(**json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return about if about.schema == _SCHEMA else None


def all_indexes(home: Path) -> Iterator[tuple[Path, About, int]]:
    """Yield every index under a home: its folder, what it is, and its bytes on disk."""
    for file in sorted((home / INDEXES).glob(f"*/*/{_ABOUT}")):
        about = read_about(file.parent)
        if about is not None:
            yield file.parent, about, bytes_under(file.parent)


def describe(
    collection: Collection, vectors: Vectors, *, backbone: str, space: str, standardise: bool
) -> About:
    """Return what is to be remembered of a new index over a whole collection."""
    return About(
        schema=_SCHEMA,
        collection=collection.name,
        backbone=backbone,
        space=space,
        rows=len(vectors),
        dim=vectors.dim,
        lists=vectors.lists,
        recall=vectors.recall,
        standardise=standardise,
        centred_on=len(vectors),
        digest=collection.digest,
        generation="",
    )


def grown(index: Index, vectors: Vectors, cells: pl.DataFrame) -> Index:
    """Return an index with more rows and cells at its end."""
    together = pl.concat([index.cells, cells])
    about = asdict(index.about) | {"rows": len(vectors)}
    larger = Index(About(**about), vectors, index.centring, together)
    return Index(About(**about | {"digest": digest_of(larger.keys())}), vectors, index.centring, together)


def _read(folder: Path, about: About) -> Index | None:
    import faiss

    try:
        cells = pl.read_parquet(folder / _CELLS)
        with np.load(folder / _CENTRING) as kept:
            centring = Centring(kept["centre"], kept["scale"])
        searched = faiss.read_index(str(folder / _VECTORS))
    except (OSError, ValueError, KeyError, RuntimeError, BadZipFile, pl.exceptions.PolarsError):
        return None
    fits = len(cells) == searched.ntotal == about.rows and searched.d == about.dim == len(centring.centre)
    return Index(about, opened(searched, about.lists, about.recall), centring, cells) if fits else None


def _tidy(folder: Path, *, keep: str, replaced: str) -> None:
    """Remove the generation that was replaced and what killed processes left."""
    for old in folder.glob("g-*"):
        stale = old.name == replaced or time.time() - old.stat().st_mtime > _OLD
        if old.name != keep and stale:
            shutil.rmtree(old, ignore_errors=True)
