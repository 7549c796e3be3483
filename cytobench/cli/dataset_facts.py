"""What is known about data sets, as one table, as a sheet of facts, or as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from cytobench.cards import TaskCard
    from cytobench.cli.options import Places
    from cytobench.datasets.info import DatasetInfo

_COUNTING_SECONDS = 0.3
_FEW_FILES = 5
_NOT_COMPARED = (
    "This layout was taken from papers and other code and has not yet been compared with a real download."
)


def tasks_by_dataset(tasks: Mapping[str, TaskCard]) -> dict[str, list[str]]:
    """Return the names of the tasks that use each known data set."""
    found: dict[str, list[str]] = {}
    for card in tasks.values():
        found.setdefault(card.dataset_name, []).append(card.name)
    return found


def place_of(info: DatasetInfo, places: Places) -> Path | None:
    """Return the folder of a data set: below the data folders, or below home where CytoBench wrote it."""
    from cytobench.datasets import find_root

    found = find_root(info.name, places.data)
    if found is None and info.generated:
        made = places.home / "datasets" / info.folders[0]
        return made if made.is_dir() else None
    return found


def datasets_table(
    infos: Sequence[DatasetInfo], tasks: Mapping[str, list[str]], places: Places, *, width: int
) -> Table:
    """Return the table of `cytobench data list`, a row a data set; below 120 columns with fewer facts."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text("Data sets"), box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    shown = [column for column in _COLUMNS if width >= _WIDE or column not in _ONLY_WIDE]
    for column in shown:
        table.add_column(
            column,
            no_wrap=True,
            overflow="ellipsis",
            ratio=_RATIOS.get(column),
            min_width=None if column in _RATIOS else _COLUMNS[column],
            justify="right" if column in ("items", "classes") else "left",
        )
    table.expand = True
    for info in infos:
        facts = _row(info, tasks.get(info.name, []), here=place_of(info, places) is not None)
        table.add_row(*(facts[column] for column in shown))
    table.caption = (
        "Items: as published. Group: what must stay whole in every split. Get: `cytobench data show NAME` "
        "says where from and what to put where."
    )
    return table


_COLUMNS = {
    "name": 14,
    "organ": 6,
    "preparation": 0,
    "items": 6,
    "classes": 7,
    "group": 0,
    "licence": 0,
    "get": 8,
    "data": 8,
    "tasks": 0,
}
"""The columns and what they need at least."""
_RATIOS = {"preparation": 3, "group": 3, "licence": 2, "tasks": 3}
_ONLY_WIDE = frozenset({"preparation", "group", "tasks"})
_WIDE = 120


def _row(info: DatasetInfo, tasks: Sequence[str], *, here: bool) -> dict[str, Text]:
    from rich.text import Text

    where, style = ("here", "green") if here else ("not here", "dim")
    if info.generated and not here:
        where, style = "embedded", "green"
    return {
        "name": Text(info.name),
        "organ": Text(info.organ),
        "preparation": Text(info.preparation),
        "items": Text(f"{info.items:,}" if info.items else "-"),
        "classes": Text(str(len(info.counts)) if info.counts else "-"),
        "group": Text(info.group),
        "licence": Text(info.licence),
        "get": Text(_how(info)),
        "data": Text(where, style=style),
        "tasks": Text(_few(tasks)),
    }


def _how(info: DatasetInfo) -> str:
    return "download" if info.files else info.access


def _few(names: Sequence[str]) -> str:
    return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else "".join(names) or "-"


def as_json(info: DatasetInfo, tasks: Sequence[str], places: Places) -> dict[str, object]:
    """Return all facts of a data set as JSON primitives, with where it is and which tasks use it."""
    place = place_of(info, places)
    facts = asdict(info) | {"counts": dict(info.counts), "items": info.items}
    return facts | {"tasks": list(tasks), "place": str(place) if place else None}


def print_dataset(info: DatasetInfo, tasks: Sequence[str], places: Places, console: Console) -> None:
    """Print the sheet of `cytobench data show`: facts, classes, layout, and where to get what."""
    for part in _sheet(info, tasks, places):
        console.print(part)


def print_how_to_get(info: DatasetInfo, to: Path | None, console: Console) -> None:
    """Print where a data set is to be had, under which licence, and what to put where."""
    for part in (_facts_table(info.name, _how_to_get(info)), _layout(info, to)):
        console.print(part)


def _sheet(info: DatasetInfo, tasks: Sequence[str], places: Places) -> list[RenderableType]:
    place = place_of(info, places)
    facts = {
        "title": info.title,
        "organ": info.organ,
        "preparation": info.preparation,
        **_how_to_get(info),
        "items": f"{info.items:,} published" if info.items else "",
        "group": info.group,
        "official split": info.official_split or "none",
        "known confounds": info.known_confounds,
        "same images": ", ".join(info.same_smears_as),
        "pictures": "may be shown" if info.show_images else "may not be shown in galleries, pages or reports",
        "notes": info.notes,
        "tasks": ", ".join(tasks) or "none",
        "reader": info.reader,
        "data": _found(place) if place else ("written at first use" if info.generated else "not here"),
    }
    parts: list[RenderableType] = [_facts_table(info.name, facts)]
    if info.counts:
        counts = {name: f"{n:,}" for name, n in info.counts.items()}
        parts.append(_facts_table(f"Classes ({len(counts)})", counts, right=True))
    parts.append(_layout(info, place.parent if place else None))
    if info.files:
        parts.append(_files(info))
    return parts


def _how_to_get(info: DatasetInfo) -> dict[str, str]:
    commands = {
        "open": "open to everyone, by hand",
        "registration": "after registration with its host",
        "by hand": "by hand",
        "generated": "CytoBench makes it",
    }
    how = f"cytobench data download {info.name}" if info.files else commands[info.access]
    return {"licence": info.licence, "citation": info.citation, "from": info.url, "get it": how}


def _facts_table(title: str, facts: Mapping[str, str], *, right: bool = False) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=box.SIMPLE, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold", justify="right" if right else "left")
    for key, value in facts.items():
        if value:
            table.add_row(Text(key), Text(value))
    return table


def _layout(info: DatasetInfo, to: Path | None) -> RenderableType:
    from rich.text import Text

    where = f" below {to}" if to else " below the data folder (--data, CYTOBENCH_DATA)"
    lines = [f"Layout{where}:", *(f"  {line}" for line in info.layout)]
    if not info.layout_compared:
        lines.append(_NOT_COMPARED)
    if not info.generated:
        lines += [f"From an archive: cytobench data prepare {info.name} --from ARCHIVE", ""]
    return Text("\n".join(lines))


def _files(info: DatasetInfo) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cytobench.transfer.errand import human_size

    table = Table(title=Text("Files to download"), box=box.SIMPLE_HEAD, title_justify="left")
    few = len(info.files) <= _FEW_FILES
    for column in ("file", "size", "digest", *(["address"] if few else [])):
        table.add_column(column, overflow="fold")
    for file in info.files:
        published = f"SHA-256 {file.sha256[:12]}…" if file.sha256 else f"MD5 {file.md5[:12]}…"
        digest = published if file.sha256 or file.md5 else "noted at first download"
        size = human_size(file.size) if file.size is not None else "not known"
        when = " (with --file)" if file.optional else ""
        address = [Text(file.url)] if few else []
        table.add_row(Text(f"{file.file}{when}"), size, digest, *address)
    if not few:
        start = os.path.commonprefix([file.url for file in info.files])  # noqa: RUF071 - letters are meant
        table.caption = Text(f"from {start}…")
        table.caption_justify = "left"
    return table


def _found(place: Path) -> str:
    """Return where a data set lies and how many image files it holds, counted for a moment at most."""
    from cytobench.datasets.listing import IMAGE_SUFFIXES
    from cytobench.errors import counted

    images, until = 0, time.monotonic() + _COUNTING_SECONDS
    for _, _, files in os.walk(place):
        images += sum(
            os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")  # noqa: PTH122
            for name in files
        )
        if time.monotonic() > until:
            return f"{place}, more than {counted(images, 'image file')}"
    return f"{place}, {counted(images, 'image file')}"
