"""Answers as people look at them: a contact sheet, a self-contained page, and records for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cytobench.images import RGB
from cytobench.pictures.page import picture_uri, render
from cytobench.pictures.sheet import QUERY, RIGHT, WRONG, Strip, Tile, contact_sheet
from cytobench.retrieval.searcher import Answer, Hit, Searcher
from cytobench.retrieval.words import group_of, heading, notes_of, where

_SIDE, _COLUMNS, _PAGE_SIDE = 132, 7, 176
MOST_SHOWN = 40
"""Queries on one sheet or page; more would be looked at by nobody."""
Crops = list[list[RGB]]
"""For each answer that is shown, the pictures of its neighbours, uint8 [s, s, 3]."""
_TEMPLATES = Path(__file__).parent / "templates"


def crops_of(searcher: Searcher, answers: Sequence[Answer]) -> Crops:
    """Return the pictures of the neighbours of those answers that are shown: every file is decoded once."""
    shown = answers[:MOST_SHOWN]
    found = iter(searcher.crops([hit.sample for answer in shown for hit in answer.hits]))
    return [[next(found) for _ in answer.hits] for answer in shown]


def sheet(searcher: Searcher, answers: Sequence[Answer], crops: Crops, title: str) -> Image.Image:
    """Return queries, each followed by its neighbours, as a contact sheet."""
    strips = []
    for answer, pictures in zip(answers, crops, strict=False):
        lines = ("query", answer.query.label or "", group_of(searcher, answer.query))
        tiles = [Tile(answer.crop, tuple(line for line in lines if line), QUERY)]
        for hit, crop in zip(answer.hits, pictures, strict=True):
            below = (f"{hit.similarity:.3f}  {hit.label}", group_of(searcher, hit), where(hit))
            tiles.append(Tile(crop, tuple(line for line in below if line), _frame(answer, hit)))
        strips.append(Strip(heading(answer), tiles))
    return contact_sheet(
        strips, title=title, notes=notes_of(searcher, answers, shown=MOST_SHOWN), columns=_COLUMNS, side=_SIDE
    )


def page(searcher: Searcher, answers: Sequence[Answer], crops: Crops, title: str) -> str:
    """Return a self-contained page with the queries, their neighbours, and a table of each."""
    shown = []
    for answer, pictures in zip(answers, crops, strict=False):
        shown.append(
            {
                "heading": heading(answer),
                "query": picture_uri(answer.crop, side=_PAGE_SIDE),
                "label": answer.query.label,
                "group": group_of(searcher, answer.query),
                "hits": [
                    {"uri": picture_uri(crop, side=_PAGE_SIDE), "where": where(hit), "hit": hit}
                    | {"kind": _kind(answer, hit), "group": group_of(searcher, hit)}
                    for hit, crop in zip(answer.hits, pictures, strict=True)
                ],
            }
        )
    context = {"title": title, "answers": shown, "notes": notes_of(searcher, answers, shown=MOST_SHOWN)}
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


def _kind(answer: Answer, hit: Hit) -> str:
    if answer.query.label is None:
        return ""
    return "same" if hit.label == answer.query.label else "other"


def _frame(answer: Answer, hit: Hit) -> str:
    return {"": "", "same": RIGHT, "other": WRONG}[_kind(answer, hit)]
