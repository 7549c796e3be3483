"""Features that another tool computed, as the output of a backbone: who they are, and into the store.

The encoder itself is not here, so the space is named by the numbers in the files; the places of the slides
name the items, so that several encoders' files are judged on the same rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from cytobench.datasets.slide_files import (
    SlideFile,
    content_digest,
    places_of,
    read_features,
    read_slide,
    slides_in,
)
from cytobench.errors import DataError, WeightsError, counted, name_some
from cytobench.features.space import canonical_json, space_id
from cytobench.features.writer import SpaceWriter
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

    from cytobench.cards import BackboneCard
    from cytobench.encoders.encoder import JSON
    from cytobench.features.items import Items
    from cytobench.features.store import FeatureStore, Space

SCHEMA = 1
_FEW = 3
_MEMORY = "slide-contents.json"


class Digests(Protocol):
    """Whatever can tell the SHA-256 of a file, 64 hex digits."""

    def sha256(self, path: Path) -> str:
        """Return the digest of the file's bytes."""


def folder_of(card: BackboneCard) -> Path:
    """Return the folder with a card's features, relative to the card; raises WeightsError if it is absent."""
    path = Path(card.weights).expanduser()
    if not path.is_absolute() and card.source is not None:
        path = Path(os.path.normpath(card.source.parent / path))
    if not path.is_dir():
        raise WeightsError(
            f"{card.name}: there is no folder of features at {path}; correct weights in the card: the folder "
            "with a file a slide, relative to the card."
        )
    return path


def identity_of(card: BackboneCard, *, home: Path, digests: Digests, reporter: Reporter) -> dict[str, JSON]:
    """Return what decides a card's features: the numbers in its slides' files, no path, attribute or date.

    Files are read once and remembered by their bytes. Raises WeightsError, DataError.
    """
    slides = slides_in(folder_of(card))
    memory = home / "digests" / _MEMORY
    known = _remembered(memory)
    contents, fresh, problems = [], dict[str, str](), list[str]()
    with reporter.task(f"digests of the slides of {card.name}", len(slides)) as step:
        for slide, path in slides.items():
            of_bytes = digests.sha256(path)
            if of_bytes not in known:
                try:
                    fresh[of_bytes] = known[of_bytes] = content_digest(path)
                except DataError as error:
                    problems.append(str(error))
            contents.append([slide, known.get(of_bytes, "")])
            step.advance(1, slide)
    if fresh:
        _remember(memory, fresh)
    if problems:
        raise DataError(f"{card.name}: {name_some(problems)}")
    whole = hashlib.sha256(canonical_json(contents).encode("ascii")).hexdigest()
    return {
        "loader": card.loader,
        "schema": SCHEMA,
        "contents": whole,
        "slides": len(slides),
        "dim": card.dim,
    }


def take_in(
    card: BackboneCard,
    identity: Mapping[str, object],
    table: pl.DataFrame,
    items: Items,
    store: FeatureStore,
    reporter: Reporter,
) -> None:
    """Store the features of all rows of a task's `table` (columns `sample`, `slide`) that are not there yet.

    Raises DataError that lists every slide which is missing, has another width or other places, and rows
    that are not finite; nothing is stored then of a slide with a problem.
    """
    space = store.space(space_id(identity), dim=card.dim, identity=identity)
    missing = space.missing(items.ids)
    if not missing.any():
        return
    rows_of = _rows_by_slide(table, missing)
    tiles = dict(table.group_by("slide").len().iter_rows())
    files = slides_in(folder_of(card))
    lost = sorted(set(rows_of) - set(files))
    problems = [f"no features of {counted(len(lost), 'slide')}: {name_some(lost)}"] if lost else []
    more = 0
    with reporter.task(f"taking in features of {card.name}", len(rows_of)) as step, SpaceWriter(space) as out:
        for slide, rows in rows_of.items():
            if slide in files:
                samples = table["sample"][rows].to_list()
                file = read_slide(files[slide])
                more += file.rows > tiles[slide]
                problems += _wrong_shape(slide, file, space) or _take_slide(
                    slide, file, rows, samples, items, out
                )
            step.advance(1, slide)
    if problems:
        raise DataError(
            f"{card.name} does not fit the task's slides: {'; '.join(problems)}. Encoders are compared on "
            "the same tiles: compute these again from the same coordinates."
        )
    if more:
        reporter.warn(f"{card.name} has further tiles in {counted(more, 'slide')}; only the task's are used.")


def _wrong_shape(slide: str, file: SlideFile, space: Space) -> list[str]:
    if file.dim != space.dim:
        return [f"slide {slide} has features of width {file.dim}, not the card's {space.dim}"]
    return []


def _take_slide(
    slide: str,
    file: SlideFile,
    rows: npt.NDArray[np.int64],
    samples: Sequence[str],
    items: Items,
    out: SpaceWriter,
) -> list[str]:
    wanted = [sample.removeprefix(f"{slide}#") for sample in samples]
    at, unknown = _matched(file, wanted)
    if unknown:
        kind = "tiles" if file.coords is not None else "rows without coordinates"
        some = "; ".join(unknown[:_FEW]) + (" …" if len(unknown) > _FEW else "")
        return [f"slide {slide} has {file.rows} {kind} and lacks {len(unknown)} of the task's places: {some}"]
    features = np.concatenate(list(read_features(file.path)))[at].astype(np.float32)
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        return [f"slide {slide} has {counted(bad, 'row that is', 'rows that are')} not finite"]
    out.add(items.ids[rows], features)
    return []


def _matched(file: SlideFile, wanted: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the file's rows at the wanted places, and the places it lacks.

    Without coordinates (.pt) places are numbers of rows: such files fit only tasks made from their like.
    """
    place = {name: row for row, name in enumerate(places_of(file))}
    unknown = [name for name in wanted if name not in place]
    return np.asarray([place.get(name, -1) for name in wanted], np.int64), unknown


def _rows_by_slide(table: pl.DataFrame, missing: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.int64]]:
    slides = np.asarray(table["slide"].to_list(), dtype=object)
    rows = np.flatnonzero(missing)
    names, codes = np.unique(slides[rows].astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]
    return {str(name): rows[part] for name, part in zip(names, np.split(order, ends), strict=True)}


def _remembered(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _remember(path: Path, fresh: Mapping[str, str]) -> None:
    """Add digests to the memory; what two processes write at once costs only reading again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        temporary.write_text(json.dumps({**_remembered(path), **fresh}), encoding="utf-8")
        temporary.replace(path)
