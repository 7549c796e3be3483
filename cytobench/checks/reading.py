"""Reading a task that may be broken: what can be read is read, and all that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.cards import TaskCard
from cytobench.checks.subject import Subject
from cytobench.datasets.listing import RefusedError
from cytobench.datasets.task import Shares, TaskData, load_task, read_shares
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError, counted
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import Folds, outer_folds
from cytobench.features.items import items_of
from cytobench.findings import Finding
from cytobench.progress import Reporter


@dataclass(frozen=True)
class Reading:
    """The task as far as it could be read (None: not at all), and what was found on the way."""

    subject: Subject | None
    findings: list[Finding]


def read_task(
    card: TaskCard, *, data_dirs: Sequence[Path], home: Path, digests: FileDigests, reporter: Reporter
) -> Reading:
    """Read a task's rows, identify its items and draw its folds; what fails is a finding."""
    findings: list[Finding] = []
    try:
        data = load_task(card, data_dirs=data_dirs, home=home, reporter=reporter)
    except CytoBenchError as error:
        shares = _readable(card, data_dirs, home)
        findings.append(_unread(error, shares))
        rest = _salvaged(card, shares)
        if rest is None:
            return Reading(None, findings)
        data = rest
    else:
        heard = [text for text in data.warnings if "not patients, are split" not in text]
        findings.append(
            Finding("data", "warn", "The reader remarks:", cases=tuple(heard))
            if heard
            else Finding("data", "pass", f"{counted(len(data.table), 'row')} read.")
        )
    try:
        items = items_of(data.table, card.view, digests, reporter)
        examples = examples_of(data.table, data.classes, card.unit)
    except CytoBenchError as error:
        findings.append(Finding("rows", "fail", str(error)))
        return Reading(None, findings)
    folds: Folds | None = None
    try:
        folds = outer_folds(examples, card.split, card_dir=card.source.parent if card.source else None)
    except CytoBenchError as error:
        findings.append(Finding("folds", "fail", str(error)))
    return Reading(Subject(card, data, items, examples, folds), findings)


def _readable(card: TaskCard, data_dirs: Sequence[Path], home: Path) -> Shares | None:
    """Return the rows that can be read of data that have others too, None where there are none."""
    try:
        return read_shares(card, data_dirs=data_dirs, home=home, salvage=True)
    except CytoBenchError:
        return None


def _unread(error: CytoBenchError, shares: Shares | None) -> Finding:
    """Return why a task's data cannot be read, with all rows concerned where they are known."""
    says = str(error)
    told: tuple[str, ...] = ()
    if isinstance(error, RefusedError) and len(error.problems) > 1:
        says, told = f"{counted(len(error.problems), 'problem')} in {error.where}.", error.problems
    if shares is None:
        return Finding("data", "fail", says, cases=told)
    table = shares.kept
    lost = [image for image in table["image"].unique(maintain_order=True) if not _there(image)]
    nameless = table.filter(pl.col("label").is_null())["sample"].to_list()
    cases = (
        *told,
        *(f"no such file: {image}" for image in lost),
        *(f"no label: {sample}" for sample in nameless),
    )
    return Finding("data", "fail", says, "The questions below leave these rows out.", cases)


def _salvaged(card: TaskCard, shares: Shares | None) -> TaskData | None:
    """Return the rows whose image and label are there, of a table that has others too."""
    if shares is None or card.view.kind == "tile" or card.sub_bags is not None:
        return None
    there = pl.Series([_there(image) for image in shares.kept["image"]], dtype=pl.Boolean)
    table = shares.kept.filter(there & pl.col("label").is_not_null()).unique("sample").sort("sample")
    classes = tuple(name for name in shares.classes if name in set(table["label"]))
    if card.split.kind != "official":
        table = table.drop("split", strict=False)
    try:
        manifest.check(table, where=card.name)
    except CytoBenchError:
        return None
    return TaskData(card, table, classes, shares.sealed, shares.warnings) if classes else None


def _there(image: str | None) -> bool:
    return image is not None and Path(image).is_file()
