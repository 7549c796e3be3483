"""The marks of score figures, many at once: a mark at a time takes seconds and half of a file's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Mark:
    """A value, the interval around it where there is one, and where it stands on the other axis."""

    value: float
    low: float | None
    high: float | None
    at: float


def forest(axis: Axes, marks: Sequence[Mark], colour: str, *, filled: bool = True, size: int = 30) -> None:
    """Draw values as diamonds and intervals as lines through them, from left to right."""
    known = [mark for mark in marks if mark.low is not None and mark.high is not None]
    axis.hlines(
        [mark.at for mark in known],
        [mark.low or 0.0 for mark in known],
        [mark.high or 0.0 for mark in known],
        colors=colour,
        lw=1.7,
    )
    axis.scatter(
        [mark.value for mark in marks],
        [mark.at for mark in marks],
        s=size,
        marker="D",
        facecolors=colour if filled else axis.get_facecolor(),
        edgecolors=colour,
        linewidths=1.3,
        zorder=3,
    )
