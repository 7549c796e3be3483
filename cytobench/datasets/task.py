"""A task card and a data folder become the table a benchmark evaluates."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cytobench import manifest
from cytobench.cards import TaskCard
from cytobench.datasets import (
    DATASETS,
    available_tasks,
    find_root,
    import_function,
    labels_path,
    listen,
    source_path,
)
from cytobench.datasets.bags import cut_bags, refuse_torn_bags
from cytobench.datasets.faults import faults, left_out_classes, refuse_faults
from cytobench.datasets.listing import RefusedError
from cytobench.datasets.plugin import plugin_data
from cytobench.datasets.sealing import split_sealed
from cytobench.datasets.tiles import expand_tiles
from cytobench.errors import CardError, CytoBenchError, DataError, MissingDataError, counted
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.datasets import Reader

__all__ = ["RawTables", "TaskData", "available_tasks", "load_task"]

RawTables = dict[Hashable, tuple[pl.DataFrame, list[str]] | CytoBenchError]
"""What readers returned, or why they could not, by reader, place and options."""

_FEW = 10
_FRONT = ("sample", "image", "box", "label", "group", "bag", "split", "mpp")


@dataclass(frozen=True)
class TaskData:
    """What a task evaluates.

    `table`: the manifest of the rows to evaluate, sorted by sample, with the card's label and group columns
    under the names `label` and `group`; `classes`: the labels in their order; `sealed`: the fields or cells
    set aside for pretraining; `warnings`: sentences a user should read before believing a score.
    """

    card: TaskCard
    table: pl.DataFrame
    classes: tuple[str, ...]
    sealed: pl.DataFrame
    warnings: tuple[str, ...]


def load_task(
    card: TaskCard, *, data_dirs: Sequence[Path], home: Path, reporter: Reporter | None = None
) -> TaskData:
    """Read the data of `card` below `data_dirs` (a generated set: below `home`) as its task sees them.

    In order: label and group columns, classes, sealed rows out, tiles, sub-bags, checks. Raises DataError
    when the data are absent or wrong, CardError when the card asks for what the data do not have.
    """
    shares = read_shares(card, data_dirs=data_dirs, home=home, reporter=reporter)
    kept, sealed, said = shares.kept, shares.sealed, list(shares.warnings)
    classes = _surviving(card, shares.classes, kept)
    if card.unit == "bag":
        refuse_torn_bags(kept, where=card.name)
    if card.view.unit == "um":
        _require_mpp(card, kept)
    table = kept
    if card.view.kind == "tile":
        table, dropped = expand_tiles(kept, card.view, reporter=reporter)
        if dropped:
            bare = counted(dropped, "tile")
            said.append(f"left out: {bare} with less than {card.view.min_tissue:.0%} tissue")
    if card.sub_bags is not None:
        table = cut_bags(table, card.sub_bags)
    table = _in_order(card, table)
    manifest.check(table, where=card.name)
    said += _caveats(card, table, classes)
    return TaskData(card, table, classes, _in_order(card, sealed), tuple(said))


@dataclass(frozen=True)
class Shares:
    """A task's fields or cells before anything is cut: `kept` for evaluation, `sealed` for pretraining."""

    kept: pl.DataFrame
    sealed: pl.DataFrame
    classes: tuple[str, ...]
    warnings: tuple[str, ...]


def read_shares(
    card: TaskCard,
    *,
    data_dirs: Sequence[Path],
    home: Path,
    reporter: Reporter | None = None,
    root: Path | None = None,
    memory: RawTables | None = None,
    salvage: bool = False,
) -> Shares:
    """Read the data of `card` and part them as its sealing says; raises what `load_task` raises.

    root: the known data set's folder, instead of the first one below `data_dirs`; memory: tables of earlier
    calls, used and added to, so that tasks of one data set read it once; salvage: read on with the rows that
    can be read where others are refused, for examinations, which say what is wrong with the rest.
    """
    source = _source(card, data_dirs, home, reporter or SilentReporter(), root)
    try:
        raw, heard = _read(card, source, {} if memory is None else memory)
    except RefusedError as refused:
        if refused.table is None or (isinstance(card.dataset, str) and not salvage):
            raise
        raw, heard = refused.table, []
        if not salvage:
            # One message for all: who mends the files should not meet the labels' faults only then.
            problems = [*refused.problems, *faults(card, refused.table)]
            raise RefusedError(refused.where, problems, refused.table) from None
    if not isinstance(card.dataset, str) and not salvage:
        refuse_faults(card, raw, source.root)
    said = [*heard, *left_out_classes(card, raw)]
    labelled, classes = _labelled(card, raw, said)
    kept, sealed = split_sealed(_grouped(card, labelled), card.sealing, where=card.name)
    return Shares(kept, sealed, classes, tuple(said))


@dataclass(frozen=True)
class _Source:
    """A reader, what it reads, and its options."""

    reader: Reader
    root: Path
    options: Mapping[str, object]


def _source(
    card: TaskCard, data_dirs: Sequence[Path], home: Path, reporter: Reporter, root: Path | None
) -> _Source:
    options = dict(card.options)
    if not isinstance(card.dataset, str):
        if card.dataset.format == "table":
            options |= {"columns": card.dataset.columns, "outside": card.dataset.outside}
        elif card.precomputed:
            options |= {"columns": card.dataset.columns, "labels": labels_path(card)}
        elif card.dataset.columns:
            raise CardError(f'{_name(card)}: columns belong to a dataset with format = "table": remove them.')
        reader = import_function(f"cytobench.datasets.{card.dataset.format}:read")
        return _Source(reader, source_path(card), options)
    if card.dataset in DATASETS:
        reader = import_function(DATASETS[card.dataset].reader)
    elif ":" in card.dataset:
        reader = import_function(card.dataset, card.source)
    else:
        near = difflib.get_close_matches(card.dataset, DATASETS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see `cytobench list datasets`."
        raise CardError(f"{_name(card)}: there is no data set named '{card.dataset}'; {hint}")
    return _Source(reader, root or _root(card, card.dataset, data_dirs, home, reporter), options)


def _read(card: TaskCard, source: _Source, memory: RawTables) -> tuple[pl.DataFrame, list[str]]:
    """Return the reader's manifest, and what it warned of; raises again what an earlier call raised."""
    _require_options(card, source.reader, source.options)
    key = (source.reader, source.root, repr(sorted(source.options.items())))
    if key not in memory:
        try:
            memory[key] = _call(source)
        except CytoBenchError as error:
            memory[key] = error
    found = memory[key]
    if isinstance(found, CytoBenchError):
        raise found
    if found[0].is_empty():
        raise DataError(
            f"{source.root} holds no image of the task '{card.name}': unpack the download there again."
        )
    return found


def _call(source: _Source) -> tuple[pl.DataFrame, list[str]]:
    return listen(lambda: manifest.conform(source.reader(source.root, **source.options)))


def _root(card: TaskCard, name: str, data_dirs: Sequence[Path], home: Path, reporter: Reporter) -> Path:
    """Find the data set's folder; a generated set is written below `home` when it is not there yet."""
    plugin = plugin_data(card) if ":" in name else None
    found = plugin.find(data_dirs) if plugin else find_root(name, data_dirs)
    if found is not None:
        return found
    if plugin and plugin.generate:
        return plugin.generated(home, reporter)
    info = plugin.info if plugin else DATASETS.get(name)
    folders = plugin.folders if plugin else info.folders if info else (name,)
    if info and info.generated:
        root = home / "datasets" / folders[0]
        import_function(f"{info.reader.partition(':')[0]}:generate")(root, reporter=reporter)
        return root
    looked = ", ".join(str(folder) for folder in data_dirs) or "no data folder was given"
    source = f"download it from {info.url}, and " if info and info.url else ""
    raise MissingDataError(
        f"The data of task '{card.name}' are not here: no folder named {' or '.join(folders)} "
        f"(looked in: {looked}); {source}name the folder above it with --data or CYTOBENCH_DATA."
    )


def _require_options(card: TaskCard, reader: Reader, options: Mapping[str, object]) -> None:
    known = [name for name in inspect.signature(reader).parameters if name != "root"]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise CardError(
            f"{_name(card)}: the reader has no option {' or '.join(unknown)}; "
            f"its options: {', '.join(known) or 'none'}."
        )


def _labelled(card: TaskCard, raw: pl.DataFrame, said: list[str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the rows of the card's classes under `label`, and these classes in order."""
    table = raw.with_columns(_column(card, raw, card.label, "label").cast(pl.String).alias("label"))
    unlabelled = table["label"].is_null()
    if unlabelled.any() and isinstance(card.dataset, str):
        # A reader knows which of its rows carry no such label; in a user's own table it is a mistake.
        if unlabelled.all():
            raise DataError(f"No row has a '{card.label}', which task '{card.name}' needs.{_note(card)}")
        said.append(f"{unlabelled.sum()} of {len(table)} rows without '{card.label}' left out")
        table = table.filter(~unlabelled)
    present = sorted(table["label"].drop_nulls().unique())
    absent = [name for name in (*card.exclude, *(card.classes or ())) if name not in present]
    if absent:
        raise CardError(
            f"{_name(card)}: no row is labelled {' or '.join(absent)}; correct classes or exclude "
            f"(labels: {manifest.name_some(present)})."
        )
    dropped = set(card.exclude) | (set(present) - set(card.classes) if card.classes else set())
    classes = tuple(name for name in (card.classes or present) if name not in dropped)
    astray = sorted(set(card.hierarchy or classes) ^ set(classes))
    if astray:
        raise CardError(
            f"{_name(card)}: hierarchy must name exactly the classes of the task; astray: "
            f"{manifest.name_some(astray)} (classes: {manifest.name_some(classes)})."
        )
    return table.filter(pl.col("label").is_null() | ~pl.col("label").is_in(sorted(dropped))), classes


def _grouped(card: TaskCard, table: pl.DataFrame) -> pl.DataFrame:
    """Return `table` with `bag` (bag tasks only) and `group`; ungrouped rows are their own groups."""
    if card.bag is not None:
        table = table.with_columns(_column(card, table, card.bag, "bag").cast(pl.String).alias("bag"))
    if card.group == "none":
        alone = "bag" if card.bag is not None else "sample"
        return table.with_columns(pl.col(alone).alias("group"))
    table = table.with_columns(_column(card, table, card.group, "group").cast(pl.String).alias("group"))
    lost = table.filter(pl.col("group").is_null())["sample"]
    if len(lost):
        raise DataError(
            f"{card.name}: {counted(len(lost), 'row has', 'rows have')} no {card.group} to group by: "
            f"{manifest.name_some(lost)}."
        )
    return table


def _surviving(card: TaskCard, classes: tuple[str, ...], kept: pl.DataFrame) -> tuple[str, ...]:
    lost = sorted(set(classes) - set(kept["label"]))
    if lost:
        raise DataError(
            f"{card.name}: all rows of {' and '.join(lost)} are sealed for pretraining: "
            "seal fewer, or exclude these classes."
        )
    return classes


def _require_mpp(card: TaskCard, table: pl.DataFrame) -> None:
    lost = table["sample"] if "mpp" not in table.columns else table.filter(pl.col("mpp").is_null())["sample"]
    if len(lost):
        rows = counted(len(lost), "row has", "rows have")
        raise DataError(
            f'{card.name}: its view is in "um", but {rows} no micrometres per pixel (mpp): '
            f'{manifest.name_some(lost)}; add them, or give the view in "px".'
        )


def _in_order(card: TaskCard, table: pl.DataFrame) -> pl.DataFrame:
    """Return known columns first, without a `bag` or `split` the task does not use."""
    unused = {"bag"} if card.unit == "cell" else set()
    if card.split.kind != "official":
        unused.add("split")
    front = [name for name in _FRONT if name in table.columns and name not in unused]
    rest = [name for name in table.columns if name not in _FRONT]
    return table.select(front + rest).sort("sample")


def _caveats(card: TaskCard, table: pl.DataFrame, classes: tuple[str, ...]) -> list[str]:
    key = "bag" if card.unit == "bag" else "sample"
    counts = table.group_by("label").agg(
        pl.col(key).n_unique().alias("n"), pl.col("group").n_unique().alias("g")
    )
    found = {label: (n, g) for label, n, g in counts.iter_rows()}
    wanted = card.split.folds if card.split.kind == "grouped-kfold" else 2
    said = []
    for name in classes:
        n, groups = found[name]
        if n < _FEW or groups < wanted:
            said.append(
                f"class '{name}' has only {counted(n, card.unit)} in {counted(groups, 'group')}: its recall "
                "is unsteady"
            )
    if card.group == "none":
        said.append(f"{card.unit}s, not patients, are split: scores are optimistic and intervals too narrow")
    return said


def _column(card: TaskCard, table: pl.DataFrame, wanted: str, key: str) -> pl.Expr:
    if wanted in table.columns:
        return pl.col(wanted)
    near = difflib.get_close_matches(wanted, table.columns, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise CardError(
        f'{_name(card)}: {key} = "{wanted}" names no column of the data{hint}; there are '
        f"{', '.join(table.columns)}.{_note(card)}"
    )


def _note(card: TaskCard) -> str:
    info = DATASETS.get(card.dataset) if isinstance(card.dataset, str) else None
    return f" {info.notes}" if info and info.notes else ""


def _name(card: TaskCard) -> str:
    return str(card.source) if card.source else f"Task '{card.name}'"
