"""Everything the site shows, gathered once: rows, runs, costs, curves, examples; pages ask nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cytobench.cards import BackboneCard, TaskCard
from cytobench.evaluation.results import RunResult
from cytobench.leaderboard.rows import Row, called
from cytobench.leaderboard.site.cost import Cost
from cytobench.leaderboard.site.examples import Gallery
from cytobench.leaderboard.site.stored_curves import Curves
from cytobench.leaderboard.table import Layout
from cytobench.leaderboard.uncertainty import Judged, Key

Place = tuple[str, str, str]
"""Task, backbone and run id."""


@dataclass(frozen=True)
class Board:
    """A leaderboard with all that belongs to it.

    `name`: the leaderboard's name; `backbones` and `tasks`: by name, backbones as the table orders them;
    `runs`: the results behind the rows; `curves`, `galleries`: by task; `command`: what made the site.
    """

    name: str
    layout: Layout
    judged: Judged
    backbones: Mapping[str, BackboneCard]
    tasks: Mapping[str, TaskCard]
    runs: Mapping[Place, RunResult]
    costs: Mapping[str, Cost]
    curves: Mapping[str, Curves] = field(default_factory=dict)
    galleries: Mapping[str, Gallery] = field(default_factory=dict)
    command: str = ""
    version: str = ""

    @property
    def title(self) -> str:
        """The leaderboard's title."""
        return self.layout.title

    @cached_property
    def columns(self) -> tuple[Key, ...]:
        """The columns in the card's order."""
        return tuple(dict.fromkeys(row.column for row in self.judged.rows))

    @cached_property
    def by_place(self) -> dict[tuple[str, Key], Row]:
        """The row of a backbone in a column."""
        return {(row.backbone, row.column): row for row in self.judged.rows}

    @cached_property
    def main(self) -> dict[str, Key]:
        """The column that speaks for each task where only one can be shown."""
        return main_columns(self.judged.rows, {name: card.metric for name, card in self.tasks.items()})

    @property
    def with_score(self) -> list[str]:
        """The backbones that have a score anywhere, as the table orders them."""
        scored = {row.backbone for row in self.judged.rows if row.value is not None}
        return [name for name in self.backbones if name in scored]

    def rows_of_task(self, task: str) -> list[Row]:
        """Return the rows of a task, column by column."""
        return [row for row in self.judged.rows if row.task == task]

    def in_column(self, key: Key) -> list[Row]:
        """Return the rows with a score in a column, best first."""
        rows = [row for row in self.judged.rows if row.column == key and row.value is not None]
        return sorted(rows, key=lambda row: -(row.value or 0.0))

    def run_of(self, row: Row) -> RunResult | None:
        """Return the result behind a row."""
        return self.runs.get((row.task, row.backbone, row.run_id))


def main_columns(rows: Sequence[Row], metrics: Mapping[str, str]) -> dict[str, Key]:
    """Return one column of each task that has scores: under the task's own metric, ranked, tuned if possible.

    Of equals the one with most scores, and of these the last that the card lists.
    """
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(row.column, []).append(row)
    best: dict[str, tuple[tuple[bool, bool, bool, bool, int], Key]] = {}
    for key, mine in found.items():
        own = any(row.metric == metrics.get(row.task) for row in mine)
        scored = sum(row.value is not None for row in mine)
        weight = scored > 0, own, mine[0].ranked, key[2], scored
        if key[0] not in best or weight >= best[key[0]][0]:
            best[key[0]] = weight, key
    return {task: key for task, (_, key) in best.items()}


def probe_of(key: Key) -> str:
    """Return how headings call a column's probe."""
    return f"{called(key[1])}{' tuned' if key[2] else ''}"
