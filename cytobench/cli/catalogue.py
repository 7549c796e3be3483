"""`cytobench list` and `cytobench show`: what there is, without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places
from cytobench.errors import CardError

if TYPE_CHECKING:
    from rich.table import Table

    from cytobench.registry import Registry

_PROBES = {
    "knn": (
        "k nearest neighbours",
        "cosine on centred features (UNI's recipe), k = 20; tuned: k and weighting",
        "cell",
    ),
    "linear": (
        "multinomial logistic regression",
        "squared L2, C = M*K/100; tuned: 45 values of C, raw or standardised",
        "cell",
    ),
    "mean-linear": ("mean-pooled bag, then linear", "the null of multiple instance learning", "bag"),
}


class Kind(StrEnum):
    """What can be listed."""

    backbones = "backbones"
    tasks = "tasks"
    datasets = "datasets"
    probes = "probes"
    leaderboards = "leaderboards"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """List what CytoBench knows: backbones, tasks, datasets, probes or leaderboards.

    [dim]Examples:[/dim]  cytobench list backbones   ·   cytobench list tasks --data DIR
    """
    where = places(home, data)
    makers: dict[Kind, Callable[[Registry], Table]] = {
        Kind.backbones: _backbones,
        Kind.tasks: lambda registry: _tasks(registry, where.data),
        Kind.datasets: lambda registry: _datasets(where.data),
        Kind.probes: lambda registry: _probes(),
        Kind.leaderboards: _leaderboards,
    }
    _print(makers[kind](load_registry(plugin)))


def show(
    name: Annotated[
        str, typer.Argument(help="A backbone, task, data set, probe or leaderboard; or a card file.")
    ],
    plugin: PluginOption = None,
) -> None:
    """Show everything known about one backbone, task, data set, probe or leaderboard.

    [dim]Examples:[/dim]  cytobench show uni  ·  cytobench show cell-type-pbc  ·  cytobench show my/card.toml
    """
    registry = load_registry(plugin)
    facts = _facts(registry, name)
    if facts is None:
        known = [*registry.backbones, *registry.tasks, *registry.leaderboards, *_dataset_names(), *_PROBES]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "see `cytobench list backbones|tasks|datasets`."
        )
        raise CardError(f"Nothing is named '{name}'; {hint}")
    _print(_fact_sheet(name, facts))


def _facts(registry: Registry, name: str) -> dict[str, object] | None:
    for cards in (registry.backbones, registry.tasks, registry.leaderboards):
        if name in cards:
            return _card_facts(cards[name])
    if ":" in name:
        return _card_facts(registry.backbone(name))
    if name.endswith(".toml"):
        return _card_facts(_card_of_any_kind(registry, name))
    if name in _PROBES:
        title, how, unit = _PROBES[name]
        return {"title": title, "how": how, "works on": f"{unit} tasks"}
    return _dataset_facts(name)


def _card_of_any_kind(registry: Registry, path: str) -> object:
    """Read a card whose kind is not known: the kind whose keys fit; else the first complaint."""
    complaints = []
    for read in (registry.task, registry.backbone, registry.leaderboard):
        try:
            return read(path)
        except CardError as error:
            complaints.append(error)
    raise min(complaints, key=lambda error: len(str(error)))


def _card_facts(card: object) -> dict[str, object]:
    from pydantic import BaseModel

    assert isinstance(card, BaseModel)  # for the type checker
    facts = card.model_dump(mode="json", exclude_defaults=False)
    source = getattr(card, "source", None)
    return {key: value for key, value in facts.items() if value not in ("", None, [], {})} | {
        "card": str(source) if source else "made from its name"
    }


def _dataset_names() -> list[str]:
    from cytobench.datasets import DATASETS

    return list(DATASETS)


def _dataset_facts(name: str) -> dict[str, object] | None:
    from dataclasses import asdict

    from cytobench.datasets import DATASETS

    return (
        {k: v for k, v in asdict(DATASETS[name]).items() if v not in ("", ())} if name in DATASETS else None
    )


def _backbones(registry: Registry) -> Table:
    table = _table("Backbones", "name", "title", "dim", "domain", "licence", "weights")
    for card in registry.backbones.values():
        gate = " (gated)" if card.gated else ""
        table.add_row(
            card.name,
            card.title,
            str(card.dim or "-"),
            card.domain,
            card.licence,
            _weights(card.weights) + gate,
        )
    table.caption = (
        "Also any model of timm (timm:NAME) or open_clip (open_clip:MODEL/PRETRAINED), "
        "and any iBOT checkpoint (ibot:PATH?arch=vit_base_patch16_224)."
    )
    return table


def _weights(uri: str) -> str:
    return {"none": "needs none", "random": "random, fixed seed"}.get(uri, uri.split(":", 1)[0])


def _tasks(registry: Registry, data: tuple[Path, ...]) -> Table:
    table = _table("Tasks", "name", "title", "unit", "group", "probes", "ranked", "data")
    for card in registry.tasks.values():
        table.add_row(
            card.name,
            card.title,
            card.unit,
            card.group if card.group != "none" else "none (cells, not patients)",
            ", ".join(card.probes),
            "yes" if card.ranked else "shown",
            _at_hand(card.dataset, card.source, data),
        )
    return table


def _at_hand(dataset: object, source: Path | None, data: tuple[Path, ...]) -> str:
    from cytobench.datasets import DATASETS, find_root

    if not isinstance(dataset, str):
        return "own"
    if dataset in DATASETS and DATASETS[dataset].generated:
        return "[green]embedded[/green]"
    return "[green]here[/green]" if find_root(dataset, data) else "[dim]not here[/dim]"


def _datasets(data: tuple[Path, ...]) -> Table:
    from cytobench.datasets import DATASETS

    table = _table("Data sets", "name", "title", "licence", "folder", "data")
    for name, info in DATASETS.items():
        table.add_row(name, info.title, info.licence, " or ".join(info.folders), _at_hand(name, None, data))
    return table


def _probes() -> Table:
    table = _table("Probes", "name", "what", "how", "tasks")
    for name, (title, how, unit) in _PROBES.items():
        table.add_row(name, title, how, unit)
    return table


def _leaderboards(registry: Registry) -> Table:
    table = _table("Leaderboards", "name", "title", "columns", "backbones")
    for card in registry.leaderboards.values():
        table.add_row(card.name, card.title, str(len(card.columns)), str(len(card.backbones) or "all"))
    return table


def _fact_sheet(name: str, facts: dict[str, object]) -> Table:
    table = _table(name, "key", "value")
    for key, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        table.add_row(key, shown)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)
