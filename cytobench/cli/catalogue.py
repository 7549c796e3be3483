"""`cytobench list` and `cytobench show`: what there is, without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places
from cytobench.errors import CardError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from cytobench.cards import BackboneCard, LeaderboardCard, ProbeCard, TaskCard
    from cytobench.cli.options import Places
    from cytobench.registry import Registry

    _Card = BackboneCard | TaskCard | ProbeCard | LeaderboardCard

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
    "prototype": ("nearest class mean", "SimpleShot: centred, unit length; nothing to tune", "cell"),
    "retrieval": (
        "look-alikes among the training cells (mAP@10)",
        "cosine on centred features, k = 10; precision, vote, hubness too; nothing to tune",
        "cell",
    ),
    "abmil": (
        "gated attention over the instances of a bag (Ilse et al. 2018)",
        "tuned: learning rate, weight decay, instance dropout (--trials)",
        "bag",
    ),
    "dsmil": (
        "attention by likeness to the most telling instance (Li et al. 2021)",
        "tuned: as abmil",
        "bag",
    ),
    "mean-linear": ("mean-pooled bag, then linear", "a null of multiple instance learning", "bag"),
    "max-linear": (
        "largest value of each feature, then linear",
        "a null of multiple instance learning",
        "bag",
    ),
}
_WIDTHS = {"name": 18, "data": 8, "unit": 4, "probes": 10, "from": 12, "dim": 4, "domain": 9, "weights": 6}


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
    from cytobench.interchange.foreign_cards import with_imported

    where = places(home, data)
    makers: dict[Kind, Callable[[Registry], Table]] = {
        Kind.backbones: _backbones,
        Kind.tasks: lambda registry: _tasks(registry, where.data),
        Kind.datasets: lambda registry: _datasets(registry, where),
        Kind.probes: _probes,
        Kind.leaderboards: _leaderboards,
    }
    registry = with_imported(load_registry(plugin, tell=False, home=home), where.home)
    _print(makers[kind](registry))
    _tell_broken(registry)


def show(
    name: Annotated[
        str, typer.Argument(help="A backbone, task, data set, probe or leaderboard; or a card file.")
    ],
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show everything known about one backbone, task, data set, probe or leaderboard.

    [dim]Examples:[/dim]  cytobench show uni  ·  cytobench show cell-type-pbc  ·  cytobench show my/card.toml
    """
    from cytobench.interchange.foreign_cards import explain, is_foreign, not_imported, with_imported

    where = places(home, None).home
    registry = with_imported(load_registry(plugin, tell=False, home=home), where)
    facts = _facts(registry, name)
    sent = registry.backbones.get(name)
    if facts is not None and sent is not None and is_foreign(sent):
        facts = {key: value for key, value in facts.items() if key != "loader"} | explain(sent, where)
    if facts is None and name in _dataset_names():
        _show_dataset(registry, name)
        return
    if facts is None:
        _tell_broken(registry)
        if elsewhere := not_imported(name, registry, where):
            raise CardError(elsewhere)
        cards = (registry.backbones, registry.tasks, registry.probes, registry.leaderboards)
        known = [*(one for shelf in cards for one in shelf), *_dataset_names(), *_PROBES]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "see `cytobench list backbones|tasks|datasets`."
        )
        raise CardError(f"Nothing is named '{name}'; {hint}")
    _print(_fact_sheet(name, facts))
    _tell_broken(registry)


def _tell_broken(registry: Registry) -> None:
    """Name the plugins that were left out, and why, in one line below what is listed."""
    if registry.broken:
        told = "; ".join(f"{one.origin}: {one.reason.rstrip('.')}" for one in registry.broken)
        typer.secho(f"Left out: {told}.", err=True, fg=typer.colors.YELLOW)


def _show_dataset(registry: Registry, name: str) -> None:
    from cytobench.cli.console import output
    from cytobench.cli.dataset_facts import print_dataset, tasks_by_dataset
    from cytobench.datasets import DATASETS

    tasks = tasks_by_dataset(registry.tasks).get(name, [])
    print_dataset(DATASETS[name], tasks, places(None, None), output())


def _facts(registry: Registry, name: str) -> dict[str, object] | None:
    for cards in (registry.backbones, registry.tasks, registry.probes, registry.leaderboards):
        if name in cards:
            return _card_facts(cards[name])
    if ":" in name and not name.endswith(".toml"):
        backbone = name.startswith(("timm:", "open_clip:", "ibot:"))
        return _card_facts(registry.backbone(name) if backbone else registry.probe(name))
    if name.endswith(".toml"):
        return _card_facts(_card_of_any_kind(registry, name))
    if name in _PROBES:
        title, how, unit = _PROBES[name]
        return {"title": title, "how": how, "works on": f"{unit} tasks"}
    return None


def _card_of_any_kind(registry: Registry, path: str) -> object:
    """Read a card whose kind is not known: the kind whose keys fit; else the first complaint."""
    complaints = []
    for read in (registry.task, registry.backbone, registry.probe, registry.leaderboard):
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
    origin = getattr(card, "origin", "")
    return {
        **{key: value for key, value in facts.items() if value not in ("", None, [], {})},
        **({"from": origin} if origin not in ("", "shipped") else {}),
        "card": str(source) if source else "made from its name",
    }


def _dataset_names() -> list[str]:
    from cytobench.datasets import DATASETS

    return list(DATASETS)


def _backbones(registry: Registry) -> Table:
    from cytobench.interchange.foreign_cards import is_foreign

    cards = registry.backbones.values()
    table = _table("Backbones", "name", *_from(cards), "dim", "domain", "weights", "title", "licence")
    for card in cards:
        gate = ", gated" if card.gated else ""
        dim = str(card.dim or "-")
        weights = "with the lab" if is_foreign(card) else _weights(card.weights) + gate
        _add(table, card.name, *_from(cards, card), dim, card.domain, weights, card.title, card.licence)
    table.caption = (
        "Also any model of timm (timm:NAME) or open_clip (open_clip:MODEL/PRETRAINED, or "
        "open_clip:hf-hub:OWNER/REPO), and any iBOT checkpoint (ibot:PATH?arch=vit_base_patch16_224)."
    )
    return table


def _weights(uri: str) -> str:
    """Say in a word or two where weights come from."""
    if uri in ("none", "random"):
        return {"none": "needs none", "random": "random, fixed seed"}[uri]
    scheme, colon, _ = uri.partition(":")
    return scheme if colon else "file"


def _tasks(registry: Registry, data: tuple[Path, ...]) -> Table:
    from cytobench.datasets import available_tasks

    available = available_tasks(registry.tasks, data)
    cards = registry.tasks.values()
    table = _table("Tasks", "name", *_from(cards), "data", "unit", "probes", "group", "ranked", "title")
    for card in cards:
        _add(
            table,
            card.name,
            *_from(cards, card),
            _where(card.dataset, here=card in available),
            card.unit,
            " ".join(card.probes),
            card.group if card.group != "none" else "-",
            "yes" if card.ranked else "shown",
            card.title,
        )
    table.caption = "Group: what stays whole in every split; - where no patient or slide is known."
    return table


def _where(dataset: object, *, here: bool) -> Text:
    """Say whether data are at hand; `dataset`: a name, or a card's own folder or table."""
    from rich.text import Text

    from cytobench.datasets import DATASETS

    if isinstance(dataset, str) and dataset in DATASETS and DATASETS[dataset].generated:
        return Text("embedded", style="green")
    return Text("here", style="green") if here else Text("not here", style="dim")


def _datasets(registry: Registry, where: Places) -> Table:
    from cytobench.cli.console import output
    from cytobench.cli.dataset_facts import datasets_table, tasks_by_dataset
    from cytobench.datasets import DATASETS

    tasks = tasks_by_dataset(registry.tasks)
    return datasets_table(list(DATASETS.values()), tasks, where, width=output().width)


def _probes(registry: Registry) -> Table:
    cards = registry.probes.values()
    table = _table("Probes", "name", *_from(cards), "what", "how", "tasks")
    for name, (title, how, unit) in _PROBES.items():
        _add(table, name, *(["shipped"] if _from(cards) else []), title, how, unit)
    for card in cards:
        _add(table, card.name, *_from(cards, card), card.title, card.function, card.unit)
    table.caption = "Also a function of your own: -p package.module:function (cytobench/probes/custom.py)."
    return table


def _from(cards: Collection[_Card], card: _Card | None = None) -> list[str]:
    """Return the column of where cards come from, or its cell for `card`; nothing if all are shipped."""
    if all(one.origin == "shipped" for one in cards):
        return []
    if card is None:
        return ["from"]
    origin = card.origin.removeprefix("plugin ")
    return [Path(origin).name if Path(origin).is_dir() else origin]  # `show` gives a folder's whole path


def _leaderboards(registry: Registry) -> Table:
    cards = registry.leaderboards.values()
    table = _table("Leaderboards", "name", *_from(cards), "title", "columns", "backbones")
    for card in cards:
        _add(
            table,
            card.name,
            *_from(cards, card),
            card.title,
            str(len(card.columns)),
            str(len(card.backbones) or "all"),
        )
    return table


def _fact_sheet(name: str, facts: dict[str, object]) -> Table:
    table = _table(name, "key", "value", wrap=True)
    for key, value in facts.items():
        _add(table, key, _readable(value))
    return table


def _readable(value: object) -> str:
    """Return a card's value as a person would write it, text without its line breaks."""
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_readable(v)}" for k, v in value.items() if v not in (None, ""))
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(part, dict) for part in value) else ", ").join(map(_readable, value))
    return (
        {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else " ".join(str(value).split())
    )


def _table(title: str, *columns: str, wrap: bool = False) -> Table:
    """Return a table of one-line rows; in a narrow terminal long columns are cut short, not wrapped."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for column in columns:
        long = column in ("title", "licence", "how", "value", "folder")
        table.add_column(
            column,
            no_wrap=not (wrap and long),
            overflow="fold" if wrap else "ellipsis",
            ratio=1 if long and not wrap else None,
            min_width=None if long else _WIDTHS.get(column),
        )
    table.expand = not wrap
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """Add a row; square brackets in what cards and files say are text, not markup."""
    from rich.text import Text

    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def _print(table: Table) -> None:
    from cytobench.cli.console import output

    output().print(table)
