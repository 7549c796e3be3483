"""Questions to code of other people: whatever it raises becomes a finding, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from cytobench.errors import CytoBenchError
from cytobench.findings import Finding
from cytobench.progress import Reporter, Step


def answer(question: str, ask: Callable[[], Finding]) -> Finding:
    """Return what `ask` finds; an exception is a finding that fails, in its own words."""
    try:
        return ask()
    except CytoBenchError as error:
        return Finding(question, "fail", str(error))
    except Exception as error:
        return Finding(question, "fail", failure(error), "Mend the backbone's own code, and check again.")


def failure(error: Exception) -> str:
    """Return one sentence for an exception of other people's code."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"It failed with {type(error).__name__}{': ' if first else ''}{first.rstrip('.')}."


class Hearing:
    """A reporter that keeps remarks and warnings for the findings; bars go on to `reporter`."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.said: list[str] = []
        self.warned: list[str] = []

    def task(self, label: str, total: int | None) -> AbstractContextManager[Step]:
        """Open the bar of the reporter behind."""
        return self._reporter.task(label, total)

    def say(self, text: str) -> None:
        """Keep a remark."""
        self.said.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warned.append(text)
