"""Open a collection under a backbone once, then look up as many cells as one likes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cytobench.digests import FileDigests
from cytobench.errors import EncoderError, UsageError, name_some
from cytobench.features.items import Box, item_id
from cytobench.images import RGB
from cytobench.progress import Reporter, SilentReporter
from cytobench.retrieval import query
from cytobench.retrieval.collection import Collection, card_of, read_collection
from cytobench.retrieval.opening import Source, open_index
from cytobench.retrieval.shelf import Index

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard
    from cytobench.encoders import Encoder
    from cytobench.registry import Registry

_QUERIES_AT_ONCE = 32
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hit:
    """A cell that was found; `similarity`: cosine of centred features; `box`: x, y, w, h in px, or None."""

    sample: str
    similarity: float
    label: str
    group: str
    file: str
    box: Box | None


@dataclass(frozen=True)
class Query:
    """What was looked up: `crop`: uint8 [s, s, 3]; label and group where it is a cell of the collection."""

    name: str
    crop: RGB = field(repr=False)
    sample: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Answer:
    """What is near a query, nearest first; `itself`: samples left out because they are the query."""

    query: Query
    hits: tuple[Hit, ...]
    itself: tuple[str, ...] = ()

    @property
    def crop(self) -> RGB:
        """What was looked up: uint8 [s, s, 3]."""
        return self.query.crop


class Searcher:
    """A collection whose cells can be looked up by their likeness under one backbone."""

    def __init__(self, collection: Collection, index: Index, source: Source) -> None:
        self.collection, self.index, self._source = collection, index, source
        self._place = {sample: at for at, sample in enumerate(index.cells["sample"].to_list())}
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        collection: str,
        backbone: str,
        *,
        registry: Registry,
        home: Path,
        data_dirs: Sequence[Path] = (),
        device: str = "auto",
        download: bool = True,
        reporter: Reporter | None = None,
    ) -> Searcher:
        """Read a collection and its index, which is built where it is absent, damaged or stale (and said so).

        collection: a task, or a data set with labelled cells; backbone: a name or a card's file. Raises
        UsageError for unknown names, DataError, WeightsError, EncoderError, StoreError.
        """
        cells, source = open_collection(
            collection,
            backbone,
            registry=registry,
            home=home,
            data_dirs=data_dirs,
            device=device,
            download=download,
            reporter=reporter,
        )
        return cls(cells, open_index(cells, source), source)

    @property
    def size(self) -> int:
        """The number of cells that can be found."""
        return len(self.index.cells)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(self.index.cells["label"].unique().sort().to_list())

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that occur, sorted."""
        return tuple(self.index.cells["group"].unique().sort().to_list())

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of all cells."""
        return tuple(self._place)

    @property
    def may_show(self) -> bool:
        """Whether the licence of the images lets them be shown."""
        return self.collection.card.show_images

    @property
    def title(self) -> str:
        """The collection's title."""
        return self.collection.card.title

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self._source.card.name

    @property
    def card(self) -> BackboneCard:
        """The backbone's card."""
        return self._source.card

    @property
    def encoder(self) -> Encoder:
        """The backbone, loaded on first use."""
        return self._loaded()

    def warm(self) -> None:
        """Load the backbone now, so that the first query need not wait for it."""
        self._loaded()

    def crop(self, sample: str) -> RGB:
        """Return a cell of the collection as its backbone sees it: uint8 [s, s, 3]; raises UsageError."""
        return self.collection.items.crops([self._row_in_collection(sample)])[0]

    def crops(self, samples: Sequence[str]) -> list[RGB]:
        """Return cells of the collection as their backbone sees them, every file decoded once."""
        return self.collection.items.crops([self._row_in_collection(sample) for sample in samples])

    def search(
        self,
        pixels: RGB,
        box: Sequence[int] | None = None,
        k: int = 12,
        *,
        exclude_group: str | None = None,
        mpp: float | None = None,
        name: str = "",
    ) -> Answer:
        """Look up an image, uint8 [h, w, 3], or what lies in a box of it (x, y, w, h in px).

        exclude_group: a group whose cells are not wanted. Raises UsageError, DataError, EncoderError.
        """
        crop = query.cut(pixels, box, self.collection, mpp=mpp, name=name)
        return self.search_crops([Query(name, crop)], k, exclude_groups=[exclude_group])[0]

    def search_file(
        self,
        file: Path,
        box: Sequence[int] | None = None,
        k: int = 12,
        *,
        exclude_group: str | bool | None = None,
        mpp: float | None = None,
    ) -> Answer:
        """Look up an image file; where it is a cell of the collection, that cell is not its own neighbour.

        exclude_group: the name of a group, or True for that of the query, which then has to be a cell of the
        collection. Raises what `search` raises.
        """
        found = self.read(file, box, mpp=mpp)
        group = self.group_to_exclude(found, exclude_group)
        return self.search_crops([found], k, exclude_groups=[group])[0]

    def read(self, file: Path, box: Sequence[int] | None = None, *, mpp: float | None = None) -> Query:
        """Return a file, or a box in it, as a query: it knows its sample if the collection has that cell."""
        pixels = query.read(file)
        crop = query.cut(pixels, box, self.collection, mpp=mpp, name=str(file))
        placed = None if box is None else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
        odd = query.remark(pixels, placed, self.collection, file.name)
        if odd:
            self._source.reporter.say(odd)
        view = query.view_of(self.collection, placed)
        item = item_id(self._source.digests.sha256(file), placed, view, mpp).hex()
        same = self._where("item", item)
        place = file.name if placed is None else f"{file.name} (box {', '.join(map(str, placed))})"
        return Query(place, crop) if not len(same) else self._query(int(same[0]), place, crop)

    def sample(self, sample: str) -> Query:
        """Return a cell of the collection as a query; raises UsageError for an unknown one."""
        return self._query(self._row(sample), sample, self.crop(sample))

    def search_sample(self, sample: str, k: int = 12, *, exclude_group: bool = False) -> Answer:
        """Look up a cell of the collection; no network is needed for that."""
        found = self.sample(sample)
        return self.search_crops([found], k, exclude_groups=[found.group if exclude_group else None])[0]

    def search_crops(
        self, queries: Sequence[Query], k: int, *, exclude_groups: Sequence[str | None] | None = None
    ) -> list[Answer]:
        """Look up many queries at once; those that are cells of the collection need no network."""
        if k < 1:
            raise UsageError(f"k = {k}: ask for one neighbour at least.")
        groups = exclude_groups or [None] * len(queries)
        own = [self._itself(one) for one in queries]
        left_out = [np.union1d(rows, self._of_group(group)) for rows, group in zip(own, groups, strict=True)]
        directions = self._directions(queries)
        rows, similarity = self.index.vectors.search(directions, min(k, self.size), without=left_out)
        return [
            Answer(one, self._hits(rows[at], similarity[at]), self._names(own[at]))
            for at, one in enumerate(queries)
        ]

    def group_to_exclude(self, found: Query, asked: str | bool | None) -> str | None:
        """Return a named group as it is, for True the query's own; raises UsageError where it has none."""
        if asked is None or asked is False:
            return None
        if isinstance(asked, str):
            return asked
        if found.group is None:
            raise UsageError(
                f"{found.name} is no cell of {self.collection.name}, so its group is not known: name the "
                "group to exclude with --group."
            )
        return found.group

    def _directions(self, queries: Sequence[Query]) -> npt.NDArray[np.float32]:
        out = np.empty((len(queries), self.index.vectors.dim), np.float32)
        known = [at for at, one in enumerate(queries) if one.sample is not None]
        if known:
            rows = np.array([self._place[str(queries[at].sample)] for at in known], np.int64)
            out[known] = self.index.vectors.rows(rows)
        new = [at for at, one in enumerate(queries) if one.sample is None]
        if new:
            features = self._encode([queries[at] for at in new])
            out[new] = self.index.centring.directions(features)
        return out

    def _encode(self, queries: Sequence[Query]) -> npt.NDArray[np.float32]:
        from cytobench.features.encode import Runner

        encoder = self._loaded()
        parts = []
        with self._source.reporter.task("features of the queries", len(queries)) as step:
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                some = queries[start : start + _QUERIES_AT_ONCE]
                batch = np.stack([encoder.prepare(one.crop) for one in some])
                with self._lock:
                    runner = Runner(encoder, _QUERIES_AT_ONCE, self._source.reporter.warn)
                    parts.append(runner.run(batch, lambda at, some=some: some[at].name or "the query"))  # type: ignore[misc]
                step.advance(len(some))
        features = np.concatenate(parts)
        if not np.isfinite(features).all():
            raise EncoderError(f"{self.backbone} returned features that are not finite for a query.")
        return features

    def _loaded(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = self._source.encoder()
            return self._encoder

    def _row(self, sample: str) -> int:
        if sample not in self._place:
            some = name_some(list(self._place)[:3])
            raise UsageError(
                f"There is neither a file nor a sample '{sample}' in {self.collection.name} (samples are "
                f"named like {some})."
            )
        return self._place[sample]

    def _row_in_collection(self, sample: str) -> int:
        self._row(sample)
        return self.collection.row_of[sample]

    def _query(self, row: int, name: str, crop: RGB) -> Query:
        cell = self.index.cells.row(row, named=True)
        return Query(name, crop, cell["sample"], cell["label"], cell["group"])

    def _itself(self, one: Query) -> Rows:
        """Return the rows that show the same pixels as the query, cut out of the same file."""
        if one.sample is None:
            return np.empty(0, np.int64)
        return self._where("item", self.index.cells["item"][self._place[one.sample]])

    def _of_group(self, group: str | None) -> Rows:
        if group is None:
            return np.empty(0, np.int64)
        rows = self._where("group", group)
        if not len(rows):
            raise UsageError(
                f"{self.collection.name} has no group '{group}' (groups are named like "
                f"{name_some(self.groups[:3])})."
            )
        return rows

    def _where(self, column: str, value: str) -> Rows:
        return (self.index.cells[column] == value).arg_true().to_numpy().astype(np.int64)

    def _names(self, rows: Rows) -> tuple[str, ...]:
        return tuple(self.index.cells["sample"][rows.tolist()].to_list())

    def _hits(self, rows: Rows, similarity: npt.NDArray[np.float32]) -> tuple[Hit, ...]:
        found = rows[rows >= 0].tolist()
        cells = self.index.cells[found]
        boxes = [None if w < 0 else (x, y, w, h) for x, y, w, h in cells.select("x", "y", "w", "h").rows()]
        return tuple(
            Hit(sample, float(value), label, group, file, box)
            for (sample, label, group, file), value, box in zip(
                cells.select("sample", "label", "group", "file").rows(), similarity, boxes, strict=False
            )
        )


def open_collection(
    collection: str,
    backbone: str,
    *,
    registry: Registry,
    home: Path,
    data_dirs: Sequence[Path] = (),
    device: str = "auto",
    download: bool = True,
    reporter: Reporter | None = None,
) -> tuple[Collection, Source]:
    """Read a collection and find out which space a backbone fills, as `Searcher.open` does; loads nothing."""
    talk, digests = reporter or SilentReporter(), FileDigests(home)
    card = card_of(collection, registry, talk)
    source = Source.of(
        registry.backbone(backbone),
        home=home,
        digests=digests,
        device=device,
        download=download,
        reporter=talk,
    )
    with talk.task("reading the collection", None):
        cells = read_collection(card, data_dirs=data_dirs, home=home, digests=digests, reporter=talk)
    digests.flush()
    return cells, source
