"""What a backbone attends to in pictures, and figures of it: how even, and how much of it is on the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.encoders import Encoder
from cytobench.encoders.attention import Attention, attention_of
from cytobench.inspection.subjects import Mask, Subject
from cytobench.progress import Reporter

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class OnCell:
    """Shares on the cell's box: of the picture's area, of the heads' mean attention and of the rollout.

    Attention that does not know the cell lies on it by its share of the area.
    """

    area: float
    attention: float
    rollout: float


@dataclass(frozen=True)
class Attended:
    """A picture and what a backbone attends to in it; `on_cell` where a box says where the cell is."""

    subject: Subject
    attention: Attention
    on_cell: OnCell | None


def attend(encoder: Encoder, subjects: Sequence[Subject], reporter: Reporter) -> list[Attended]:
    """Return what `encoder` attends to in each picture; raises UsageError where it has no attention."""
    found = []
    with reporter.task(f"attending ({encoder.name})", len(subjects)) as step:
        for subject in subjects:
            seen = attention_of(encoder, subject.crop)
            on_cell = (
                None if subject.cell is None else _on_cell(seen, cell_share(encoder, seen, subject.cell))
            )
            found.append(Attended(subject, seen, on_cell))
            step.advance(1)
    return found


def cell_share(encoder: Encoder, attention: Attention, cell: Mask) -> npt.NDArray[np.float32]:
    """Return how much of every patch the cell's box covers, float32 [h, w], through the encoder's own cut."""
    shown = encoder.prepare(np.repeat(cell[..., None].astype(np.uint8) * 255, 3, axis=2))[..., 0] / 255.0
    rows, columns = attention.rollout.shape
    edges = [
        np.linspace(0, size, n + 1).round().astype(int)
        for size, n in zip(shown.shape, (rows, columns), strict=True)
    ]
    sums = np.add.reduceat(np.add.reduceat(shown, edges[0][:-1], axis=0), edges[1][:-1], axis=1)
    share: npt.NDArray[np.float32] = (sums / np.outer(np.diff(edges[0]), np.diff(edges[1]))).astype(
        np.float32
    )
    return share


def spread(values: Floats) -> float:
    """Return the share of patches that attention is spread over: exp(entropy) / patches; 1 is even."""
    shares = np.asarray(values, dtype=np.float64).ravel() / values.sum()
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()) / shares.size)


@dataclass(frozen=True)
class Figures:
    """Means over `n` pictures of a label: spread of the mean head and of rollout, and what is on cells."""

    label: str
    n: int
    spread: float
    spread_rollout: float
    on_cell: OnCell | None


def figures(found: Sequence[Attended]) -> list[Figures]:
    """Return the figures of each label in the order of appearance."""
    labels = dict.fromkeys(one.subject.label for one in found)
    return [_figures(label, [one for one in found if one.subject.label == label]) for label in labels]


def as_records(found: Sequence[Attended], *, maps: bool) -> list[dict[str, Any]]:
    """Return each picture's figures, and with `maps` its attention, as JSON primitives."""
    records = []
    for one in found:
        record: dict[str, Any] = {
            "name": one.subject.name,
            "label": one.subject.label or None,
            "patches": list(one.attention.rollout.shape),
            "spread": spread(one.attention.mean),
            "spread_rollout": spread(one.attention.rollout),
            "on_cell": vars(one.on_cell) if one.on_cell else None,
        }
        if maps:
            record |= {
                "asks": one.attention.asks,
                "heads": one.attention.heads.tolist(),
                "to_prefix": one.attention.to_prefix.tolist(),
                "rollout": one.attention.rollout.tolist(),
                "rollout_to_prefix": one.attention.rollout_to_prefix,
            }
        records.append(record)
    return records


def _on_cell(attention: Attention, share: npt.NDArray[np.float32]) -> OnCell:
    def inside(values: Floats) -> float:
        return float((values * share).sum() / values.sum())

    return OnCell(float(share.mean()), inside(attention.mean), inside(attention.rollout))


def _figures(label: str, found: Sequence[Attended]) -> Figures:
    on = [one.on_cell for one in found if one.on_cell is not None]
    mean = OnCell(*np.mean([[one.area, one.attention, one.rollout] for one in on], axis=0)) if on else None
    even = float(np.mean([spread(one.attention.mean) for one in found]))
    even_rollout = float(np.mean([spread(one.attention.rollout) for one in found]))
    return Figures(label, len(found), even, even_rollout, mean)
