"""Answers as people look at them: a contact sheet, a self-contained page, and records for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cytobench.features.items import place_of
from cytobench.pictures.page import picture_uri, render
from cytobench.pictures.sheet import QUERY, RIGHT, WRONG, Strip, Tile, contact_sheet
from cytobench.retrieval.searcher import Answer, Hit, Query, Searcher

_SIDE, _COLUMNS, _PAGE_SIDE = 132, 7, 176
MOST_SHOWN = 40
"""Queries on one sheet or page; more would be looked at by nobody."""
_TEMPLATES = Path(__file__).parent / "templates"
_LIKENESS = (
    "Similarity: cosine of the features, centred on the collection's mean. What is near to a backbone need "
    "not be the same cell type: look at the pictures, and never read a diagnosis off them."
)


def vote(answer: Answer) -> str:
    """Return which label most neighbours have, as a phrase."""
    labels = Counter(hit.label for hit in answer.hits)
    if not labels:
        return "no neighbour is left"
    label, count = labels.most_common(1)[0]
    return f"{count} of {len(answer.hits)} neighbours are {label}"


def heading(answer: Answer) -> str:
    """Return a query's name, its label if it has one, and what its neighbours are."""
    known = f", {answer.query.label}" if answer.query.label is not None else ""
    return f"{answer.query.name}{known}: {vote(answer)}"


def where(hit: Hit) -> str:
    """Return a cell's file and, if it lies in a field, its place there."""
    return hit.file + place_of(hit.box)


def notes_of(searcher: Searcher, answers: Sequence[Answer]) -> list[str]:
    """Return what a reader must know: what was searched how, what was left out, whose images these are."""
    about, card = searcher.index.about, searcher.collection.card
    said = [
        f"{searcher.size:,} cells of {card.name} ({card.title}) under {about.backbone}; index: {about.kind}.",
        _LIKENESS,
    ]
    if any(answer.query.label is not None for answer in answers):
        said.append("Frames: blue, the query; green, its label; orange, another one.")
    if len(answers) > MOST_SHOWN:
        said.append(f"{len(answers) - MOST_SHOWN} more queries are not shown.")
    source = "; ".join(part for part in (card.citation, card.licence) if part)
    return [*said, *([f"Images: {source}."] if source else [])]


def sheet(searcher: Searcher, answers: Sequence[Answer], title: str) -> Image.Image:
    """Return queries, each followed by its neighbours, as a contact sheet."""
    strips = []
    for answer in answers[:MOST_SHOWN]:
        crops = searcher.crops([hit.sample for hit in answer.hits])
        lines = ("query", answer.query.label or "", _group(searcher, answer.query))
        tiles = [Tile(answer.crop, tuple(line for line in lines if line), QUERY)]
        for hit, crop in zip(answer.hits, crops, strict=True):
            below = (f"{hit.similarity:.3f}  {hit.label}", _group(searcher, hit), where(hit))
            tiles.append(Tile(crop, tuple(line for line in below if line), _frame(answer, hit)))
        strips.append(Strip(heading(answer), tiles))
    return contact_sheet(strips, title=title, notes=notes_of(searcher, answers), columns=_COLUMNS, side=_SIDE)


def page(searcher: Searcher, answers: Sequence[Answer], title: str) -> str:
    """Return a self-contained page with the queries, their neighbours, and a table of each."""
    shown = []
    for answer in answers[:MOST_SHOWN]:
        crops = searcher.crops([hit.sample for hit in answer.hits])
        shown.append(
            {
                "heading": heading(answer),
                "query": picture_uri(answer.crop, side=_PAGE_SIDE),
                "label": answer.query.label,
                "group": _group(searcher, answer.query),
                "hits": [
                    {"uri": picture_uri(crop, side=_PAGE_SIDE), "where": where(hit), "hit": hit}
                    | {"kind": _kind(answer, hit), "group": _group(searcher, hit)}
                    for hit, crop in zip(answer.hits, crops, strict=True)
                ],
            }
        )
    context = {"title": title, "answers": shown, "notes": notes_of(searcher, answers)}
    return render("similar.html", context, folder=_TEMPLATES)


def as_records(searcher: Searcher, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return everything as JSON primitives."""
    about = searcher.index.about
    return {
        "collection": about.collection,
        "backbone": about.backbone,
        "space": about.space,
        "cells": searcher.size,
        "index": {"kind": "inverted file" if about.lists else "exact", "recall_at_10": about.recall},
        "queries": [
            {
                "query": answer.query.name,
                "sample": answer.query.sample,
                "label": answer.query.label,
                "group": answer.query.group,
                "left_out_as_itself": list(answer.itself),
                "neighbours": [_record(rank, hit) for rank, hit in enumerate(answer.hits, start=1)],
            }
            for answer in answers
        ],
    }


def _record(rank: int, hit: Hit) -> dict[str, Any]:
    return {
        "rank": rank,
        "similarity": round(hit.similarity, 6),
        "sample": hit.sample,
        "label": hit.label,
        "group": hit.group,
        "file": hit.file,
        "box": list(hit.box) if hit.box else None,
    }


def _group(searcher: Searcher, cell: Hit | Query) -> str:
    """Return a cell's group as captions name it, "" for a stranger and for cells that are their own group."""
    if cell.group is None or cell.group == cell.sample:
        return ""
    return searcher.collection.card.group_called(cell.group)


def _kind(answer: Answer, hit: Hit) -> str:
    if answer.query.label is None:
        return ""
    return "same" if hit.label == answer.query.label else "other"


def _frame(answer: Answer, hit: Hit) -> str:
    return {"": "", "same": RIGHT, "other": WRONG}[_kind(answer, hit)]
