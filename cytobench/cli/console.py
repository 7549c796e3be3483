"""Progress and remarks: bars with rates and time left in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cytobench.progress import Step

_QUIET_SECONDS = 10.0
_PIPE_WIDTH = 180


def output() -> Console:
    """Return the console for results: as wide as the terminal; in a file or pipe wide enough for tables."""
    console = Console()
    return console if console.is_terminal or os.environ.get("COLUMNS") else Console(width=_PIPE_WIDTH)


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("{task.speed}")

    def render(self, task: Task) -> Text:
        """Show how many parts a second are done."""
        speed = task.finished_speed or task.speed
        return Text(
            "" if not speed else f"{speed:,.1f}/s" if speed < 1000 else f"{speed:,.0f}/s", style="cyan"
        )


class _BarStep:
    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def advance(self, n: int = 1, note: str = "") -> None:
        """Move the bar by `n`; show `note` beside it."""
        fields = {"note": note} if note else {}
        self._progress.update(self._task, advance=n, **fields)  # type: ignore[arg-type]


class _LineStep:
    """Says a line every few seconds: for logs and pipes."""

    def __init__(self, console: Console, label: str, total: int | None) -> None:
        self._console, self._label, self._total = console, label, total
        self._done, self._said, self._started = 0, 0, time.monotonic()
        self._last = self._started

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n`; say so if the last line is some seconds old."""
        self._done += n
        now = time.monotonic()
        if now - self._last >= _QUIET_SECONDS:
            self._last = now
            self._line(note)

    def close(self) -> None:
        """Say the last line of a step that was long enough to be mentioned."""
        if self._last > self._started and self._said < self._done:
            self._line("")

    def _line(self, note: str) -> None:
        self._said = self._done
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        of = f" of {self._total:,}" if self._total is not None else ""
        left = f", {max(self._total - self._done, 0) / rate:,.0f} s left" if self._total and rate else ""
        text = f"{self._label}: {self._done:,}{of} ({rate:,.1f}/s{left}) {note}".rstrip()
        self._console.print(Text(text), soft_wrap=True)


class ConsoleReporter:
    """Shows progress on standard error, so that tables on standard output can be piped."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Step]:
        """Show a bar for `total` parts while the block runs; bars of nested blocks stand below each other."""
        if not self.console.is_terminal:
            line = _LineStep(self.console, label, total)
            yield line
            line.close()
            return
        outermost = self._progress is None
        progress = self._progress or self._bars()
        if outermost:
            self._progress = progress
            progress.start()
        bar = progress.add_task(label, total=total, note="")
        try:
            yield _BarStep(progress, bar)
        finally:
            progress.remove_task(bar) if not outermost else None
            if outermost:
                progress.stop()
                self._progress = None

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print one line above the bars, in yellow."""
        self.console.print(Text(text, style="yellow"), soft_wrap=True)

    def _bars(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
        )
