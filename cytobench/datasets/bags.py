"""Bags of instances: coherent, and cut into smaller ones where a task card says so."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from cytobench.cards import SubBags
from cytobench.errors import DataError, counted
from cytobench.manifest import name_some


def cut_bags(table: pl.DataFrame, sub_bags: SubBags) -> pl.DataFrame:
    """Cut each bag at random into bags of about `sub_bags.size` instances, named `<bag>/00` and so on.

    The cut depends on the samples' names and the seed alone: not on the order of rows, not on other bags. A
    bag of n instances becomes round(n / size) bags (at least one) whose sizes differ by at most one; groups
    are unchanged.
    """
    keys = [_key(sub_bags.seed, sample) for sample in table["sample"].to_list()]
    shuffled = table.with_columns(pl.Series("_key", keys)).sort("bag", "_key")
    parts = [_numbered(bag, sub_bags.size) for bag in shuffled.partition_by("bag", maintain_order=True)]
    return pl.concat(parts).drop("_key").sort("sample")


def refuse_torn_bags(table: pl.DataFrame, *, where: str) -> None:
    """Raise DataError when a bag has more than one label or group, or an instance has no bag."""
    problems = []
    nameless = table.filter(pl.col("bag").is_null())["sample"]
    if len(nameless):
        problems.append(f"{counted(len(nameless), 'row has', 'rows have')} no bag: {name_some(nameless)}")
    for column in ("label", "group"):
        counts = table.drop_nulls("bag").group_by("bag").agg(pl.col(column).n_unique().alias("n"))
        torn = counts.filter(pl.col("n") > 1)["bag"].sort()
        if len(torn):
            problems.append(
                f"{counted(len(torn), 'bag has', 'bags have')} more than one {column}: {name_some(torn)}"
            )
    if problems:
        raise DataError(f"{where}: " + "; ".join(problems) + ".")


def _key(seed: int, sample: str) -> str:
    return hashlib.sha256(f"sub-bag/{seed}/{sample}".encode()).hexdigest()


def _numbered(bag: pl.DataFrame, size: int) -> pl.DataFrame:
    n_parts = max(1, round(len(bag) / size))
    digits = max(2, len(str(n_parts - 1)))
    name = bag["bag"][0]
    numbers = np.repeat(
        np.arange(n_parts), [len(part) for part in np.array_split(np.arange(len(bag)), n_parts)]
    )
    names = [f"{name}/{number:0{digits}d}" for number in numbers]
    return bag.with_columns(pl.Series("bag", names, dtype=pl.String))
