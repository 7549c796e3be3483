"""The reference of what ships: backbones, tasks, data sets, leaderboards, probes and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from writing import anchor, cell, link, table

from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from cytobench.cli import catalogue as listing
from cytobench.datasets import DATASETS, DatasetInfo
from cytobench.evaluation.metrics import METRICS
from cytobench.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboards" / "cytology" / "cytology.json"


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the shipped cards, whatever plugins are installed here."""
    return Registry.load(entry_points=False)


def backbones() -> str:
    """Return the shipped backbones: a table, then a section each."""
    cards = registry().backbones.values()
    rows = [
        (
            _to(one.name),
            str(one.dim or ""),
            one.domain,
            _weights(one),
            cell(one.licence.partition(" (")[0]),
            cell(one.title),
        )
        for one in cards
    ]
    listed = table(("name", "dim", "pretrained on", "weights", "licence", "what it is"), rows)
    return listed + "\n" + "".join(map(_backbone, cards))


def _backbone(card: BackboneCard) -> str:
    facts = {
        "licence": cell(card.licence) + (f" ({link(card.licence_url)})" if card.licence_url else ""),
        "citation": cell(card.citation),
        "read more": link(card.url),
        "built by": f"`{card.loader}`" + (f", `{card.arch}`" if card.arch else ""),
        "weights": f"`{card.weights}`" + (", gated" if card.gated else ""),
        "SHA-256": f"`{card.sha256}`" if card.sha256 else "",
        "features": f"{card.dim}, pooling `{card.pooling}`, {card.precision}" if card.dim else "none",
        "input": _input(card),
        "saw in pretraining": ", ".join(f"`{one}`" for one in card.pretrained_on),
        "standardised by default": "yes" if card.standardise else "",
        "to know": cell(card.notes),
    }
    return f"## {card.name}\n\n{cell(card.title)}\n\n" + _sheet(facts)


def _input(card: BackboneCard) -> str:
    if card.preprocess is None:
        return ""
    p = card.preprocess
    cut = f"{p.size} px, {p.resize_mode}, centre crop {p.crop_pct:g}, {p.interpolation}"
    return f"{cut}, mean {_triple(p.mean)}, std {_triple(p.std)}"


def _triple(values: tuple[float, float, float]) -> str:
    return "/".join(f"{one:g}" for one in values)


def _weights(card: BackboneCard) -> str:
    words = {"none": "needs none", "random": "random, fixed seed"}
    said = words.get(card.weights) or card.weights.partition(":")[0]
    return said + (", gated" if card.gated else "")


def tasks() -> str:
    """Return the shipped tasks: a table, then a section each."""
    cards = registry().tasks.values()
    sizes = _sizes()
    rows = [
        (
            _to(one.name),
            one.unit,
            cell(_group(one)),
            "yes" if one.ranked else "shown",
            cell(one.title),
        )
        for one in cards
    ]
    listed = table(("name", "unit", "group", "ranked", "question"), rows)
    return listed + "\n" + "".join(_task(one, sizes) for one in cards)


def _group(card: TaskCard) -> str:
    return card.group if card.group != "none" else "none known"


def _task(card: TaskCard, sizes: Mapping[str, tuple[int, int]]) -> str:
    known = card.dataset_name in DATASETS
    n, groups = sizes.get(card.name, (0, 0))
    split = f"`{card.split.kind}`"
    if card.split.kind == "grouped-kfold":
        split += f", {card.split.folds} folds, seed {card.split.seed}"
    facts = {
        "data set": f"[`{card.dataset_name}`](data-sets.md#{anchor(card.dataset_name)})"
        if known
        else f"`{card.dataset_name}`",
        "label": f"`{card.label}`" + (f": {', '.join(map(cell, card.classes))}" if card.classes else ""),
        "group": f"`{card.group}`"
        if card.group != "none"
        else "none known: tables say “cells, not patients”",
        "bag": f"`{card.bag}`" if card.bag else "",
        "split": split,
        "view": _view(card),
        "metric": f"`{card.metric}`",
        "probes": ", ".join(f"`{one}`" for one in card.probes),
        "scored": f"{n:,} {card.unit}s" + (f" of {groups} groups" if card.group != "none" else "")
        if n
        else "",
        "for pretraining": _sealed(card),
        "in the ranking": "yes" if card.ranked else "shown, never ranked",
        "pictures may be shown": "" if card.show_images else "no: its licence forbids it",
        "known confounds": cell(card.known_confounds),
        "licence": cell(card.licence),
        "citation": cell(card.citation),
        "read more": link(card.url),
        "to know": cell(card.notes),
    }
    return f"## {card.name}\n\n{cell(card.title)}\n\n" + _sheet(facts)


def _view(card: TaskCard) -> str:
    view = card.view
    size = f" of {view.size:g} {view.unit}" if view.size else ""
    return f"{view.kind}{size}, padded by {view.pad}"


def _sealed(card: TaskCard) -> str:
    sealing = card.sealing
    if sealing is None:
        return "nothing"
    if hasattr(sealing, "share"):
        whole = "groups" if card.group != "none" else "cells"
        return f"{100 * sealing.share:g} % of the {whole}, seed {sealing.seed}; never evaluated"
    return f"`{sealing.column}` = {', '.join(sealing.values)}; never evaluated"


@lru_cache(maxsize=1)
def _sizes() -> dict[str, tuple[int, int]]:
    rows = json.loads(BOARD.read_text(encoding="utf-8"))
    return {one["task"]: (one["n"], one["groups"]) for one in rows if one["n"]}


def datasets() -> str:
    """Return the data sets that have a reader: a table, then a section each."""
    rows = [
        (
            _to(one.name),
            cell(one.organ),
            f"{one.items:,}" if one.items else "",
            "download" if one.files else one.access,
            cell(one.licence),
            cell(one.title),
        )
        for one in DATASETS.values()
    ]
    listed = table(("name", "organ", "items", "get", "licence", "what it is"), rows)
    return listed + "\n" + "".join(map(_dataset, DATASETS.values()))


def _dataset(info: DatasetInfo) -> str:
    tasks = [name for name, card in registry().tasks.items() if card.dataset == info.name]
    facts = {
        "folder": " or ".join(f"`{one}`" for one in info.folders),
        "organ": cell(info.organ),
        "preparation": cell(info.preparation),
        "items": f"{info.items:,}" if info.items else "",
        "counts": ", ".join(f"{cell(label)} {n:,}" for label, n in info.counts.items()),
        "group": cell(info.group),
        "official split": cell(info.official_split),
        "known confounds": cell(info.known_confounds),
        "same smears as": ", ".join(f"`{one}`" for one in info.same_smears_as),
        "tasks": ", ".join(f"[{one}](tasks.md#{anchor(one)})" for one in tasks),
        "get it": f"`cytobench data download {info.name}`" if info.files else info.access,
        "licence": cell(info.licence),
        "pictures may be shown": "" if info.show_images else "no: its licence forbids it",
        "citation": cell(info.citation),
        "read more": link(info.url),
        "to know": cell(info.notes),
    }
    said = f"## {info.name}\n\n{cell(info.title)}\n\n" + _sheet(facts)
    if info.layout:
        said += "The folder holds:\n\n```text\n" + "\n".join(info.layout) + "\n```\n\n"
    return said


def leaderboards() -> str:
    """Return the shipped leaderboards: a section each with its columns."""
    return "".join(map(_leaderboard, registry().leaderboards.values()))


def _leaderboard(card: LeaderboardCard) -> str:
    rows = [
        (
            f"[{one.task}](tasks.md#{anchor(one.task)})",
            f"`{one.probe}`",
            "tuned" if one.tuned else "untuned",
            "yes" if one.ranked else "shown",
        )
        for one in card.columns
    ]
    facts = {
        "backbones": ", ".join(f"[{one}](backbones.md#{anchor(one)})" for one in card.backbones)
        or "all that have a card",
        "folds": str(card.folds or "as each task's card says"),
        "seed": str(card.seed),
        "trials": str(card.trials),
        "to know": cell(card.notes),
    }
    head = f"## {card.name}\n\n{cell(card.title)}\n\n" + _sheet(facts)
    return head + table(("task", "probe", "parameters", "ranked"), rows) + "\n"


def probes_table() -> str:
    """Return a table of the probes, as `cytobench list probes` has them."""
    rows = [
        (f"`{name}`", unit, cell(title), cell(how)) for name, (title, how, unit) in listing._PROBES.items()
    ]
    return table(("probe", "tasks", "what", "how"), rows)


def metrics_list() -> str:
    """Return the names of the metrics of predictions."""
    return ", ".join(f"`{one}`" for one in METRICS)


def counts() -> str:
    """Return in a sentence how much ships."""
    known = registry()
    return (
        f"{len(known.backbones)} backbones, {len(known.tasks)} tasks over {len(DATASETS)} data sets and "
        f"{len(known.leaderboards)} leaderboards ship as cards"
    )


def _to(name: str) -> str:
    return f"[`{name}`](#{anchor(name)})"


def _sheet(facts: Mapping[str, str]) -> str:
    return table(("", ""), ((f"**{key}**", value) for key, value in facts.items() if value)) + "\n"
