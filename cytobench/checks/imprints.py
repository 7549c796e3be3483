"""Imprints of pictures, computed once and stored: all questions about copies and quality ask them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import BackboneCard, View
from cytobench.digests import FileDigests
from cytobench.encoders import identify, load
from cytobench.encoders.handcrafted import imprint
from cytobench.errors import DataError
from cytobench.features.extract import extract
from cytobench.features.items import Items, items_of
from cytobench.features.prepare import default_workers
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore
from cytobench.progress import Reporter

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

CARD = BackboneCard(
    name="imprint",
    title="Imprint of a picture: pixels' digest, hash, thumbnail, light and colour",
    loader="handcrafted",
    arch="imprint",
    weights="none",
    dim=len(imprint.FEATURE_NAMES),
    domain="none",
    licence="Apache-2.0",
    citation="none",
)
"""Shown in no list: examinations alone use it."""

_BLANK = 2.0 / 255.0  # as `cytobench.fingerprint.is_blank`
_AT_ONCE = 64
WHOLE = View(kind="box", pad="edge")
"""Shows a whole field, its shorter side continued by its border."""


@dataclass(frozen=True)
class Imprints:
    """What was described of n pictures.

    `digests`: uint8 [n, 16], equal for equal pixels; `hashes`: uint8 [n, 32]; `thumbnails`: uint8 [n, 768],
    16 x 16 x 3; `light`: float32 [n, 4], mean and standard deviation of the luma and of its Laplacian at full
    and half resolution (`LIGHT_NAMES`); `colour`: float32 [n, 15] (`COLOUR_NAMES`); levels in 0..1.
    """

    digests: Bytes
    hashes: Bytes
    thumbnails: Bytes
    light: Floats
    colour: Floats

    def __len__(self) -> int:
        return len(self.digests)

    @classmethod
    def of(cls, features: Floats) -> Imprints:
        """Return the parts of described pictures, float32 [n, 835]."""
        return cls(
            features[:, imprint.DIGEST].astype(np.uint8),
            features[:, imprint.HASH].astype(np.uint8),
            features[:, imprint.THUMBNAIL].astype(np.uint8),
            features[:, imprint.LIGHT],
            features[:, imprint.COLOUR],
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Imprints:
        """Return the imprints of some rows, in that order."""
        return Imprints(
            self.digests[rows], self.hashes[rows], self.thumbnails[rows], self.light[rows], self.colour[rows]
        )

    @property
    def blank(self) -> npt.NDArray[np.bool_]:
        """Whether a picture is of one tone, bool [n]."""
        blank: npt.NDArray[np.bool_] = self.light[:, 1] < _BLANK
        return blank

    @property
    def sharpness(self) -> Floats:
        """Log ratio of fine to coarse detail, float32 [n]: low for a blurred picture of any contrast."""
        ratio: Floats = np.log((self.light[:, 2] + 1e-4) / (self.light[:, 3] + 1e-4))
        return ratio


class Pictures(Protocol):
    """Rows of pictures that need no decoding: a packed pool."""

    def __len__(self) -> int: ...

    def read(self, rows: npt.NDArray[np.int64]) -> Bytes:
        """Return the pictures `rows`, uint8 [n, side, side, 3]."""


def describe_items(
    jobs: Sequence[Items], *, home: Path, digests: FileDigests, reporter: Reporter
) -> list[Imprints]:
    """Return the imprints of each job's items; what was described before is only read.

    Raises DataError at the first image that cannot be decoded: see `unreadable`.
    """
    encoder = load(CARD, home=home, digests=digests)
    store = FeatureStore(home / "features")
    extract(jobs, [encoder], store, reporter=reporter)
    space = store.space(space_id(encoder.identity), dim=CARD.dim, identity=encoder.identity)
    return [Imprints.of(space.load(job.ids)) for job in jobs]


def undescribed(items: Items, *, home: Path, digests: FileDigests) -> npt.NDArray[np.bool_]:
    """Return which items have no imprint yet, bool [n]."""
    identity = identify(CARD, home=home, digests=digests)
    space = FeatureStore(home / "features").space(space_id(identity), dim=CARD.dim, identity=identity)
    return space.missing(items.ids)


def describe_pool(pool: Pictures, reporter: Reporter) -> Imprints:
    """Return the imprints of pictures that are already cut, in order."""
    found = np.empty((len(pool), CARD.dim), np.float32)
    starts = range(0, len(pool), _AT_ONCE)

    def describe(start: int) -> int:
        rows = np.arange(start, min(start + _AT_ONCE, len(pool)))
        for row, picture in zip(rows, pool.read(rows), strict=True):
            found[row] = imprint.describe(picture)
        return len(rows)

    with (
        reporter.task("imprints of the pool", len(pool)) as step,
        ThreadPoolExecutor(default_workers()) as all_,
    ):
        for done in all_.map(describe, starts):
            step.advance(done)
    return Imprints.of(found)


def portrayed(table: pl.DataFrame, items: Items, digests: FileDigests) -> Items:
    """Return what is described of a task's rows: what its view shows, but whole images where there is no box.

    A window wider than a small image shows mostly its continued border, in which all images are alike.
    """
    if items.view.kind == "window" and (items.boxes[:, 2] < 0).all():
        return items_of(table.select("image"), WHOLE, digests)
    return items


def fields_of(images: Sequence[str], digests: FileDigests) -> Items:
    """Return whole image files as items; `images`: distinct paths."""
    return items_of(pl.DataFrame({"image": list(images)}, schema={"image": pl.String}), WHOLE, digests)


def unreadable(images: Sequence[str], reporter: Reporter) -> dict[str, str]:
    """Return the image files that cannot be decoded and why, all of them."""
    from cytobench.images import decode

    def reason(image: str) -> str:
        try:
            decode(image)
        except DataError as error:
            return str(error)
        return ""

    found: dict[str, str] = {}
    with (
        reporter.task("looking for broken images", len(images)) as step,
        ThreadPoolExecutor(default_workers()) as pool,
    ):
        for image, why in zip(images, pool.map(reason, images), strict=True):
            if why:
                found[image] = why
            step.advance()
    return found
