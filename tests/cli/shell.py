"""What a shell sees of a command, and the cards of the cells it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """A command that ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]

HOSTILE = "<img src=x onerror=alert(1)> [red]"
"""The name of a class that would be markup on a page and in a terminal."""

TOY_CARD = """
name = "{name}"
title = "Toy cells"
dataset = {{ format = "table", path = "../cells.csv" }}
label = "{label}"
group = "patient"
split = {{ folds = {folds} }}
view = {{ kind = "box" }}
{more}
"""
"""A task over the toy cells of `tests.evaluation.toy_benchmark`, in a plugin folder beside them."""

OWN_CARD = """
name = "my-cells"
title = "My cells"
dataset = { format = "folder", path = "../cells" }
group = "none"
accept_ungrouped = true
view = { kind = "window", size = 48, pad = "edge" }
split = { kind = "grouped-kfold", folds = 3 }
"""
"""The task of a user's own class folders, those of the fixture `own_cells`."""
