"""Answers in words: what is said of a query and its neighbours, wherever they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cytobench.errors import counted
from cytobench.features.items import place_of
from cytobench.pictures.licence import credits_of
from cytobench.retrieval.searcher import Answer, Hit, Query, Searcher


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


def group_of(searcher: Searcher, cell: Hit | Query) -> str:
    """Return a cell's group as captions name it, "" for a stranger and for cells that are their own group."""
    if cell.group is None or cell.group == cell.sample:
        return ""
    return searcher.collection.card.group_called(cell.group)


def remarks(answer: Answer, k: int) -> list[str]:
    """Return what must be known of an answer for k neighbours: who is left out, how many are lacking."""
    said = []
    if answer.itself:
        twins = [name for name in answer.itself if name != answer.query.name]
        called = f" as {', '.join(twins[:3])}{' …' if len(twins) > 3 else ''}" if twins else ""
        said.append(f"the query itself is left out{called}")
    if len(answer.hits) < k:
        said.append(f"only {counted(len(answer.hits), 'cell')} can be neighbours")
    return said


def notes_of(searcher: Searcher, answers: Sequence[Answer], *, shown: int) -> list[str]:
    """Return what a reader must know: what was searched how, what was left out, whose images these are."""
    about, card = searcher.index.about, searcher.collection.card
    scaled = ", scaled by their deviations" if about.standardise else ""
    likeness = (
        f"Similarity: cosine of the features, centred on the collection's mean{scaled}. What is near to a "
        "backbone need not be the same cell type: look at the pictures, and never read a diagnosis off them."
    )
    held = f"{searcher.size:,} cells of {card.name} ({card.title}) under {about.backbone}"
    said = [f"{held}; index: {about.kind}.", likeness]
    if any(answer.query.label is not None for answer in answers):
        said.append("Frames: blue, the query; green, its label; orange, another one.")
    if len(answers) > shown:
        said.append(f"{len(answers) - shown} more queries are not shown.")
    return [*said, *credits_of(card)]
