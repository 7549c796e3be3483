"""A leaderboard laid out: backbones down, columns across, notes below; rendered by `render.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cytobench.cards import TaskCard
from cytobench.evaluation.metrics import title_of
from cytobench.evaluation.recipes import OWN_METRIC
from cytobench.leaderboard.rows import Row, called
from cytobench.leaderboard.uncertainty import ColumnFacts, Judged, Standing

_HOW_TO_READ = (
    "Scores in percent over the predictions of all outer folds, with 95 % confidence intervals over groups "
    "(patients, slides, blocks; single cells where a task has none), given the models as fitted. Ranks: "
    "those that paired differences leave possible, all pairs of a column together (max-T)."
)
_BOLD = "Scores in bold may be first in their column."
_DETECTABLE = (
    "Detectable: the true difference between two typical rows that is found four times in five; smaller ones "
    "are found less often."
)
_RETRIEVAL = (
    "retrieval: every test cell asks for the 10 most similar cells of its fold's training part; mAP@10 is "
    "the mean of the average precisions of these lists within each class, then over the classes; majority "
    "stands for what a random order of those cells scores on average."
)
_SKILL = "Skill: the share of the room above the best null model that is used; below 0 the null is better."


@dataclass(frozen=True)
class Cell:
    """One score as text with what a reader must know about it.

    `best`: may be first in its column; `ranks`: those it may have, such as "1-3"; `skill`: above the nulls.
    """

    text: str
    best: bool = False
    marks: str = ""
    ranks: str = ""
    skill: str = ""


@dataclass(frozen=True)
class Heading:
    """A column's heading: the task, the probe with its tuning, the data below, what it could tell apart.

    `metric`: as people write it, where the probe is not scored by the task's metric as the others are.
    """

    task: str
    probe: str
    tuned: bool
    ranked: bool
    about: str
    detectable: str = ""
    metric: str = ""

    @property
    def short(self) -> str:
        """The probe as headings name it."""
        return " ".join(filter(None, (called(self.probe), "tuned" if self.tuned else "", self.metric)))


@dataclass(frozen=True)
class Layout:
    """What a rendered leaderboard shows, free of any markup."""

    title: str
    headings: tuple[Heading, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]
    standings: tuple[Standing, ...] = ()

    def about(self, task: str) -> str:
        """Return what a task's columns show, by the first that has results and the task's own metric."""
        mine = [one for one in self.headings if one.task == task and one.about]
        mine.sort(key=lambda one: bool(one.metric))
        return mine[0].about if mine else ""


def lay_out(
    title: str,
    judged: Judged,
    tasks: Sequence[TaskCard],
    nulls: frozenset[str],
    *,
    remarks: Sequence[str] = (),
) -> Layout:
    """Arrange rows: backbones by mean rank, then nulls, then those without a score."""
    rows = judged.rows
    by_place = {(row.backbone, *row.column): row for row in rows}
    columns = list(dict.fromkeys(row.column for row in rows))
    headings = tuple(_heading(column, rows, judged.columns.get(column)) for column in columns)
    order = _order(rows, nulls, {one.backbone: place for place, one in enumerate(judged.standings)})
    lines = []
    for name in order:
        cells = tuple(_cell(by_place.get((name, *column))) for column in columns)
        lines.append((name, cells))
    notes = (*filter(None, remarks), *_notes(judged, tasks))
    return Layout(title, headings, tuple(lines), notes, tuple(judged.standings))


def _heading(column: tuple[str, str, bool], rows: Sequence[Row], facts: ColumnFacts | None) -> Heading:
    mine = [row for row in rows if row.column == column]
    scored = next((row for row in mine if row.n), None)
    about = ""
    if scored:
        groups = f", {scored.groups} groups" if scored.groups else ", ungrouped"
        about = f"{title_of(scored.metric)}, n = {scored.n:,}{groups}, rows {scored.subset[:8]}"
    known = facts is not None and facts.detectable is not None
    detectable = f"{100 * facts.detectable:.1f}" if known else ""  # type: ignore[union-attr, operator]
    metric = title_of(OWN_METRIC[column[1]]) if column[1] in OWN_METRIC else ""
    return Heading(*column, ranked=mine[0].ranked, about=about, detectable=detectable, metric=metric)


def _order(rows: Sequence[Row], nulls: frozenset[str], standing: Mapping[str, int]) -> list[str]:
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
        complete = name in standing or (bool(ranked) and len(mine) == len(ranked))
        kind = 3 if name not in scored else 2 if name in nulls else 0 if complete else 1
        return kind, standing.get(name, sum(mine) / len(mine) if complete and mine else 0.0), name

    return sorted(dict.fromkeys(row.backbone for row in rows), key=key)


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("not run")
    if row.value is None:
        return Cell("failed" if row.status == "failed" else "not run")
    reach = ""
    if row.low is not None and row.high is not None:
        reach = f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    marks = {"same data set": "†", "same smears": "‡", "unknown": "?"}.get(row.overlap, "")
    ranks = "" if row.rank_low is None else f"{row.rank_low}–{row.rank_high}"
    ranks = f"{row.rank_low}" if ranks and row.rank_low == row.rank_high else ranks
    skill = "" if row.skill is None or row.null else f"{row.skill:+.2f}"
    return Cell(f"{100 * row.value:.1f}{reach}", row.ranked and row.tied, marks, ranks, skill)


def _notes(judged: Judged, tasks: Sequence[TaskCard]) -> list[str]:
    rows = judged.rows
    notes = [_HOW_TO_READ]
    if any(row.ranked and row.tied for row in rows):
        notes.append(_BOLD)
    if any(facts.detectable is not None for facts in judged.columns.values()):
        notes.append(_DETECTABLE)
    if any(row.skill is not None and not row.null for row in rows):
        notes.append(_SKILL)
    if any(row.probe == "retrieval" and row.value is not None for row in rows):
        notes.append(_RETRIEVAL)
    marks = {row.overlap for row in rows if row.value is not None}
    if "same data set" in marks:
        notes.append("† pretrained on the task's own data set.")
    if "same smears" in marks:
        notes.append("‡ pretrained on other cells of the same smears.")
    if "unknown" in marks:
        notes.append("? pretraining sets not published: an overlap can be neither shown nor excluded.")
    notes += _limits(judged)
    notes += _ranking(rows, tasks) + _ungrouped(rows, tasks) + _unranked(rows) + _reasons(rows)
    return notes


def _limits(judged: Judged) -> list[str]:
    """Say where there are too few groups to be sure of anything, and which tasks tell no backbone apart."""
    few = dict.fromkeys(key[0] for key, facts in judged.columns.items() if facts.groups and not facts.enough)
    blind = {
        task: [facts.discriminates for key, facts in judged.columns.items() if key[0] == task]
        for task in dict.fromkeys(key[0] for key in judged.columns)
    }
    silent = [task for task, found in blind.items() if False in found and True not in found]
    notes = []
    if few:
        notes.append(f"Too few groups for an interval, a rank or a test: {', '.join(few)}.")
    if silent:
        notes.append(
            "Not discriminative here, no backbone shown is significantly above every null model: "
            f"{', '.join(silent)}."
        )
    if judged.standings:
        have, all_ = judged.ranked_columns
        columns = f"all {all_}" if have == all_ else f"{have} of {all_}"
        notes.append(
            f"Overall: mean rank over {columns} ranked columns, of the backbones that have a score in each; "
            "its interval holds for these columns together, and those in bold may be first."
        )
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
    names = []
    for task in dict.fromkeys(row.task for row in rows):
        mine = [row for row in rows if row.task == task]
        probes = dict.fromkeys(row.probe for row in mine if not row.ranked)
        if probes:
            some = any(row.ranked for row in mine)
            names.append(f"{task} ({', '.join(probes)})" if some else task)
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
