"""Work that takes longer than a page may stand still: in a thread of its own, with news of how far it is."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cytobench.errors import CytoBenchError
from cytobench.progress import Step

T = TypeVar("T")
_REMARKS_KEPT = 5
_log = logging.getLogger(__name__)


@dataclass
class News:
    """A reporter that remembers where the work is, to be read from another thread.

    `stages`: the tasks that run now, outermost first; `remarks`: the last sentences that were said.
    """

    stages: list[Stage] = field(default_factory=list)
    remarks: deque[str] = field(default_factory=lambda: deque(maxlen=_REMARKS_KEPT))

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Step]:
        """Show a stage of `total` parts (None: unknown) while the block runs."""
        stage = Stage(label, total)
        self.stages.append(stage)
        try:
            yield stage
        finally:
            self.stages.remove(stage)

    def say(self, text: str) -> None:
        """Remember a sentence."""
        self.remarks.append(text)

    def warn(self, text: str) -> None:
        """Remember a sentence."""
        self.remarks.append(text)

    @property
    def line(self) -> str:
        """Where the work is, in words: "features: 120 of 1,300"."""
        shown = [stage.line for stage in list(self.stages)]
        return " · ".join(shown) or "waiting"

    @property
    def share(self) -> float | None:
        """The share of the innermost stage that is done, 0..1; None where its length is unknown."""
        known = [stage for stage in list(self.stages) if stage.total]
        return None if not known else min(1.0, known[-1].done / (known[-1].total or 1))


@dataclass(eq=False)
class Stage:
    """One running piece of work."""

    label: str
    total: int | None
    done: int = 0
    note: str = ""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more parts as done."""
        self.done += n
        self.note = note or self.note

    @property
    def line(self) -> str:
        """The stage in words."""
        return self.label if not self.total else f"{self.label}: {self.done:,} of {self.total:,}"


class Job(Generic[T]):
    """A piece of work in a thread that may be left behind when the server ends."""

    def __init__(self, work: Callable[[News], T]) -> None:
        self.news = News()
        self.error = ""
        self._work, self._result = work, None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._done.is_set()

    @property
    def result(self) -> T | None:
        """What the work returned; None while it runs and where it failed."""
        return self._result

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is done; returns whether it is."""
        return self._done.wait(seconds)

    def _run(self) -> None:
        try:
            self._result = self._work(self.news)  # type: ignore[assignment]
        except Exception as error:
            self.error = sentence_of(error)
        finally:
            self._done.set()


def sentence_of(error: Exception) -> str:
    """Return what a person on the page is told of a failure; what nobody foresaw is logged as well."""
    if isinstance(error, CytoBenchError):
        return str(error)
    _log.error("unforeseen", exc_info=error)
    return "This should not have happened; the terminal in which cytobench serve runs says more."
