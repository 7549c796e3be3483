"""What the cells of tables say, as templates show it and as scripts sort it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cytobench.leaderboard.rows import Row

_MARKS = {
    "same data set": ("†", "pretrained on the task's own data set"),
    "same smears": ("‡", "pretrained on other cells of the same smears"),
    "unknown": ("?", "pretraining sets not published"),
}
_LONGEST_TABLE = 400


@dataclass(frozen=True)
class ScoreCell:
    """One score: texts, and the numbers that sort it ("" where there is none).

    `state`: "" for a score, else "failed" or "not run"; `first`: may be first in its column.
    """

    score: str = ""
    reach: str = ""
    ranks: str = ""
    skill: str = ""
    first: bool = False
    mark: str = ""
    mark_says: str = ""
    state: str = ""
    reason: str = ""
    by_score: str = ""
    by_rank: str = ""
    by_skill: str = ""


def score_cell(row: Row | None) -> ScoreCell:
    """Return how a row is shown."""
    if row is None or row.value is None:
        failed = row is not None and row.status == "failed"
        return ScoreCell(state="failed" if failed else "not run", reason=row.reason if row else "")
    reach = ""
    if row.low is not None and row.high is not None:
        reach = f"[{100 * row.low:.1f}, {100 * row.high:.1f}]"
    skill = None if row.null else row.skill
    mark, says = _MARKS.get(row.overlap, ("", ""))
    return ScoreCell(
        score=f"{100 * row.value:.1f}",
        reach=reach,
        ranks=_ranks(row),
        skill="" if skill is None else f"{skill:+.2f}",
        first=row.ranked and row.tied,
        mark=mark,
        mark_says=says,
        by_score=f"{row.value:.6f}",
        by_rank="" if row.rank_low is None or row.rank_high is None else f"{row.rank_low + row.rank_high}",
        by_skill="" if skill is None else f"{skill:.6f}",
    )


def _ranks(row: Row) -> str:
    if row.rank_low is None:
        return ""
    return f"{row.rank_low}" if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"


@dataclass(frozen=True)
class PlainTable:
    """A table of text: headings, which of them hold numbers, lines, and how many lines were left out."""

    heads: tuple[str, ...]
    numeric: tuple[bool, ...]
    lines: tuple[tuple[str, ...], ...]
    left_out: int = 0


def plain_table(table: pl.DataFrame) -> PlainTable:
    """Return a table as text, at most 400 lines of it: the file holds them all."""
    shown = table.head(_LONGEST_TABLE)
    numeric = tuple(kind.is_numeric() for kind in table.dtypes)
    lines = tuple(tuple(_text(value) for value in line) for line in shown.rows())
    heads = tuple(name.replace("_", " ") for name in table.columns)
    return PlainTable(heads, numeric, lines, len(table) - len(shown))


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1e-4 or not value else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
