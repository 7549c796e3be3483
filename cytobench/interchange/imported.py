"""Results of other labs beside one's own: where they lie, and under which names they are shown.

A run of the lab `north` of the backbone `uni` is stored as the backbone `uni@north`, in the ledger like any
other, so that tables and comparisons treat it as one more competitor. Its card is in `foreign_cards`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import BackboneCard, TaskCard
from cytobench.errors import DataError
from cytobench.evaluation.ledger import find_run, folder_name, save_run, stored_runs
from cytobench.evaluation.plan import TaskPlan
from cytobench.evaluation.results import RunRecord, RunResult
from cytobench.interchange.bundle import coded
from cytobench.interchange.bundle_check import Bundle, Decode, ForeignRun, differences
from cytobench.interchange.bundle_export import ELSEWHERE, backbone_dump, task_dump
from cytobench.interchange.foreign_cards import is_foreign, labs, name_at, write_card
from cytobench.leaderboard.collect import is_null
from cytobench.registry import Registry

Replan = Callable[[TaskCard, RunResult], TaskPlan | None]
"""Reads one's own data of a task as a run saw them; None where they are not here."""


@dataclass(frozen=True)
class Imported:
    """What became of a bundle: runs that are new, and that were here; tasks that only the other lab has."""

    new: int
    known: int
    foreign: tuple[str, ...]
    unchecked: tuple[str, ...]


def decoder(home: Path, salt: str | None) -> Decode | None:
    """Return what turns coded names into plain ones, by one's own folds with the same digest."""
    if salt is None:
        return None

    def decode(split_digest: str, table: pl.DataFrame) -> pl.DataFrame:
        own = next((home / "results").glob(f"*/folds-{split_digest[:16]}.parquet"), None)
        if own is None:
            raise DataError("names of samples are coded, and no run of ours has these folds to decode them")
        mine = pl.read_parquet(own)
        for name in ("sample", "group"):
            plain = {coded(salt, one): one for one in mine[name]}
            if not set(table[name]) <= set(plain):
                raise DataError("names of samples are coded with another salt, or are not those of our folds")
            table = table.with_columns(pl.Series(name, [plain[one] for one in table[name]]))
        return table

    return decode


def against_own(
    bundle: Bundle, registry: Registry, home: Path, replan: Replan
) -> tuple[list[str], list[str]]:
    """Compare a bundle with one's own tasks: (what differs, the tasks that could not be compared).

    Own data count where they are at hand, else own runs on the task.
    """
    problems: list[str] = []
    unchecked: list[str] = []
    own_names = set(labs(home))
    for name, card in bundle.tasks.items():
        own = registry.tasks.get(name)
        if own is None or _is_foreign(registry, name):
            continue
        if own.semantics() != card.semantics():
            other = differences(card.semantics(), own.semantics())
            problems.append(f"the task {name} is not ours: {'; '.join(other[:3])}")
            continue
        runs = [run for run in bundle.runs if run.result.task == name]
        said = [_against_task(run, own, home, own_names, replan) for run in runs]
        problems += dict.fromkeys(one for one in said if one)
        if None in said:
            unchecked.append(name)
    return problems, unchecked


def keep(
    bundle: Bundle, registry: Registry, home: Path, *, replace_old: bool, unchecked: Sequence[str]
) -> Imported:
    """Store a sound bundle's runs and cards; raises DataError when the lab sent another version before."""
    lab = bundle.manifest.lab
    fresh, known = [], 0
    for run in bundle.runs:
        one = run.result
        name = name_at(one.backbone, lab)
        before = find_run(home, one.task, name, one.probe, one.run_id)
        if before is not None and not replace_old:
            if differences(before.result.metrics, one.metrics) or not before.predictions.equals(
                run.predictions
            ):
                raise DataError(
                    f"{lab} has sent other numbers for the run {one.run_id[:12]} of {one.backbone} "
                    "before: ask which are right, then import with --replace."
                )
            known += 1
            continue
        fresh.append((run, name))
    foreign = [name for name in bundle.tasks if name not in registry.tasks]
    for name in foreign:
        write_card(home, "tasks", folder_name(name), task_dump(bundle.tasks[name]), lab)
    for name, board in bundle.boards.items():
        if name not in registry.leaderboards:
            write_card(home, "leaderboards", folder_name(name), board.model_dump(mode="json"), lab)
    for name, card in bundle.backbones.items():
        write_card(home, "backbones", folder_name(name_at(name, lab)), _powerless(card, lab), lab)
    for run, name in fresh:
        save_run(home, RunRecord(run.result.model_copy(update={"backbone": name}), run.predictions))
    theirs = sorted(name for name in bundle.tasks if _is_foreign(registry, name))
    return Imported(len(fresh), known, tuple(theirs), tuple(unchecked))


def _is_foreign(registry: Registry, task: str) -> bool:
    return task not in registry.tasks or is_foreign(registry.tasks[task])


def _against_task(
    run: ForeignRun, own: TaskCard, home: Path, imported: set[str], replan: Replan
) -> str | None:
    """Return what differs ("" for nothing), or None where there is nothing of our own to compare with."""
    one = run.result
    plan = replan(own, one)
    if plan is not None:
        rows = plan.folds.fold >= 0
        labels = [plan.examples.classes[code] for code in plan.examples.labels[rows]]
        truth = pl.DataFrame({"sample": _taken(plan.examples.samples, rows), "label": labels})
        return _said(one, plan.manifest_digest, plan.folds.digest, truth, run.predictions, "our data")
    for place in stored_runs(home, own.name):
        mine = find_run(home, own.name, place.parent.parent.name, place.parent.name, place.name)
        if mine is None or mine.result.backbone in imported or mine.result.seed != one.seed:
            continue
        if (mine.result.split.kind, mine.result.split.folds) != (one.split.kind, one.split.folds):
            continue
        digests = mine.result.manifest_digest, mine.result.split.digest
        return _said(one, *digests, mine.predictions, run.predictions, "our own runs")
    return None


def _taken(names: Sequence[str], rows: npt.NDArray[np.bool_]) -> list[str]:
    return [name for name, taken in zip(names, rows, strict=True) if taken]


def _said(
    one: RunResult, manifest: str, split: str, truth: pl.DataFrame, theirs: pl.DataFrame, what: str
) -> str:
    if one.manifest_digest != manifest:
        return (
            f"on {one.task} its rows are not those of {what}: another version of the data, or of the labels"
        )
    if one.split.digest != split:
        return f"on {one.task} its folds are not those of {what}"
    mine = truth.select("sample", "label").sort("sample")
    if not mine.equals(theirs.select("sample", "label").sort("sample")):
        return f"on {one.task} its labels are not those of {what}"
    return ""


def _powerless(card: BackboneCard, lab: str) -> dict[str, object]:
    """Return the card of a backbone that is only known by results: no weights to fetch, no code to import."""
    kept = backbone_dump(card) | {"name": name_at(card.name, lab), "loader": "precomputed", "sha256": ""}
    return kept | {"dim": max(card.dim, 1), "weights": "random" if is_null(card) else ELSEWHERE}
