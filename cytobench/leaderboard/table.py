"""A leaderboard laid out: backbones down, columns across, notes below; rendered by `render.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cytobench.cards import TaskCard
from cytobench.leaderboard.rows import Row

_HOW_TO_READ = (
    "Scores in percent, over the predictions of all outer folds; ± is the standard deviation over the folds, "
    "not an interval. Bold: highest in a ranked column, which says nothing about significance."
)


@dataclass(frozen=True)
class Cell:
    """One score as text with what a reader must know about it."""

    text: str
    best: bool = False
    marks: str = ""


@dataclass(frozen=True)
class Heading:
    """A column's heading: the task, the probe with its tuning, and the data below."""

    task: str
    probe: str
    tuned: bool
    ranked: bool
    about: str

    @property
    def short(self) -> str:
        """The probe as headings name it."""
        return f"{self.probe}{' tuned' if self.tuned else ''}"


@dataclass(frozen=True)
class Layout:
    """What a rendered leaderboard shows, free of any markup."""

    title: str
    headings: tuple[Heading, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]


def lay_out(
    title: str,
    rows: Sequence[Row],
    tasks: Sequence[TaskCard],
    nulls: frozenset[str],
    *,
    remarks: Sequence[str] = (),
) -> Layout:
    """Arrange `rows`: backbones by mean rank, then nulls, then those without a score."""
    by_place = {(row.backbone, *row.column): row for row in rows}
    columns = list(dict.fromkeys(row.column for row in rows))
    headings = tuple(_heading(column, rows) for column in columns)
    order = _order(rows, nulls)
    best = {column: _best(column, rows) for column in columns}
    lines = []
    for name in order:
        cells = tuple(_cell(by_place.get((name, *column)), best[column]) for column in columns)
        lines.append((name, cells))
    return Layout(title, headings, tuple(lines), (*filter(None, remarks), *_notes(rows, tasks)))


def _heading(column: tuple[str, str, bool], rows: Sequence[Row]) -> Heading:
    mine = [row for row in rows if row.column == column]
    scored = next((row for row in mine if row.n), None)
    about = ""
    if scored:
        groups = f", {scored.groups} groups" if scored.groups else ", ungrouped"
        about = f"{scored.metric.replace('_', ' ')}, n = {scored.n:,}{groups}, rows {scored.subset[:8]}"
    return Heading(*column, ranked=mine[0].ranked, about=about)


def _order(rows: Sequence[Row], nulls: frozenset[str]) -> list[str]:
    """Return backbones by mean rank over the ranked columns if they have a score in each, others by name.

    Scores of different tasks are never averaged: only ranks within a column are.
    """
    ranked = {row.column for row in rows if row.ranked and row.value is not None}
    ranks: dict[str, list[float]] = {}
    for column in ranked:
        scores = {row.backbone: row.value for row in rows if row.column == column and row.value is not None}
        for name, value in scores.items():
            above = sum(other > value for other in scores.values())
            ties = sum(other == value for other in scores.values())
            ranks.setdefault(name, []).append(above + (ties + 1) / 2)
    scored = {row.backbone for row in rows if row.value is not None}

    def key(name: str) -> tuple[int, float, str]:
        mine = ranks.get(name, [])
        complete = bool(ranked) and len(mine) == len(ranked)
        kind = 3 if name not in scored else 2 if name in nulls else 0 if complete else 1
        return kind, sum(mine) / len(mine) if complete else 0.0, name

    return sorted(dict.fromkeys(row.backbone for row in rows), key=key)


def _best(column: tuple[str, str, bool], rows: Sequence[Row]) -> float | None:
    """Return the highest score of a ranked column; none where nothing is ranked."""
    scores = [row.value for row in rows if row.column == column and row.ranked and row.value is not None]
    return max(scores, default=None)


def _cell(row: Row | None, best: float | None) -> Cell:
    if row is None:
        return Cell("not run")
    if row.value is None:
        return Cell("failed" if row.status == "failed" else "not run")
    spread = f" ± {100 * row.spread:.1f}" if row.spread is not None else ""
    marks = {"same data set": "†", "same smears": "‡", "unknown": "?"}.get(row.overlap, "")
    return Cell(f"{100 * row.value:.1f}{spread}", best=row.value == best, marks=marks)


def _notes(rows: Sequence[Row], tasks: Sequence[TaskCard]) -> list[str]:
    notes = [_HOW_TO_READ]
    marks = {row.overlap for row in rows if row.value is not None}
    if "same data set" in marks:
        notes.append("† pretrained on the task's own data set.")
    if "same smears" in marks:
        notes.append("‡ pretrained on other cells of the same smears.")
    if "unknown" in marks:
        notes.append("? pretraining sets not published: an overlap can be neither shown nor excluded.")
    notes += _ranking(rows, tasks) + _ungrouped(rows, tasks) + _unranked(rows) + _reasons(rows)
    return notes


def _ranking(rows: Sequence[Row], tasks: Sequence[TaskCard]) -> list[str]:
    """Say which AUROCs compare scores of one fold only, and which those of different folds too."""
    shown = {row.task for row in rows if row.metric == "auroc"}
    pooled = [t.name for t in tasks if t.name in shown and t.split.kind == "leave-one-group-out"]
    within = [t.name for t in tasks if t.name in shown and t.name not in pooled]
    notes = []
    if within:
        notes.append(f"AUROC of {', '.join(within)}: computed within each fold, then averaged.")
    if pooled:
        notes.append(
            f"AUROC of {', '.join(pooled)}: pooled over folds, since one group alone may hold one class; it "
            "compares scores of different folds, and a predictor that knows nothing can fall below 50."
        )
    return notes


def _ungrouped(rows: Sequence[Row], tasks: Sequence[TaskCard]) -> list[str]:
    shown = {row.task for row in rows}
    names = [task.name for task in tasks if task.group == "none" and task.name in shown]
    return (
        [f"Cells, not patients, are the unit of {', '.join(names)}: any interval is too narrow."]
        if names
        else []
    )


def _unranked(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(row.task for row in rows if not row.ranked))
    return [f"Shown, not ranked: {', '.join(names)}."] if names else []


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Say once per reason who failed or did not run: anywhere, or where."""
    scored = {row.backbone for row in rows if row.value is not None}
    by_reason: dict[tuple[str, str, bool], list[Row]] = {}
    for row in rows:
        if row.value is None:
            by_reason.setdefault((row.status, row.reason, row.backbone in scored), []).append(row)
    notes = []
    for (status, reason, partly), mine in by_reason.items():
        backbones = ", ".join(dict.fromkeys(row.backbone for row in mine))
        places = " on " + ", ".join(dict.fromkeys(f"{r.task} ({r.probe})" for r in mine)) if partly else ""
        why = reason.removeprefix(f"{backbones}: ")  # what concerns one backbone often begins with its name
        note = f"{backbones}{places}: {status}{': ' + why if why else ''}"
        notes.append(note if note.endswith((".", "?")) else note + ".")
    return notes
