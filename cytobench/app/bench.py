"""What can be looked up here: backbones that can be loaded, collections at hand, and what is open."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.app.jobs import Job, News
from cytobench.cards import BackboneCard, TaskCard
from cytobench.datasets import available_tasks
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError, StoreError, UsageError, name_some
from cytobench.registry import Registry

if TYPE_CHECKING:
    from cytobench.leaderboard.table import Layout
    from cytobench.retrieval import Searcher

_OPEN_AT_MOST = 8
_FIRST_BACKBONE = "cytofm"
Pair = tuple[str, str]


@dataclass(frozen=True)
class Offer:
    """Something to choose: its name, its title, and why it cannot be chosen here ("" where it can)."""

    name: str
    title: str
    why_not: str = ""


@dataclass
class Bench:
    """All that the page offers, shared by its visitors; whatever is opened stays open for the next one."""

    registry: Registry
    home: Path
    data_dirs: Sequence[Path] = ()
    device: str = "auto"
    boards: dict[str, Job[Layout]] = field(default_factory=dict, repr=False)
    _opened: dict[Pair, Job[Searcher]] = field(default_factory=dict, repr=False)
    _closed: threading.Event = field(default_factory=threading.Event, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def collections(self) -> Mapping[str, TaskCard]:
        """Tasks whose cells are at hand, those of the field first, generated ones last."""
        found = available_tasks(self.registry.tasks, self.data_dirs)
        order = sorted(
            found, key=lambda card: ("synthetic" in card.name, card.unit != "cell", not card.ranked)
        )
        return {card.name: card for card in order}

    @cached_property
    def backbones(self) -> tuple[Offer, ...]:
        """All backbones: those that can be loaded here first, the others with the reason."""
        offers = [self._offer(card) for card in self.registry.backbones.values()]
        return tuple(sorted(offers, key=lambda one: (bool(one.why_not), one.name)))

    @property
    def usable(self) -> tuple[str, ...]:
        """Names of the backbones that can be loaded here."""
        return tuple(one.name for one in self.backbones if not one.why_not)

    def first(self, collection: str | None, backbone: str | None) -> Pair:
        """Return what is chosen when a page opens: rather something that has an index.

        Raises UsageError for what was named and is not offered.
        """
        if not self.collections:
            raise UsageError("There is no collection at hand; name a folder with data sets (--data DIR).")
        seen_by = backbone or self._first_backbone()
        pairs = [(name, seen_by) for name in ([collection] if collection else self.collections)]
        self.check(pairs[0])
        return next((pair for pair in pairs if self.is_prepared(pair)), pairs[0])

    def check(self, pair: Pair) -> None:
        """Raise UsageError unless both are offered: names come from browsers, and could be paths."""
        collection, backbone = pair
        if collection not in self.collections:
            raise UsageError(
                f"There is no collection {collection!r} here; at hand are {name_some(self.collections)}."
            )
        if backbone not in self.usable:
            why = next((one.why_not for one in self.backbones if one.name == backbone), "")
            raise UsageError(
                f"The backbone {backbone!r} cannot be used here{f': {why}' if why else ''}; those that can: "
                f"{', '.join(self.usable)}."
            )

    def is_prepared(self, pair: Pair) -> bool:
        """Whether there is an index, so that opening takes seconds and no features need be computed."""
        from cytobench.retrieval import shelf
        from cytobench.retrieval.opening import Source

        self.check(pair)
        with self._lock:
            if pair in self._opened:
                return True
        try:
            source = Source.of(
                self.registry.backbone(pair[1]),
                home=self.home,
                digests=self._digests,
                device=self.device,
                download=False,
                reporter=News(),
            )
        except CytoBenchError:
            return False
        return shelf.folder_of(self.home, pair[0], source.space).exists()

    def open(self, pair: Pair) -> Job[Searcher]:
        """Begin to open a collection under a backbone, or return the job that does or did so.

        One is opened at a time: two would only take the machine from each other. A failed one is tried anew.
        """
        self.check(pair)
        with self._lock:
            job = self._opened.pop(pair, None)
            if job is None or (job.done and job.error):
                job = Job(lambda news: self._until_closed(pair, news))
            self._opened[pair] = job  # the last one is the one used last
            for old in [one for one, its in self._opened.items() if its.done][:-_OPEN_AT_MOST]:
                del self._opened[old]
            return job

    def close(self) -> None:
        """Say that the server ends: what is still being opened breaks off when its workers go."""
        self._closed.set()

    def _until_closed(self, pair: Pair, news: News) -> Searcher:
        try:
            return self._searcher(pair, news)
        except Exception as error:
            if self._closed.is_set():
                raise StoreError("The server has ended; what was finished is kept.") from error
            raise

    def _searcher(self, pair: Pair, news: News) -> Searcher:
        from cytobench.retrieval import Searcher

        with news.task("waiting for another collection", None):
            self._one_at_a_time.acquire()
        try:
            searcher = Searcher.open(
                *pair,
                registry=self.registry,
                home=self.home,
                data_dirs=self.data_dirs,
                device=self.device,
                download=False,
                reporter=news,
            )
            with news.task("warming up", None):
                warm_up(searcher)
        finally:
            self._one_at_a_time.release()
        return searcher

    def _first_backbone(self) -> str:
        if not self.usable:
            raise UsageError("No backbone can be loaded here; see `cytobench list backbones`.")
        return _FIRST_BACKBONE if _FIRST_BACKBONE in self.usable else self.usable[0]

    @cached_property
    def _digests(self) -> FileDigests:
        return FileDigests(self.home)

    def _offer(self, card: BackboneCard) -> Offer:
        from cytobench.encoders import identify

        try:
            identify(card, home=self.home, digests=self._digests, download=False)
        except CytoBenchError as error:
            # what follows the semicolon is for the terminal, and names folders of this machine
            return Offer(card.name, card.title, str(error).split(";")[0].replace(str(self.home), "the home"))
        return Offer(card.name, card.title)


def warm_up(searcher: Searcher) -> None:
    """Load the backbone and let it see a cell, so that the first visitor's query is as quick as the next."""
    from cytobench.retrieval.searcher import Query

    searcher.warm()
    searcher.search_crops([Query("warming up", searcher.crop(searcher.samples[0]))], k=1)
