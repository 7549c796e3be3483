"""What a task sets aside for pretraining, and evaluation therefore never uses."""

from __future__ import annotations

import hashlib

import polars as pl

from cytobench.cards import SealedShare, SealedValues
from cytobench.errors import DataError
from cytobench.manifest import name_some


def split_sealed(
    table: pl.DataFrame, sealing: SealedShare | SealedValues | None, *, where: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (rows for evaluation, sealed rows) of a table with the column `group`.

    Raises DataError when the column or its values are absent, when a group lies on both sides, or when
    nothing is left to evaluate.
    """
    if sealing is None:
        return table, table.clear()
    mask = (
        _by_values(table, sealing, where) if isinstance(sealing, SealedValues) else _by_share(table, sealing)
    )
    kept, sealed = table.filter(~mask), table.filter(mask)
    torn = set(kept["group"]) & set(sealed["group"])
    if torn:
        raise DataError(
            f"{where}: sealing tears these groups apart: {name_some(sorted(torn))}; "
            "seal by a column that keeps groups whole."
        )
    if kept.is_empty():
        raise DataError(f"{where}: sealing leaves no row to evaluate: seal fewer groups.")
    return kept, sealed


def is_sealed(group: str, sealing: SealedShare) -> bool:
    """Tell whether a group is sealed: its own SHA-256, as a number in [0, 1), lies below the share.

    A group's fate depends on its name and the seed alone, so every task of a data set, and every subset of
    it, seals the same groups; the share is met on average, not exactly.
    """
    digest = hashlib.sha256(f"sealed/{sealing.seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < sealing.share * 2.0**64


def _by_share(table: pl.DataFrame, sealing: SealedShare) -> pl.Series:
    groups = [group for group in table["group"].unique() if is_sealed(group, sealing)]
    return table["group"].is_in(groups)


def _by_values(table: pl.DataFrame, sealing: SealedValues, where: str) -> pl.Series:
    if sealing.column not in table.columns:
        raise DataError(
            f"{where}: the sealed column '{sealing.column}' does not exist: "
            f"there are {', '.join(table.columns)}."
        )
    column = table[sealing.column].cast(pl.String)
    absent = sorted(set(sealing.values) - set(column.drop_nulls()))
    if absent:
        present = name_some(column.drop_nulls().unique().sort())
        raise DataError(f"{where}: no row has {sealing.column} = {' or '.join(absent)} (it holds {present}).")
    return column.is_in(list(sealing.values)).fill_null(value=False)
