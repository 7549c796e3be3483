"""A task card written from a user's own class folders or table, after a look at them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cytobench.card_files import parse_card
from cytobench.cards import TaskCard
from cytobench.datasets import folder as class_folders
from cytobench.datasets import is_inside, listen
from cytobench.datasets import table as tables
from cytobench.datasets.task import load_task
from cytobench.errors import DataError, UsageError, counted, name_some
from cytobench.scaffold.columns import find_columns
from cytobench.scaffold.sizes import cut_of
from cytobench.scaffold.writing import Draft, fill, new_name, path_in_card

_FOLDS = 5
_WORDS = "patient|pat|case|subject|donor|slide|smear|specimen|wsi"
_IN_FILE_NAMES = (
    rf"(?i)((?:{_WORDS})[-_ ]?[a-z]{{0,3}}\d+)[^/]*$",
    r"(?i)(?:^|[/_-])(p\d+)[_-][^/]*$",
)
_UNGROUPED = (
    "no patient or slide is known: cells of one patient may stand on both sides of a split, scores are then "
    "optimistic, and tables say so"
)


@dataclass
class _Found:
    """What a look at the data gave: keys of the card, and sentences."""

    table: pl.DataFrame
    dataset: dict[str, Any]
    label: str
    group: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


def draft_task(
    name: str,
    out: Path,
    *,
    folder: Path | None = None,
    table: Path | None = None,
    label: str = "",
    group: str = "",
    bag: str = "",
) -> Draft:
    """Return a card `<out>/tasks/<name>.toml` that fits the images of `folder`, or those a `table` names.

    The card has been read, and its data with it, when this returns. Raises UsageError, DataError or CardError
    where no card could fit.
    """
    card = out / "tasks" / f"{name}.toml"
    new_name(name, "task", card)
    if (folder is None) == (table is None):
        raise UsageError(
            "Say what the cells are: --folder DIR for class folders (<class>/<image>), or --table FILE for a "
            "CSV, TSV or Parquet table that names images and labels."
        )
    if folder is not None and (label or bag):
        raise UsageError("In class folders the folders are the labels; --label and --bag need --table.")
    found, remarks = listen(
        lambda: _of_folder(folder, card, group) if folder else _of_table(table, card, label, group, bag)
    )
    found.warned += dict.fromkeys(remarks)
    text = _text(name, found, bag)
    load_task(parse_card(TaskCard, tomllib.loads(text), source=card.resolve()), data_dirs=(), home=out)
    return Draft({card: text}, tuple(found.said), tuple(found.warned))


def _of_folder(folder: Path, card: Path, group: str) -> _Found:
    root = folder.expanduser().resolve()
    table = class_folders.read(root)
    dataset = {"format": "folder", "path": path_in_card(root, card)}
    found = _Found(table, dataset, "label", said=[f"label: the {table['label'].n_unique()} class folders"])
    if group:
        found.options = {"group_pattern": group}
        found.table = class_folders.read(root, group_pattern=group)
        found.group = "group"
    elif table["subfolder"].null_count() == 0 and table["subfolder"].n_unique() > 1:
        found.group = "subfolder"
        found.warned.append("group: the folders below the classes were guessed to be patients or slides")
    else:
        _group_in_file_names(found, root)
    return found


def _group_in_file_names(found: _Found, root: Path) -> None:
    samples = found.table["sample"].to_list()
    for pattern in _IN_FILE_NAMES:
        matches = [re.search(pattern, sample) for sample in samples]
        groups = {match[1].lower() for match in matches if match}
        if all(matches) and 2 <= len(groups) <= 0.8 * len(samples):
            found.options = {"group_pattern": pattern}
            found.table, found.group = class_folders.read(root, group_pattern=pattern), "group"
            found.warned.append(
                f"group: file names were guessed to name {len(groups)} patients or slides "
                f"({name_some(sorted(groups))})"
            )
            return


def _of_table(table: Path | None, card: Path, label: str, group: str, bag: str) -> _Found:
    assert table is not None  # a folder or a table is given
    path = table.expanduser().resolve()
    raw = tables.load(path)
    columns = find_columns(raw, path, label=label, group=group, bag=bag)
    mapping = {ours: theirs for ours, theirs in columns.box.items() if ours != theirs}
    if columns.image != "image":
        mapping = {"image": columns.image} | mapping
    if "sample" in raw.columns and raw["sample"].n_unique() < len(raw):
        mapping["sample"] = columns.image
    outside = _images_outside(raw[columns.image], path)
    dataset: dict[str, Any] = {"format": "table", "path": path_in_card(path, card)}
    dataset |= {"columns": mapping} if mapping else {}
    dataset |= {"outside": True} if outside else {}
    rows = tables.read(path, columns=mapping, outside=outside)
    _require_images(rows, path)
    found = _Found(rows, dataset, columns.label, columns.group)
    found.said, found.warned = list(columns.said), list(columns.warned)
    if "split" in raw.columns:
        found.warned.append("the table has a column 'split': write split = { kind = 'official' } to use it")
    return found


def _images_outside(written: pl.Series, path: Path) -> bool:
    named = [text.replace("\\", "/") for text in written.drop_nulls().to_list()]
    return any(not is_inside(path.parent / text, path.parent) for text in named)


def _require_images(table: pl.DataFrame, path: Path) -> None:
    lost = [
        image for image in table["image"].unique(maintain_order=True) if image and not Path(image).is_file()
    ]
    if lost:
        raise DataError(
            f"{counted(len(lost), 'image')} that {path} names cannot be found: {name_some(lost)}; paths are "
            "relative to the table."
        )


def _text(name: str, found: _Found, bag: str) -> str:
    """Return the card; classes too small to be split are left out, and said."""
    group, unit = found.group or "none", "bag" if bag else "cell"
    key = found.group or (bag or "sample")
    rows = found.table.filter(pl.col(found.label).is_not_null())
    counts: dict[str, int] = dict(
        rows.group_by(found.label).agg(pl.col(key).n_unique()).sort(found.label).iter_rows()
    )
    what = f"'{found.group}' groups" if found.group else f"{unit}s"
    small = [label for label, n in counts.items() if n < 2]
    large = {label: n for label, n in counts.items() if n >= 2}
    if len(large) < 2:
        few = ", ".join(f"{label} ({n})" for label, n in counts.items())
        raise DataError(
            f"A task needs two classes with two {what} each to be split; there are {few}. Name another "
            "column with --label or --group, or bring more cells."
        )
    if small:
        found.warned.append(f"left out, with fewer than two {what}: {name_some(small)} (exclude in the card)")
    folds = min(_FOLDS, *large.values())
    if folds < _FOLDS:
        found.warned.append(f"{folds} folds only: the smallest class is in {folds} {what}")
    cut = cut_of(found.table)
    found.said += [cut.said, f"classes: {', '.join(f'{label} ({n} {what})' for label, n in large.items())}"]
    if group == "none":
        found.warned.append(_UNGROUPED)
    return fill(
        "task.toml.jinja",
        name=name,
        unit=unit,
        dataset=found.dataset,
        options=found.options,
        label=found.label,
        exclude=small,
        group=group,
        bag=bag,
        folds=folds,
        view=cut.view,
        said=[*found.said, *found.warned],
    )
