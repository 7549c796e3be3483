"""Galleries with their pictures: as a contact sheet and as a self-contained page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from cytobench.evaluation.plan import TaskPlan
from cytobench.features.items import place_of
from cytobench.images import RGB
from cytobench.inspection.galleries import SECOND_LOOK, Gallery, caption, summary, who
from cytobench.inspection.mistakes import Judged, confusions, positions
from cytobench.pictures.licence import credits_of
from cytobench.pictures.page import picture_uri, render
from cytobench.pictures.sheet import RIGHT, WRONG, Strip, Tile, contact_sheet
from cytobench.progress import Reporter

_SIDE, _COLUMNS, _PAGE_SIDE = 132, 8, 176
_INSTANCES = 8
_PAIRS = 15
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """One example: its pictures uint8 [s, s, 3] and what stands below each and below all, and its frame."""

    pictures: tuple[RGB, ...]
    below: tuple[str, ...]
    lines: tuple[str, ...]
    right: bool


Shows = list[tuple[Gallery, list[Shown]]]


def files_of(task: TaskPlan, judged: Judged) -> list[str]:
    """Return each example's image file, relative to the folder of all, and its box; "" for bags."""
    if task.card.unit == "bag":
        return [""] * len(judged)
    folder = os.path.commonpath([str(Path(image).parent) for image in task.items.images])
    rows = task.examples.order[positions(judged.samples, task.examples.samples, task.card.name)]
    found = []
    for row in rows.tolist():
        file = Path(task.items.images[row]).relative_to(folder).as_posix()
        found.append(file + place_of(task.items.box(row)))
    return found


def _where(task: TaskPlan, judged: Judged, row: int, file: str) -> list[str]:
    """Return an example's group, if it has one, and its file, or the name of a bag."""
    group, sample = judged.groups[row], judged.samples[row]
    return [*([task.card.group_called(group)] if group != sample else []), *([file] if file else [sample])]


def pictured(
    judged: Judged,
    found: Sequence[Gallery],
    task: TaskPlan,
    attention: Mapping[int, pl.DataFrame | None],
    reporter: Reporter,
) -> Shows:
    """Return the galleries with pictures: a cell as its backbones see it, a bag by some of its instances.

    attention: by backbone, of models of bags: their instances of most weight are shown; else some spread
    over the bag.
    """
    files = files_of(task, judged)
    places = positions(judged.samples, task.examples.samples, task.card.name)
    made: Shows = []
    with reporter.task("cutting pictures", len(found)) as step:
        for one in found:
            chosen = [_rows_of(task, int(places[row]), attention.get(one.asked)) for row in one.rows]
            crops = iter(task.items.crops([row for rows, _ in chosen for row in rows]))
            shown = []
            for row, (rows, below) in zip(one.rows.tolist(), chosen, strict=True):
                lines = caption(judged, one, row, _where(task, judged, row, files[row]))
                pictures = tuple(next(crops) for _ in rows)
                shown.append(Shown(pictures, below, lines, bool(judged.right[one.asked, row])))
            made.append((one, shown))
            step.advance(1)
    return made


def _rows_of(
    task: TaskPlan, example: int, attention: pl.DataFrame | None
) -> tuple[list[int], tuple[str, ...]]:
    """Return the rows of the task's table to show of an example, and what stands below each."""
    if task.card.unit == "cell":
        return [int(task.examples.order[example])], ("",)
    rows = np.flatnonzero(task.examples.member == example)
    if attention is None:
        some = rows[np.linspace(0, len(rows) - 1, min(_INSTANCES, len(rows))).round().astype(int)]
        return some.tolist(), ("",) * len(some)
    samples = task.data.table["sample"][rows.tolist()].to_list()
    mine = attention.filter(pl.col("bag") == task.examples.samples[example])
    weight = dict(zip(mine["sample"].to_list(), mine["weight"].to_list(), strict=True))
    weights = np.array([weight[sample] for sample in samples]) * len(rows)
    top = np.argsort(-weights, kind="stable")[:_INSTANCES]
    return rows[top].tolist(), tuple(f"{weights[k]:.1f} x even share" for k in top)


def sheet(title: str, shows: Shows, notes: Sequence[str]) -> Image.Image:
    """Return the contact sheet of galleries."""
    strips: list[Strip] = []
    for gallery, shown in shows:
        single = all(len(one.pictures) == 1 for one in shown)
        if single:
            tiles = [Tile(one.pictures[0], one.lines, _frame(one)) for one in shown]
            strips.append(Strip(_heading(gallery, shown), tiles))
            continue
        strips.append(Strip(_heading(gallery, shown)))
        for one in shown:
            tiles = [Tile(p, (b,), _frame(one)) for p, b in zip(one.pictures, one.below, strict=True)]
            strips.append(Strip("   ".join(one.lines), tiles))
    return contact_sheet(strips, title=title, notes=notes, columns=_COLUMNS, side=_SIDE)


def page(title: str, judged: Judged, shows: Shows, notes: Sequence[str], unit: str) -> str:
    """Return a self-contained page with the counts, the confusions and the galleries."""
    table = confusions(judged)
    context: dict[str, Any] = {
        "title": title,
        "notes": list(notes),
        "summary": summary(judged, unit),
        "who": who(judged) if len(judged.backbones) > 1 else "",
        "backbones": list(judged.backbones),
        "pairs": [list(map(str, row)) for row in table.head(_PAIRS).rows()],
        "more_pairs": max(len(table) - _PAIRS, 0),
        "galleries": [
            {
                "heading": _heading(gallery, shown),
                "examples": [
                    {
                        "pictures": [
                            {"uri": picture_uri(picture, side=_PAGE_SIDE), "below": below}
                            for picture, below in zip(one.pictures, one.below, strict=True)
                        ],
                        "lines": one.lines,
                        "right": one.right,
                    }
                    for one in shown
                ],
            }
            for gallery, shown in shows
        ],
        "bags": unit == "bag",
    }
    return render("errors.html", context, folder=_TEMPLATES)


def notes_of(judged: Judged, probe: str, task: TaskPlan, *, weighed: bool) -> list[str]:
    """Return what a reader of the galleries must know."""
    said = [
        f"Predictions of test folds, probe {probe}; the number is the probability of the predicted class."
    ]
    if len(judged.backbones) > 1:
        said.append(
            f"{who(judged)}. Divergence: Jensen-Shannon, of all backbones' probabilities. Green frame: the "
            "backbone that is spoken of first is right; orange: it is wrong."
        )
    if task.card.unit == "bag":
        instances = "those of most attention" if weighed else "some, spread over the bag"
        said.append(f"Of each bag up to {_INSTANCES} instances are shown: {instances}.")
    return [*said, SECOND_LOOK, *credits_of(task.card)]


def _heading(gallery: Gallery, shown: Sequence[Shown]) -> str:
    more = f", {len(shown)} shown" if len(shown) < gallery.count else ""
    count = "" if gallery.alone else f" ({gallery.count:,})"
    return f"{gallery.heading}{count}{more}"


def _frame(one: Shown) -> str:
    return RIGHT if one.right else WRONG
