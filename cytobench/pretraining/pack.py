"""From listed pieces to a pool: decode, cut, resize once; leave out copies, blanks and broken files."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytobench import images
from cytobench.errors import CytoBenchError, DataError, counted, name_some
from cytobench.fingerprint import Seen, difference_hash, is_blank, pixel_digest, thumbnail
from cytobench.pretraining.pool import Pool, PoolWriter, Source
from cytobench.pretraining.recipe import Data
from cytobench.pretraining.sources import Listed, Piece
from cytobench.progress import Reporter

Pixels = NDArray[np.uint8]

_WORKERS = min(16, os.cpu_count() or 2)
_AHEAD = 256  # pieces cut ahead of the writer
_MAY_FAIL = 0.01  # share of a source's images that may be unreadable

COPIES, NEAR, BLANK, TISSUE, UNREADABLE, OUTSIDE = (
    "exact copies",
    "near copies",
    "blank pictures",
    "pictures with little tissue",
    "unreadable images",
    "pictures outside the share",
)


@dataclass(frozen=True)
class _Cut:
    """One piece made: its picture, fingerprints and, where it is to be left out, why."""

    picture: Pixels
    digest: bytes
    bits: NDArray[np.uint8]
    small: Pixels
    reason: str = ""


@dataclass
class _Tally:
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def pack(
    listings: Sequence[Listed],
    data: Data,
    folder: Path,
    *,
    closed: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, Any],
    reporter: Reporter,
) -> Pool:
    """Write the pool of these sources to `folder` and return it.

    closed: what the guard held back of each source, for the record; facts: further keys of the description.
    Unreadable images are skipped, counted and listed in the description. Raises DataError when more than 1 %
    of a source cannot be read or nothing of it is left.
    """
    writer, seen = PoolWriter(folder, data.side), Seen(data.near_duplicates)
    sources, unreadable, digest = [], [], hashlib.sha256()
    for listed in listings:
        tally = _Tally(left_out=Counter(closed.get(listed.name, {})))
        with reporter.task(f"packing {listed.name}", len(listed.pieces)) as step:
            for pieces, cuts in _cut_all(listed.pieces, data, tally):
                for cut in cuts:
                    if _belongs(cut, seen, tally, data.share):
                        digest.update(cut.digest)
                        writer.add([cut.picture])
                        tally.kept += 1
                step.advance(pieces)
        _refuse_broken(listed, tally)
        unreadable += tally.unreadable
        sources.append(Source(listed.name, listed.dataset, tally.kept, dict(tally.left_out)))
        reporter.say(_sentence(sources[-1]))
    return writer.finish(sources, digest.hexdigest(), {"unreadable": unreadable, **facts})


def prepare(image: images.RGB, piece: Piece, side: int) -> Pixels:
    """Cut one piece from its image, uint8 [h, w, 3], and resize it to [side, side, 3]."""
    height, width = image.shape[:2]
    left, top, wide = piece.square or (
        (width - min(width, height)) // 2,
        (height - min(width, height)) // 2,
        0,
    )
    picture = images.square(image, left, top, wide or min(width, height))
    if picture.shape[0] != side:
        resized = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(resized)
    return picture


def _cut_all(pieces: Sequence[Piece], data: Data, tally: _Tally) -> Iterator[tuple[int, list[_Cut]]]:
    """Yield how many pieces an image has and their cuts, image by image, decoded in threads."""
    by_image = [(image, list(mine)) for image, mine in groupby(pieces, key=lambda piece: piece.image)]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="packing") as pool:
        for batch in _in_batches(by_image):
            results = pool.map(lambda one: _cut_image(one[0], one[1], data), batch)
            for (image, mine), made in zip(batch, results, strict=True):
                if isinstance(made, CytoBenchError):
                    tally.left_out[UNREADABLE] += len(mine)
                    tally.unreadable.append(f"{image}: {made}")
                    yield len(mine), []
                else:
                    yield len(mine), made


def _in_batches(by_image: Sequence[tuple[Path, list[Piece]]]) -> Iterator[list[tuple[Path, list[Piece]]]]:
    """Yield images together that have some hundred pieces, so that few pictures wait in memory."""
    batch: list[tuple[Path, list[Piece]]] = []
    for one in by_image:
        batch.append(one)
        if sum(len(mine) for _, mine in batch) >= _AHEAD:
            yield batch
            batch = []
    if batch:
        yield batch


def _cut_image(image: Path, pieces: Sequence[Piece], data: Data) -> list[_Cut] | CytoBenchError:
    try:
        pixels = images.decode(image)
    except CytoBenchError as error:
        return error
    return [_fingerprinted(prepare(pixels, piece, data.side), data) for piece in pieces]


def _fingerprinted(picture: Pixels, data: Data) -> _Cut:
    reason = ""
    if is_blank(picture):
        reason = BLANK
    elif data.min_tissue and images.tissue_fraction(picture) < data.min_tissue:
        reason = TISSUE
    return _Cut(picture, pixel_digest(picture), difference_hash(picture), thumbnail(picture), reason)


def _belongs(cut: _Cut, seen: Seen, tally: _Tally, share: float) -> bool:
    """Decide whether a cut enters the pool, and count why not."""
    reason = cut.reason
    if not reason and seen.is_copy(cut.digest):
        reason = COPIES
    if not reason and seen.is_near_copy(cut.bits, cut.small):
        reason = NEAR
    if not reason and int.from_bytes(cut.digest[:8], "big") >= share * 2.0**64:
        reason = OUTSIDE
    if reason:
        tally.left_out[reason] += 1
    return not reason


def _refuse_broken(listed: Listed, tally: _Tally) -> None:
    broken = len(tally.unreadable)
    files = len({piece.image for piece in listed.pieces})
    if broken > _MAY_FAIL * files:
        raise DataError(
            f"{broken} of {files} images of '{listed.name}' cannot be read, more than {_MAY_FAIL:.0%}: "
            f"{name_some(tally.unreadable)}; mend or remove them."
        )
    if not tally.kept:
        why = ", ".join(f"{n:,} {reason}" for reason, n in tally.left_out.items()) or "no piece to cut"
        raise DataError(f"Nothing of the source '{listed.name}' is left to learn from ({why}); leave it out.")


def _sentence(source: Source) -> str:
    lost = ", ".join(f"{n:,} {reason}" for reason, n in source.left_out.items())
    return f"{source.name}: {counted(source.images, 'picture')}" + (f"; left out: {lost}" if lost else "")
