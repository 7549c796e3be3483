"""Numbers that pages quote, from the leaderboard of the repository."""

from __future__ import annotations

import json
from typing import Any

from catalogue import BOARD
from writing import anchor, table

_NULLS = ("majority", "colour-statistics", "random-vit-tiny", "morphology")
_TASKS = ("cell-type-pbc", "rbc-type-chula", "malaria-cell", "bccd-cell-type", "herlev-7")


def null_table() -> str:
    """Return the scores of the null models on cell tasks, tuned logistic regression, in percent."""
    rows = json.loads(BOARD.read_text(encoding="utf-8"))
    found = {
        (one["task"], one["backbone"]): one
        for one in rows
        if one["probe"] == "linear" and one["tuned"] and one.get("value") is not None
    }
    lines = [
        (
            f"[{task}](../reference/tasks.md#{anchor(task)})",
            *(_score(found.get((task, name))) for name in _NULLS),
        )
        for task in _TASKS
    ]
    return table(("task", *_NULLS), lines)


def _score(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    bounds = f" [{100 * row['low']:.0f}, {100 * row['high']:.0f}]" if row.get("low") is not None else ""
    return f"{100 * row['value']:.1f}{bounds}"
