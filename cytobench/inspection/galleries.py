"""Which mistakes and disputes are worth a look, and how each is described in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from cytobench.inspection.mistakes import (
    Ints,
    Judged,
    all_wrong,
    confident_mistakes,
    most_disputed,
    only_first_right,
)

SECOND_LOOK = (
    "Labels may be wrong too: examples that every backbone gets wrong are worth a second look by a person, "
    "and no proof of anything."
)


@dataclass(frozen=True)
class Gallery:
    """Some examples and why they are shown.

    `rows`: int64, the first of `count`; `asked`: the backbone that is spoken of first; `alone`: whether it is
    the only one.
    """

    kind: str
    heading: str
    rows: Ints
    count: int
    asked: int
    alone: bool = False


def galleries(judged: Judged, *, most: int, unit: str, overall: bool = False) -> list[Gallery]:
    """Return what is shown, empty galleries left out, at most `most` examples in each.

    First each backbone's most confident mistakes, by true class or `overall`; then, with several backbones:
    what the first gets right and another wrong, the reverse, what is most disputed (Jensen-Shannon
    divergence), and what all get wrong.
    """
    found = [*_mistakes(judged, unit, overall), *_disputes(judged, unit)]
    return [
        Gallery(one.kind, one.heading, one.rows[:most], one.count, one.asked, one.alone)
        for one in found
        if one.count
    ]


def letters(judged: Judged) -> list[str]:
    """Return a short name a backbone: A, B, …; beyond Z their numbers."""
    return [
        ascii_uppercase[m] if m < len(ascii_uppercase) else str(m + 1) for m in range(len(judged.backbones))
    ]


def who(judged: Judged) -> str:
    """Return what the short names stand for."""
    return ", ".join(
        f"{letter} = {name}" for letter, name in zip(letters(judged), judged.backbones, strict=True)
    )


def summary(judged: Judged, unit: str) -> list[str]:
    """Return the counts of mistakes and disputes as lines."""
    n = len(judged)
    lines = []
    for m, name in enumerate(judged.backbones):
        wrong = int((~judged.right[m]).sum())
        lines.append(f"{name}: {wrong:,} of {n:,} {unit}s wrong ({100 * wrong / n:.1f} %)")
    return lines + [f"{one.heading}: {one.count:,}" for one in _disputes(judged, unit)]


def caption(judged: Judged, gallery: Gallery, row: int, place: Sequence[str]) -> tuple[str, ...]:
    """Return the lines below an example: its label, what it is called and how surely, and its place."""
    label = judged.classes[judged.labels[row]]
    if gallery.alone:
        called = [f"called {_called(judged, gallery.asked, row)}"]
    else:
        called = [f"{letter} {_called(judged, m, row)}" for m, letter in enumerate(letters(judged))]
    return (f"is {label}", *called, *place)


def as_records(judged: Judged, found: Sequence[Gallery], files: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return galleries as JSON primitives."""
    return [
        {
            "kind": one.kind,
            "heading": one.heading,
            "backbone": judged.backbones[one.asked] if one.alone else None,
            "count": one.count,
            "examples": [_record(judged, int(row), files) for row in one.rows],
        }
        for one in found
    ]


def _record(judged: Judged, row: int, files: Sequence[str] | None) -> dict[str, Any]:
    said = {
        name: {
            "predicted": judged.classes[judged.predicted[m, row]],
            "probability": float(judged.confidence[m, row]),
            "probability_of_label": float(judged.of_label[m, row]),
            "right": bool(judged.right[m, row]),
        }
        for m, name in enumerate(judged.backbones)
    }
    return {
        "sample": judged.samples[row],
        "group": judged.groups[row],
        "file": (files[row] or None) if files is not None else None,
        "label": judged.classes[judged.labels[row]],
        "predictions": said,
        "disagreement": float(judged.disagreement[row]) if len(judged.backbones) > 1 else None,
    }


def _mistakes(judged: Judged, unit: str, overall: bool) -> Iterator[Gallery]:
    for m, name in enumerate(judged.backbones):
        for label in [None] if overall else range(len(judged.classes)):
            rows = confident_mistakes(judged, m, label=label)
            of = f"all {unit}s" if label is None else judged.classes[label]
            total = len(judged) if label is None else int((judged.labels == label).sum())
            heading = f"{name}, {of}: {len(rows):,} of {total:,} wrong, the surest first"
            yield Gallery("mistakes", heading, rows, len(rows), m, alone=True)


def _disputes(judged: Judged, unit: str) -> Iterator[Gallery]:
    names = judged.backbones
    if len(names) < 2:
        return
    for other in range(1, len(names)):
        for a, b in ((0, other), (other, 0)):
            rows = only_first_right(judged, a, b)
            yield Gallery(
                "one right", f"{unit}s {names[a]} gets right and {names[b]} wrong", rows, len(rows), a
            )
    rows = most_disputed(judged)
    yield Gallery(
        "disputed", f"{unit}s on which predictions differ, the most divergent first", rows, len(rows), 0
    )
    rows = all_wrong(judged)
    yield Gallery(
        "all wrong", f"{unit}s that all get wrong, the least likely label first", rows, len(rows), 0
    )


def _called(judged: Judged, m: int, row: int) -> str:
    return f"{judged.classes[judged.predicted[m, row]]} {100 * judged.confidence[m, row]:.0f} %"
