"""What a shell sees of a command, and the card of the toy cells it is given."""

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
