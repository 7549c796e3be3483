"""How long-running parts tell a person where they are, without knowing about terminals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One running piece of work with a known or unknown number of parts."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more parts as done; `note` replaces the remark beside the bar."""


class Reporter(Protocol):
    """Where progress, remarks and warnings go."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Step]:
        """Open a progress display for `total` parts (None: unknown)."""

    def say(self, text: str) -> None:
        """Say one line that stays."""

    def warn(self, text: str) -> None:
        """Say one line that asks for attention."""


class _SilentStep:
    def advance(self, n: int = 1, note: str = "") -> None:
        """Do nothing."""


class SilentReporter:
    """A reporter that keeps quiet: for tests and for use as a library."""

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Step]:
        """Yield a step that ignores what it is told."""
        yield _SilentStep()

    def say(self, text: str) -> None:
        """Ignore the line."""

    def warn(self, text: str) -> None:
        """Ignore the line."""
