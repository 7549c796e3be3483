"""One visitor's desk: what was chosen and dropped, and what became of it; nobody else sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.app.bench import Bench, Pair
from cytobench.app.jobs import Job, sentence_of
from cytobench.app.lookup import Found, Wanted, look_up
from cytobench.features.items import Box
from cytobench.images import RGB

if TYPE_CHECKING:
    from cytobench.retrieval import Searcher

Listener = Callable[[], None]


@dataclass(frozen=True)
class Dropped:
    """An image of the visitor's, or a field of the collection: uint8 [h, w, 3]."""

    pixels: RGB
    name: str


@dataclass
class Desk:
    """What one visitor is looking at.

    `left`: the page was closed. Parts of the page listen: `on_opened` hears that a collection is being
    opened, or is; `on_image` that the image or the box changed; `on_found` that an answer, or a sentence
    instead of it, has come.
    """

    bench: Bench
    scratch: Path
    pair: Pair
    k: int = 12
    group: str | None = None
    mpp: float | None = None
    image: Dropped | None = None
    box: Box | None = None
    wanted: Wanted | None = None
    found: Found | None = None
    trouble: str = ""
    left: bool = False
    opening: Job[Searcher] | None = None
    on_opened: list[Listener] = field(default_factory=list)
    on_image: list[Listener] = field(default_factory=list)
    on_found: list[Listener] = field(default_factory=list)
    _asked: int = 0
    _asking: bool = False

    @property
    def searcher(self) -> Searcher | None:
        """The open collection, or None while there is none."""
        return self.opening.result if self.opening is not None else None

    def choose(self, *, collection: str | None = None, backbone: str | None = None) -> None:
        """Choose another collection or backbone; raises UsageError for one that is not offered.

        It is opened at once where that takes seconds; else the visitor says when.
        """
        pair = (collection or self.pair[0], backbone or self.pair[1])
        self.bench.check(pair)
        if pair[0] != self.pair[0]:
            self.group = None
            if self.wanted is not None and self.wanted.sample is not None:
                self.wanted = None  # a cell of the other collection
        self.pair, self.opening, self.found, self.trouble = pair, None, None, ""
        if self.bench.is_prepared(pair):
            self.open()
        _tell(self.on_opened)
        _tell(self.on_found)

    def open(self) -> None:
        """Begin to open what is chosen."""
        self.opening = self.bench.open(self.pair)
        _tell(self.on_opened)

    def place(self, image: Dropped, box: Box | None = None) -> None:
        """Put an image on the desk."""
        self.image, self.box, self.trouble = image, box, ""
        _tell(self.on_image)

    def complain(self, sentence: str) -> None:
        """Show a sentence where an answer would stand."""
        self.trouble, self.found = sentence, None
        _tell(self.on_found)

    def leave(self) -> None:
        """Forget everything: the visitor has closed the page, and nobody is there to be told."""
        self.left, self.image, self.wanted, self.found = True, None, None, None
        for listeners in (self.on_opened, self.on_image, self.on_found):
            listeners.clear()

    async def ask_image(self, box: Box | None) -> None:
        """Look up the image on the desk, or a box in it."""
        if self.image is None:
            return
        self.box = box
        await self._ask(Wanted(pixels=self.image.pixels, name=self.image.name, box=box))

    async def ask_sample(self, sample: str) -> None:
        """Look up a cell of the collection."""
        await self._ask(Wanted(sample=sample, name=sample))

    async def ask_again(self) -> None:
        """Ask the last question anew, after k, the group, the scale or the backbone have changed."""
        if self.wanted is not None:
            await self._ask(self.wanted)

    async def _ask(self, wanted: Wanted) -> None:
        """Ask in a thread, one question at a time: of those that come meanwhile only the last is asked."""
        self.wanted, self._asked = wanted, self._asked + 1
        if self._asking:
            return
        self._asking, answered = True, 0
        try:
            while answered != self._asked and self.searcher is not None and self.wanted is not None:
                answered = self._asked
                await self._answer(self.searcher, self.wanted, answered)
        finally:
            self._asking = False

    async def _answer(self, searcher: Searcher, wanted: Wanted, number: int) -> None:
        found, trouble = None, ""
        try:
            asked = replace(wanted, mpp=self.mpp, k=self.k, group=self.group)
            found = await asyncio.to_thread(look_up, searcher, asked)
        except Exception as error:  # whatever it is, this visitor gets a sentence and nobody else is harmed
            trouble = sentence_of(error)
        if number == self._asked and not self.left:
            self.found, self.trouble = found, trouble
            _tell(self.on_found)


def _tell(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener()
