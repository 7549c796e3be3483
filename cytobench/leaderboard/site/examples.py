"""Retrieval examples of a task: cells, and the most similar cells of other groups in a backbone's space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import TaskCard
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError
from cytobench.evaluation.plan import RunRequest, TaskPlan, plan_task
from cytobench.evaluation.results import RunResult
from cytobench.features.store import FeatureStore
from cytobench.pictures.page import picture_uri
from cytobench.probes.neighbours import directions, nearest
from cytobench.progress import Reporter

QUERIES, NEIGHBOURS, SIDE = 3, 6, 96


@dataclass(frozen=True)
class Example:
    """One cell as a row of the task's table, its class, its group, and how similar it is to the query."""

    row: int
    label: str
    group: str
    similarity: float


@dataclass(frozen=True)
class Picture:
    """An example with its picture as a data URI."""

    uri: str
    label: str
    group: str
    similarity: float
    same: bool


@dataclass(frozen=True)
class Strip:
    """A query and its neighbours, most similar first."""

    query: Picture
    neighbours: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """The strips of a task by backbone, or the sentence why there are none."""

    strips: dict[str, tuple[Strip, ...]]
    remark: str = ""


@dataclass(frozen=True)
class Source:
    """Where features and images are: the home folder and the folders with data sets."""

    home: Path
    data: tuple[Path, ...]


def gallery_of(
    card: TaskCard, runs: Sequence[RunResult], source: Source | None, reporter: Reporter
) -> Gallery:
    """Return examples of a task in the spaces of some runs, best first; the first two that work are shown."""
    if not card.show_images:
        return Gallery({}, "The licence of these images does not let them be shown.")
    if source is None or not source.data:
        return Gallery({}, "Made without the images (no --data), so no examples are shown.")
    if not runs:
        return Gallery({}, "No backbone that sees images has run on this task.")
    try:
        task = _planned(card, source, reporter)
    except CytoBenchError as error:
        return Gallery({}, f"No examples: {error}")
    strips: dict[str, tuple[Strip, ...]] = {}
    remark = "The features of no backbone are stored here, so no examples are shown."
    for run in runs:
        if run.manifest_digest != task.manifest_digest:
            return Gallery({}, "The images here are not those that the results were made on.")
        try:
            found = examples_of(task, run, source.home)
            strips[run.backbone] = _pictured(task, found)
        except CytoBenchError as error:
            remark = f"No examples: {error}"
        if len(strips) == 2:
            break
    return Gallery(strips, "" if strips else remark)


def examples_of(task: TaskPlan, run: RunResult, home: Path) -> list[tuple[Example, list[Example]]]:
    """Return queries of different classes and the nearest cells of other groups to each.

    Exact, by the cosine of features centred on their mean, as the kNN probe sees them. Queries are drawn by
    the task's name, so that all backbones of a task get the same ones. Raises StoreError where features are
    not stored.
    """
    space = FeatureStore(home / "features").space(run.space_id or "")
    features = space.load(task.items.ids)
    labels = task.data.table["label"].to_list()
    groups = task.data.table["group"].cast(pl.String).to_list()
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    queries = queries_of(task.card.name, labels)
    unit, _ = directions(features, features[:1])
    found = nearest(unit, unit[queries], NEIGHBOURS, train_groups=codes, test_groups=codes[queries])

    def example(row: int, similarity: float) -> Example:
        return Example(row, labels[row], groups[row], similarity)

    return [
        (
            example(int(query), 1.0),
            [
                example(int(row), float(value))
                for row, value in zip(found.index[place], found.similarity[place], strict=True)
                if row >= 0
            ],
        )
        for place, query in enumerate(queries)
    ]


def queries_of(task: str, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return three rows, of as many classes as there are, drawn by the task's name: int64 [3 or fewer]."""
    seed = int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    known = np.asarray(labels)
    classes = rng.permutation(np.unique(known))
    chosen: list[int] = []
    for turn in range(QUERIES):
        of_class = np.setdiff1d(np.flatnonzero(known == classes[turn % len(classes)]), chosen)
        if len(of_class):
            chosen.append(int(rng.choice(of_class)))
    return np.array(chosen, np.int64)


def _planned(card: TaskCard, source: Source, reporter: Reporter) -> TaskPlan:
    request = RunRequest(tasks=[card], backbones=[], home=source.home, data_dirs=source.data)
    digests = FileDigests(source.home)
    task = plan_task(card, request, digests, reporter)
    digests.flush()
    return task


def _pictured(task: TaskPlan, found: list[tuple[Example, list[Example]]]) -> tuple[Strip, ...]:
    rows = [one.row for query, near in found for one in (query, *near)]
    crops = dict(zip(rows, task.items.crops(rows), strict=True))

    def picture(one: Example, label: str) -> Picture:
        uri = picture_uri(crops[one.row], side=SIDE)
        return Picture(uri, one.label, one.group, one.similarity, one.label == label)

    return tuple(
        Strip(picture(query, query.label), tuple(picture(one, query.label) for one in near))
        for query, near in found
    )
