"""What is said beside pictures of attention: tables of figures and the notes a reader must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cytobench.cards import TaskCard
from cytobench.evaluation.results import RunResult
from cytobench.inspection.attended import Attended, figures, spread
from cytobench.inspection.bag_attention import TruthFigures, Weighed
from cytobench.pictures.licence import credits_of

NO_EXPLANATION = (
    "Attention says where a network takes information from, not why it decides as it does, and proves "
    "nothing about a cell."
)
SPREAD = (
    "Spread: the share of patches or instances that attention is spread over, exp(entropy) / n; "
    "100 % is even."
)
Words = dict[str, Any]


def table_of_images(found: Sequence[Attended]) -> Words:
    """Return the figures of each picture, or of each class where there are classes, as a table of words."""
    boxes = any(one.on_cell for one in found)
    head = ["", "cells" if found[0].subject.label else "patches", "spread, mean of heads", "spread, rollout"]
    head += ["box, of area", "mean of heads in the box", "rollout in the box"] if boxes else []
    rows = []
    if found[0].subject.label:
        for one in figures(found):
            rows.append([one.label, f"{one.n}", _percent(one.spread), _percent(one.spread_rollout)])
            rows[-1] += _on(one.on_cell, boxes)
    else:
        for each in found:
            maps = each.attention.mean, each.attention.rollout
            high, wide = each.attention.rollout.shape
            rows.append([each.subject.name, f"{high} x {wide}", *(_percent(spread(one)) for one in maps)])
            rows[-1] += _on(each.on_cell, boxes)
    caption = SPREAD
    if boxes:
        caption += (
            " In the box: the share of attention on the cell's box; blind attention has its share of area."
        )
    return {"head": head, "rows": rows, "caption": caption}


def notes_of_images(backbone: str, found: Sequence[Attended], card: TaskCard | None) -> list[str]:
    """Return what a reader of the pictures must know."""
    one = found[0].attention
    away = 100 * np.concatenate([each.attention.to_prefix for each in found])
    high, wide = one.rollout.shape
    said = [
        (
            f"Attention of the {one.asks} of {backbone} to {high} x {wide} patches of a picture of "
            f"{one.seen.shape[1]} x {one.seen.shape[0]} px: each head of the last layer (Caron et al. 2021) "
            "and rollout over all layers (Abnar & Zuidema 2020)."
        )
    ]
    if one.asks == "class token" or away.max() > 0:
        said.append(
            f"Of a head's attention {away.min():.0f} to {away.max():.0f} % is on tokens that are no patches."
        )
    said.append(NO_EXPLANATION)
    return said + (credits_of(card) if card else [])


def table_of_bags(bags: Sequence[Weighed]) -> Words:
    """Return the figures of bags as a table of words."""
    truth = any(np.isfinite(one.auroc) for one in bags)
    head = ["bag", "is", "called", "probability", "fold", "instances", "spread", "heaviest"]
    rows = []
    for one in bags:
        row = [one.bag, one.label, one.predicted, f"{one.confidence:.2f}", one.fold, f"{len(one.rows)}"]
        row += [_percent(one.spread), f"{one.relative[0]:.1f} x"]
        if truth:
            row.append(f"{one.auroc:.2f}" if np.isfinite(one.auroc) else "-")
        rows.append(row)
    return {"head": [*head, *(["AUROC, truth"] if truth else [])], "rows": rows, "caption": SPREAD}


def truth_lines(found: TruthFigures | None, *, known: bool) -> list[str]:
    """Return how well attention finds positive instances, as lines; `known`: whether there is any truth."""
    if found is None:
        return (
            ["No test bag holds both kinds of instances, so attention has nothing to tell apart."]
            if known
            else []
        )
    area = f", 95 % interval {found.low:.2f} to {found.high:.2f}" if found.low is not None else ""
    return [
        (
            f"Attention against the truth of instances, in the {found.bags} test bags ({found.groups} "
            f"groups) that hold both kinds, {found.positive:,} of {found.instances:,} instances positive:"
        ),
        (
            f"AUROC {found.auroc:.3f} a bag on average (chance 0.5{area}); {found.pooled_auroc:.3f} over all "
            "pairs within bags"
        ),
        (
            f"AUPRC {found.average_precision:.3f} a bag on average (chance {found.chance_precision:.3f}); "
            f"{found.pooled_precision:.3f} pooled by weight relative to an even share (chance "
            f"{found.pooled_chance:.3f})"
        ),
    ]


def notes_of_bags(run: RunResult, bags: Sequence[Weighed], card: TaskCard, said: Sequence[str]) -> list[str]:
    """Return what a reader of the bags must know, with the lines of truth `said` among it."""
    kind = f"{run.probe}, {'tuned' if run.tuned else 'untuned'}, on {run.backbone}"
    notes = [
        (
            f"Attention of {kind}: of outer test folds only, by models that had not seen the bag. Weights "
            "are in multiples of an even share, 1 / instances of the bag."
        ),
        *said,
    ]
    if any(one.telling is not None for one in bags):
        notes.append("Blue frame: an instance that is positive by its truth, which no model saw.")
    return [*notes, NO_EXPLANATION, *credits_of(card)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _on(on_cell: Any, boxes: bool) -> list[str]:
    if not boxes:
        return []
    if on_cell is None:
        return ["-"] * 3
    return [_percent(value) for value in (on_cell.area, on_cell.attention, on_cell.rollout)]
