"""From a backbone and a collection to an index: read it, build it, or add what is new to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytobench.cards import BackboneCard
from cytobench.digests import FileDigests
from cytobench.encoders import JSON, identify
from cytobench.errors import StoreError, UsageError
from cytobench.features.extract import extract
from cytobench.features.items import Ids
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore
from cytobench.progress import Reporter
from cytobench.retrieval import shelf
from cytobench.retrieval.collection import Collection
from cytobench.retrieval.shelf import Index
from cytobench.retrieval.vectors import EXACT_UP_TO, Floats, build, centring_of, extended

if TYPE_CHECKING:
    from cytobench.encoders import Encoder


@dataclass(frozen=True)
class Source:
    """A backbone that fills a feature space, and where that is kept."""

    card: BackboneCard
    identity: Mapping[str, JSON]
    home: Path
    digests: FileDigests
    device: str
    download: bool
    reporter: Reporter

    @classmethod
    def of(
        cls,
        card: BackboneCard,
        *,
        home: Path,
        digests: FileDigests,
        device: str,
        download: bool,
        reporter: Reporter,
    ) -> Source:
        """Find out which space a backbone fills; raises UsageError for one that sees no image."""
        if card.loader == "null":
            raise UsageError(
                f"The backbone {card.name} sees no image, so nothing looks like anything to it; name another."
            )
        identity = identify(card, home=home, digests=digests, download=download, reporter=reporter)
        return cls(card, identity, home, digests, device, download, reporter)

    @cached_property
    def space(self) -> str:
        """The id of the feature space."""
        return space_id(self.identity)

    def encoder(self) -> Encoder:
        """Load the backbone; raises EncoderError where its card or weights have changed meanwhile."""
        from cytobench.encoders import load

        with self.reporter.task(f"loading {self.card.name}", None):
            return load(
                self.card,
                home=self.home,
                digests=self.digests,
                device=self.device,
                download=self.download,
                reporter=self.reporter,
                known_as=self.identity,
            )

    def features(self, collection: Collection, ids: Ids) -> Floats:
        """Return the features of some of a collection's items, float32 [n, d]; absent ones are computed."""
        store = FeatureStore(self.home / "features")
        space = store.space(self.space, dim=self.card.dim, identity=self.identity)
        if space.missing(collection.items.ids).any():
            extract([collection.items], [self.encoder()], store, reporter=self.reporter)
        return space.load(ids)


def open_index(collection: Collection, source: Source) -> Index:
    """Return the index of a collection; it is built, and that is said, where it is absent or stale.

    Raises StoreError when its folder holds the index of another space.
    """
    folder = shelf.folder_of(source.home, collection.name, source.space)
    found = shelf.load(folder, source.space)
    if found is None:
        if folder.exists():
            source.reporter.warn(f"The index in {folder} cannot be read; it is built again.")
        return build_index(collection, source)
    if found.about.digest != collection.digest:
        source.reporter.say(f"{collection.name} has changed since its index was built; it is built again.")
        return build_index(collection, source)
    if found.about.standardise != source.card.standardise:
        source.reporter.say(
            f"The card of {source.card.name} now says otherwise about scaling; building again."
        )
        return build_index(collection, source)
    return found


def build_index(collection: Collection, source: Source, *, exact_up_to: int = EXACT_UP_TO) -> Index:
    """Build the index of a whole collection and keep it; what kind it is and where it lies is said."""
    features = source.features(collection, collection.items.ids)
    centring = centring_of(features, standardise=source.card.standardise)
    rows = centring.directions(features)
    del features
    vectors = build(rows, reporter=source.reporter, exact_up_to=exact_up_to)
    about = shelf.describe(
        collection,
        vectors,
        backbone=source.card.name,
        space=source.space,
        standardise=source.card.standardise,
    )
    return _kept(Index(about, vectors, centring, shelf.cells_of(collection)), source)


def add_to_index(collection: Collection, source: Source) -> tuple[Index, int]:
    """Add the cells that an index lacks and return it with their number; its centring stays what it was.

    Raises StoreError where there is no index yet, or cells it holds are gone or have changed.
    """
    folder = shelf.folder_of(source.home, collection.name, source.space)
    found = shelf.load(folder, source.space)
    if found is None:
        raise StoreError(
            f"There is no index of {collection.name} under {source.card.name} to add to; make it with "
            f"`cytobench index build --dataset {collection.name} --backbone {source.card.name}`."
        )
    held, now = set(found.keys()), collection.keys
    gone = len(held - set(now))
    if gone:
        raise StoreError(
            f"{gone:,} of the {len(held):,} cells in the index are gone from {collection.name} or have "
            "another picture, label or group now: build it again with `cytobench index build`."
        )
    new = np.array([at for at, key in enumerate(now) if key not in held], np.int64)
    if not len(new):
        return found, 0
    rows = found.centring.directions(source.features(collection, collection.items.ids[new]))
    larger = shelf.grown(found, extended(found.vectors, rows), shelf.cells_of(collection)[new.tolist()])
    return _kept(larger, source), len(new)


def _kept(index: Index, source: Source) -> Index:
    folder = shelf.folder_of(source.home, index.about.collection, source.space)
    kept = shelf.save(index, folder)
    source.reporter.say(
        f"Index of {kept.about.collection} under {kept.about.backbone}: {kept.about.rows:,} cells, "
        f"{kept.about.kind}."
    )
    return kept
