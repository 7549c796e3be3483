"""A visitor's question and its answer, as a page shows it: pictures are data URIs, where permitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cytobench.errors import UsageError
from cytobench.features.items import Box
from cytobench.images import RGB, decode
from cytobench.pictures.page import picture_uri
from cytobench.retrieval.searcher import Answer, Hit, Query, Searcher
from cytobench.retrieval.words import group_of, heading, remarks, where

MOST_NEIGHBOURS = 48
CROP_SIDE = 176
FIELD_SIDE = 1600
"""Sides in px to which pictures are fitted before they travel."""
OWN_GROUP = "the query's own"


@dataclass(frozen=True)
class Wanted:
    """What is looked up: a cell of the collection, or pixels with or without a box in them.

    pixels: uint8 [h, w, 3]; box: x, y, w, h in px; group: one that is not wanted (OWN_GROUP: the query's).
    """

    sample: str | None = None
    pixels: RGB | None = None
    name: str = ""
    box: Box | None = None
    mpp: float | None = None
    k: int = 12
    group: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_NEIGHBOURS:
            raise UsageError(f"Ask for 1 to {MOST_NEIGHBOURS} neighbours, not {self.k}.")


@dataclass(frozen=True)
class Neighbour:
    """A cell that was found; `uri`: its picture, "" where the licence keeps it."""

    hit: Hit
    uri: str
    group: str
    where: str
    agrees: bool | None


@dataclass(frozen=True)
class Found:
    """An answer; `crop`: what was looked up, uint8 [s, s, 3]; `seconds`: from the question to this answer."""

    heading: str
    query: Query
    crop: RGB
    uri: str
    neighbours: tuple[Neighbour, ...]
    seconds: float
    remark: str


def look_up(searcher: Searcher, wanted: Wanted) -> Found:
    """Return the neighbours of what is wanted; raises UsageError, DataError, EncoderError."""
    began = time.perf_counter()
    answer = _answer(searcher, wanted)
    may_see = searcher.may_show or answer.query.sample is None
    return Found(
        heading=heading(answer),
        query=answer.query,
        crop=answer.crop,
        uri=picture_uri(answer.crop, side=CROP_SIDE) if may_see else "",
        neighbours=_neighbours(searcher, answer),
        seconds=time.perf_counter() - began,
        remark="; ".join(remarks(answer, wanted.k)),
    )


def groups_to_exclude(searcher: Searcher) -> dict[str, str]:
    """Return what can be kept out of the neighbours: groups as they are stored and as people call them.

    Empty where every cell is a group of its own.
    """
    groups = searcher.groups
    if len(groups) >= searcher.size or len(groups) < 2:
        return {}
    called = searcher.collection.card.group_called
    return {OWN_GROUP: OWN_GROUP} | {group: called(group) for group in groups}


def examples(searcher: Searcher, count: int, seed: int) -> list[tuple[str, str, str]]:
    """Return cells to begin with, all labels in turn: sample, label, picture ("": it may not be shown)."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[str]] = {label: [] for label in searcher.labels}
    for sample, label in searcher.index.cells.select("sample", "label").rows():
        by_label[label].append(sample)
    rounds = -(-count // len(by_label))
    drawn = {label: list(rng.permutation(sorted(names))[:rounds]) for label, names in by_label.items()}
    chosen = [
        (str(drawn[label][turn]), label)
        for turn in range(rounds)
        for label in drawn
        if turn < len(drawn[label])
    ]
    chosen = chosen[:count]
    pictures = searcher.crops([sample for sample, _ in chosen]) if searcher.may_show else []
    uris = [picture_uri(crop, side=CROP_SIDE // 2) for crop in pictures] or [""] * len(chosen)
    return [(sample, label, uri) for (sample, label), uri in zip(chosen, uris, strict=True)]


def field_of(searcher: Searcher, sample: str) -> tuple[RGB, Box | None]:
    """Return the whole image that a cell of the collection lies in, uint8 [h, w, 3], and its box there.

    Raises UsageError for an unknown cell, or where the licence keeps the pictures.
    """
    from cytobench.pictures.licence import refuse_hidden

    refuse_hidden([searcher.collection.card])
    if sample not in searcher.collection.row_of:
        raise UsageError(f"There is no cell '{sample}' in {searcher.collection.name}.")
    row = searcher.collection.row_of[sample]
    return decode(searcher.collection.items.images[row]), searcher.collection.items.box(row)


def _answer(searcher: Searcher, wanted: Wanted) -> Answer:
    if wanted.sample is not None:
        query = searcher.sample(wanted.sample)
        group = query.group if wanted.group == OWN_GROUP else wanted.group
        return searcher.search_crops([query], wanted.k, exclude_groups=[group])[0]
    if wanted.pixels is None:
        raise UsageError("Choose a cell, or drop an image.")
    if wanted.group == OWN_GROUP:
        raise UsageError(
            "The group of an image of your own is not known: name the group to leave out, or leave out none."
        )
    return searcher.search(
        wanted.pixels,
        wanted.box,
        wanted.k,
        exclude_group=wanted.group,
        mpp=wanted.mpp,
        name=wanted.name,
    )


def _neighbours(searcher: Searcher, answer: Answer) -> tuple[Neighbour, ...]:
    hits: Sequence[Hit] = answer.hits
    crops = searcher.crops([hit.sample for hit in hits]) if searcher.may_show else []
    uris = [picture_uri(crop, side=CROP_SIDE) for crop in crops] or [""] * len(hits)
    label = answer.query.label
    return tuple(
        Neighbour(
            hit, uri, group_of(searcher, hit), where(hit), None if label is None else hit.label == label
        )
        for hit, uri in zip(hits, uris, strict=True)
    )


def of_sample(wanted: Wanted, sample: str) -> Wanted:
    """Return the same question about a cell of the collection."""
    return replace(wanted, sample=sample, pixels=None, box=None, name=sample)
