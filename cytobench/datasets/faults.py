"""What is wrong with a user's own labels and groups, seen from the card: all of it, told at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.cards import TaskCard
from cytobench.datasets.listing import RefusedError
from cytobench.datasets.survey import lookalikes
from cytobench.errors import counted


def refuse_faults(card: TaskCard, table: pl.DataFrame, root: Path) -> None:
    """Raise RefusedError with all faults of `table`, read from `root`.

    A fault that stands alone and is the card's, a column or a class that is nowhere, is left to those who
    look for it: that is a CardError. A class with one example stops folds, not those who only look at cells.
    """
    kinds = (_of_labels, _of_groups, _of_split, _of_scale)
    if any(kind(card, table) for kind in kinds) or len(_of_card(card, table)) > 1:
        raise RefusedError(root, faults(card, table), table)


def faults(card: TaskCard, table: pl.DataFrame) -> list[str]:
    """Return a sentence for each kind of fault of labels, classes and groups that `card` asks for."""
    kinds = (_of_card, _of_labels, _single, _of_groups, _of_split, _of_scale)
    return [sentence for kind in kinds for sentence in kind(card, table)]


def left_out_classes(card: TaskCard, table: pl.DataFrame) -> list[str]:
    """Return what a user's own card leaves out without saying exclude."""
    if isinstance(card.dataset, str) or card.classes is None or card.label not in table.columns:
        return []
    labels = _labels(card, table)
    others = [name for name in sorted(labels.unique()) if name not in {*card.classes, *card.exclude}]
    if not others:
        return []
    count = int(labels.is_in(others).sum())
    return [
        (
            f"left out: {counted(count, 'row')} of {manifest.name_some(others)}, which the card's classes do "
            "not name"
        )
    ]


def _of_card(card: TaskCard, table: pl.DataFrame) -> list[str]:
    wanted = {"label": card.label, "group": card.group if card.group != "none" else "", "bag": card.bag or ""}
    found = [
        f'the card\'s {key} = "{name}" names no column{_near(name, table.columns)}'
        for key, name in wanted.items()
        if name and name not in table.columns
    ]
    if card.label not in table.columns:
        return found
    present = sorted(_labels(card, table).unique())
    absent = [name for name in (*card.exclude, *(card.classes or ())) if name not in present]
    if absent:
        hints = [f"{name}{_near(name, present)}" for name in absent]
        found.append(
            f"no row is labelled {' or '.join(hints)}, which the card names (labels: "
            f"{manifest.name_some(present)})"
        )
    return found


def _of_labels(card: TaskCard, table: pl.DataFrame) -> list[str]:
    if card.label not in table.columns:
        return []
    found = []
    bare = table.filter(pl.col(card.label).cast(pl.String).fill_null("") == "")
    if len(bare):
        found.append(
            f"{counted(len(bare), 'row has', 'rows have')} no label: {manifest.name_some(bare['sample'])}"
        )
    labels = _labels(card, table)
    kept = [name for name in sorted(labels.unique()) if _judged(card, name)]
    found += [
        f"the classes {' and '.join(map(repr, names))} differ only in case or spaces: write them alike"
        for names in lookalikes(kept)
        if card.classes is None
    ]
    return found


def _single(card: TaskCard, table: pl.DataFrame) -> list[str]:
    if card.label not in table.columns:
        return []
    single = sorted(name for name, count in _counts(card, table).iter_rows() if count == 1)
    single = [name for name in single if _judged(card, name)]
    if not single:
        return []
    what = (
        f"only one {card.unit} is labelled {' or '.join(map(repr, single))}, which cannot be both trained on"
    )
    return [f"{what} and tested: add {card.unit}s, or exclude the class in the card"]


def _of_groups(card: TaskCard, table: pl.DataFrame) -> list[str]:
    if card.group == "none" or card.group not in table.columns:
        return []
    lost = table.filter(pl.col(card.group).is_null())["sample"]
    if not len(lost):
        return []
    return [
        (
            f"{counted(len(lost), 'row has', 'rows have')} no {card.group} to group by: "
            f"{manifest.name_some(lost)}"
        )
    ]


def _of_split(card: TaskCard, table: pl.DataFrame) -> list[str]:
    if card.split.kind != "official" or "split" not in table.columns:
        return []
    named = {"group": card.group, "bag": card.bag}
    known = {ours: pl.col(name) for ours, name in named.items() if name in table.columns}
    return manifest.split_problems(table.with_columns(**known))


def _of_scale(card: TaskCard, table: pl.DataFrame) -> list[str]:
    if card.view.unit != "um":
        return []
    known = "mpp" in table.columns
    lost = table.filter(pl.col("mpp").is_null())["sample"] if known else table["sample"]
    if not len(lost):
        return []
    rows = counted(len(lost), "row has", "rows have")
    what = f'the view is in "um", but {rows} no micrometres per pixel (mpp)'
    return [f'{what}: {manifest.name_some(lost)}; add them, or give the view in "px"']


def _judged(card: TaskCard, name: str) -> bool:
    return name not in card.exclude and (card.classes is None or name in card.classes)


def _labels(card: TaskCard, table: pl.DataFrame) -> pl.Series:
    return table[card.label].cast(pl.String).drop_nulls()


def _counts(card: TaskCard, table: pl.DataFrame) -> pl.DataFrame:
    key = card.bag if card.bag in table.columns else "sample"
    labelled = table.select(pl.col(card.label).cast(pl.String).alias("l"), pl.col(key).alias("k"))
    return labelled.drop_nulls().group_by("l").agg(pl.col("k").n_unique())


def _near(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
