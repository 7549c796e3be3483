"""What `cytobench attend` finds out: of image files, of cells of a task, and of bags of a stored run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.cli.options import Places
from cytobench.errors import UsageError

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard, TaskCard
    from cytobench.cli.console import ConsoleReporter
    from cytobench.digests import FileDigests
    from cytobench.encoders import Encoder
    from cytobench.evaluation.plan import TaskPlan
    from cytobench.evaluation.results import RunResult
    from cytobench.inspection.bag_attention import TruthFigures
    from cytobench.pictures.sheet import Strip

_MOST_IMAGES = 40


@dataclass(frozen=True)
class Asked:
    """One invocation: who is asked, and where things are."""

    backbone: BackboneCard
    where: Places
    reporter: ConsoleReporter
    digests: FileDigests
    device: str
    download: bool

    def encoder(self) -> Encoder:
        """Load the backbone; raises UsageError where it is known to have no attention."""
        from cytobench.encoders import load
        from cytobench.encoders.attention import why_no_attention

        impossible = why_no_attention(self.backbone)
        if impossible:
            raise UsageError(impossible)
        with self.reporter.task(f"loading {self.backbone.name}", None):
            return load(
                self.backbone,
                home=self.where.home,
                digests=self.digests,
                device=self.device,
                download=self.download,
                reporter=self.reporter,
            )

    def plan(self, card: TaskCard) -> TaskPlan:
        """Read a task's data."""
        from cytobench.evaluation.plan import RunRequest, plan_task

        request = RunRequest(tasks=[card], backbones=[], home=self.where.home, data_dirs=self.where.data)
        with self.reporter.task("reading the task", None):
            return plan_task(card, request, self.digests, self.reporter)


@dataclass(frozen=True)
class Shown:
    """What an invocation found: for the terminal, for programs, and as pictures (made when asked for)."""

    name: str
    title: str
    table: dict[str, Any]
    said: list[str]
    notes: list[str]
    record: dict[str, Any]
    strips: Callable[[], list[Strip]]
    columns: int


def of_images(
    asked: Asked, named: list[str], card: TaskCard | None, box: str | None, mpp: float | None
) -> Shown:
    """Return what the backbone attends to in image files, cut as `card`'s task does where one is given."""
    from cytobench.inspection.attended import as_records, attend
    from cytobench.inspection.attention_pictures import strips_of_images
    from cytobench.inspection.attention_words import notes_of_images, table_of_images
    from cytobench.inspection.subjects import image_files, subject_of_file

    files = image_files([Path(one).expanduser() for one in named])
    if box is not None and len(files) > 1:
        raise UsageError(f"--box is for one image, and {len(files)} are named; name one.")
    if len(files) > _MOST_IMAGES:
        asked.reporter.warn(
            f"The first {_MOST_IMAGES} of {len(files)} images are looked at; name others alone."
        )
    view = card.view if card else None
    subjects = [subject_of_file(file, view, _box(box), mpp) for file in files[:_MOST_IMAGES]]
    found = attend(asked.encoder(), subjects, asked.reporter)
    heads = len(found[0].attention.heads)
    return Shown(
        Path(files[0]).stem if len(files) == 1 else "images",
        f"What {asked.backbone.name} attends to",
        table_of_images(found),
        [],
        notes_of_images(asked.backbone.name, found, card),
        {"backbone": asked.backbone.name, "images": as_records(found, maps=True)},
        lambda: strips_of_images(found),
        min(heads + 3, 9),
    )


def of_cells(asked: Asked, card: TaskCard, each: int, measured: int, seed: int) -> Shown:
    """Return what the backbone attends to in `each` cells of every class, with figures of `measured` ones."""
    from cytobench.inspection.attended import as_records, attend
    from cytobench.inspection.attention_pictures import strips_of_classes
    from cytobench.inspection.attention_words import notes_of_images, table_of_images
    from cytobench.inspection.subjects import subjects_of_task

    encoder = asked.encoder()
    task = asked.plan(card)
    with asked.reporter.task("cutting pictures", None):
        subjects = subjects_of_task(task, each, seed)
        if measured > each and any(one.cell is not None for one in subjects):
            subjects = subjects_of_task(task, measured, seed)
    found = attend(encoder, subjects, asked.reporter)
    return Shown(
        card.name,
        f"{card.name}: what {asked.backbone.name} attends to",
        table_of_images(found),
        [],
        notes_of_images(asked.backbone.name, found, card),
        {"backbone": asked.backbone.name, "task": card.name, "cells": as_records(found, maps=True)},
        lambda: strips_of_classes(found, each),
        3 * min(each, 3),
    )


def of_bags(
    asked: Asked,
    card: TaskCard,
    named: list[str],
    most: int,
    probe: str | None,
    *,
    tuned: bool,
    seed: int,
    run_seed: int,
) -> Shown:
    """Return what a stored model of bags attends to in bags `named` or drawn, and keep its truth figures."""
    from cytobench.encoders.attention import why_no_attention
    from cytobench.inspection.attention_words import notes_of_bags, table_of_bags, truth_lines
    from cytobench.inspection.bag_attention import as_records, choose, truth_figures, weighed_bags
    from cytobench.inspection.bag_pictures import MOST, strips_of_bags
    from cytobench.inspection.stored import attention_of_run, predictions_of_runs, runs_of

    home = asked.where.home
    if asked.backbone.loader == "null":
        raise UsageError(why_no_attention(asked.backbone))
    (run,) = runs_of(
        [asked.backbone.name], card, home, asked.reporter, probe=probe, tuned=tuned, seed=run_seed
    )
    attention = attention_of_run(run, home)
    predictions = predictions_of_runs([run], home)[run.backbone]
    task = asked.plan(card)
    bags = weighed_bags(task, run, predictions, attention)
    chosen = choose(bags, named, most, seed)
    truth = truth_figures(bags)
    if truth is not None:
        _store(asked, run, truth)
    said = truth_lines(truth, known=any(one.telling is not None for one in bags))
    return Shown(
        card.name,
        f"{card.name}: what {run.probe} attends to ({run.backbone})",
        table_of_bags(chosen),
        said,
        notes_of_bags(run, chosen, card, said),
        {
            "task": card.name,
            "backbone": run.backbone,
            "probe": run.probe,
            "tuned": run.tuned,
            "run_id": run.run_id,
            "truth": vars(truth) if truth else None,
            "bags": as_records(task, chosen),
        },
        lambda: strips_of_bags(task, chosen, asked.reporter),
        MOST,
    )


def _store(asked: Asked, run: RunResult, truth: TruthFigures) -> None:
    """Keep the figures against truth beside the run; a folder that may not be written is no failure."""
    from cytobench.errors import StoreError
    from cytobench.evaluation.ledger import run_folder
    from cytobench.features.durable import write_durably
    from cytobench.inspection.bag_attention import FILE, truth_record

    path = run_folder(asked.where.home, run.task, run.backbone, run.probe, run.run_id) / FILE
    text = json.dumps(truth_record(run, truth), indent=1) + "\n"
    try:
        write_durably(path, [text.encode()])
    except StoreError as error:
        asked.reporter.warn(f"The figures against truth are not kept: {error}")


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--box {text} is not X,Y,W,H: four whole numbers of px, such as 120,80,64,64."
        ) from None
    return x, y, w, h
