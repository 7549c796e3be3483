"""Few-shot, stress and dilution tables that runs have left, of the rows that the leaderboard shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from cytobench.evaluation.ledger import folder_name

KINDS = ("shots", "stress", "dilution")


@dataclass(frozen=True)
class Curves:
    """The tables of one task by kind, and sentences on those that are not shown."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def curves_of(home: Path, task: str, subsets: Iterable[str], backbones: Iterable[str]) -> Curves:
    """Return what `cytobench run --shots … --stress` stored of a task for some backbones.

    Only rows computed on the task's shown rows (`subsets`: their digests) are taken: scores of other rows
    must not stand beside them.
    """
    shown, names = list(subsets), list(backbones)
    tables, remarks = {}, []
    for kind in KINDS:
        path = home / "extras" / folder_name(task) / f"{kind}.parquet"
        if not path.is_file():
            continue
        try:
            table = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            remarks.append(f"The {kind} table that is stored cannot be read; run again.")
            continue
        mine = table.clear()
        if {"subset", "backbone", "value"} <= set(table.columns):
            mine = table.filter(pl.col("subset").is_in(shown) & pl.col("backbone").is_in(names))
        if mine.is_empty():
            remarks.append(f"The {kind} table that is stored was made on other rows; run again to show it.")
        else:
            tables[kind] = mine
    return Curves(tables, tuple(remarks))
