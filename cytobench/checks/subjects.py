"""From what a user names to what is examined: a card, a plugin folder, a package, an installed plugin."""

from __future__ import annotations

import difflib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard, LeaderboardCard, ProbeCard, TaskCard
from cytobench.errors import CardError, counted
from cytobench.findings import Finding
from cytobench.plugins import ENTRY_POINT_GROUP, installed_plugins
from cytobench.registry import Registry, results_elsewhere

Card = BackboneCard | TaskCard | ProbeCard | LeaderboardCard
Kind = Literal["backbone", "task", "probe", "leaderboard", "plugin"]
_MODELS: dict[str, tuple[Kind, Any]] = {
    "backbones": ("backbone", BackboneCard),
    "tasks": ("task", TaskCard),
    "probes": ("probe", ProbeCard),
    "leaderboards": ("leaderboard", LeaderboardCard),
}


@dataclass(frozen=True)
class Subject:
    """One thing to examine: a card, or with `findings` what is known of it already.

    `named`: whether the user named this very card, so that its weights may be fetched.
    """

    kind: Kind
    name: str
    card: Card | None = None
    findings: tuple[Finding, ...] = ()
    named: bool = True


@dataclass(frozen=True)
class Inquiry:
    """What to examine, and the cards it may refer to (a plugin's own among them)."""

    subjects: tuple[Subject, ...]
    registry: Registry


def inquiry(name: str, plugins: list[Path], *, home: Path | None = None, download: bool = True) -> Inquiry:
    """Return what `name` means: a folder, a card file, `timm:…` and the like, a plugin, or the name of cards.

    `home`, `download`: for `open_clip:hf-hub:…`, whose configuration is kept and may be fetched there. Raises
    CardError when it means nothing, WeightsError when such a configuration cannot be had.
    """
    registry, path = Registry.load(plugins, home=home, download=download), Path(name).expanduser()
    if name.startswith(("timm:", "open_clip:", "ibot:")):
        return Inquiry((Subject("backbone", name, registry.backbone(name)),), registry)
    found = tuple(_of_name(name, registry))  # before folders, which may have the name by chance
    if found:
        return Inquiry(found, registry)
    if path.suffix == ".toml":
        return Inquiry((_of_file(path),), _with_neighbours(path, plugins, registry))
    if path.is_dir():
        return _of_folder(path.resolve(), plugins)
    raise CardError(_unknown(name, registry))


def _of_name(name: str, registry: Registry) -> Iterator[Subject]:
    """Yield the cards of that name, else all cards of the installed plugin of that name."""
    cards = [(kind, card) for kind, card in _all_cards(registry) if card.name == name]
    yield from (Subject(kind, name, card) for kind, card in cards)
    if cards:
        return
    for plugin in installed_plugins():
        point = plugin.point
        package = point.dist.name if point.dist is not None else ""
        if name in (point.name, package, point.value):
            yield from _of_origin(name, plugin.origin, registry)


def _of_origin(name: str, origin: str, registry: Registry) -> Iterator[Subject]:
    broken = [one.reason for one in registry.broken if one.origin == origin]
    cards = [(kind, card) for kind, card in _all_cards(registry) if card.origin == origin]
    yield Subject("plugin", name, findings=(_plugin_finding(broken, len(cards)),))
    for kind, card in cards:
        yield Subject(kind, card.name, card, named=False)


def _all_cards(registry: Registry) -> Iterator[tuple[Kind, Card]]:
    yield from (("backbone", card) for card in registry.backbones.values())
    yield from (("task", card) for card in registry.tasks.values())
    yield from (("probe", card) for card in registry.probes.values())
    yield from (("leaderboard", card) for card in registry.leaderboards.values())


def _plugin_finding(broken: list[str], cards: int) -> Finding:
    if broken:
        return Finding("plugin", "fail", broken[0], "Mend it: until then none of its cards is known.")
    if not cards:
        return Finding(
            "plugin",
            "warn",
            "It holds no cards.",
            "Put cards into backbones/, tasks/, probes/ or leaderboards/.",
        )
    return Finding("plugin", "pass", f"{counted(cards, 'card')} can be read.")


def _of_file(path: Path) -> Subject:
    """Read a card whose kind its folder tells, else its keys."""
    kind, model = _MODELS.get(path.parent.name) or _kind_by_keys(path)
    card = read_card(model, path, origin="file")
    return Subject(kind, card.name, card)


def _kind_by_keys(path: Path) -> tuple[Kind, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raw = {}  # the reader of cards says what is wrong
    if "columns" in raw:
        return _MODELS["leaderboards"]
    if "function" in raw:
        return _MODELS["probes"]
    return _MODELS["tasks"] if "dataset" in raw else _MODELS["backbones"]


def _with_neighbours(path: Path, plugins: list[Path], registry: Registry) -> Registry:
    """A card of a plugin folder may refer to its neighbours."""
    if path.parent.name not in _MODELS or path.parent.parent.resolve() in [one.resolve() for one in plugins]:
        return registry
    try:
        return Registry.load([*plugins, path.parent.parent.resolve()])
    except CardError:
        return registry


def _of_folder(folder: Path, plugins: list[Path]) -> Inquiry:
    registry = Registry.load([one for one in plugins if one.resolve() != folder])
    holding = _folders_with_cards(folder)
    if not holding:
        card = folder / "card.toml"  # what `pretrain` leaves
        if card.is_file():
            return Inquiry((_of_file(card),), registry)
        raise CardError(
            f"{folder} holds none of {', '.join(f'{kind}/' for kind in _MODELS)}, and no card.toml; name a "
            "card, a plugin folder, or the project of a plugin."
        )
    subjects: list[Subject] = []
    for root in holding:
        if root != folder and str(root.parent) not in sys.path:
            sys.path.append(str(root.parent))  # a package that is not installed yet
        known, clash = _registry_with(root, plugins, registry)
        registry = known
        cards = list(_cards_below(root))
        subjects.append(Subject("plugin", str(root), findings=(_folder_finding(cards, clash),)))
        subjects += [card for card in cards if card.card is not None]
    return Inquiry(tuple(subjects), registry)


def _folder_finding(cards: list[Subject], clash: str) -> Finding:
    broken = tuple(one.findings[0].says for one in cards if one.findings)
    if broken:
        return Finding(
            "plugin",
            "fail",
            f"{len(broken)} of {len(cards)} cards cannot be read.",
            "Correct them: one unreadable card hides all of the plugin.",
            broken,
        )
    if clash:
        return Finding("plugin", "fail", clash, "Names must be new: begin them with the plugin's name.")
    return _plugin_finding([], len(cards))


def _registry_with(root: Path, plugins: list[Path], before: Registry) -> tuple[Registry, str]:
    """Return all cards with those of `root`, or those known before and why."""
    if any(card.source and card.source.is_relative_to(root) for _, card in _all_cards(before)):
        return before, ""  # installed, or shipped
    try:
        found = Registry.load([*(one for one in plugins if one.resolve() != root), root])
    except CardError as error:
        return before, str(error)
    mine = [one.reason for one in found.broken if one.origin == f"plugin {root}"]
    return found, mine[0] if mine else ""


def _cards_below(root: Path) -> Iterator[Subject]:
    for folder, (kind, model) in _MODELS.items():
        for path in sorted((root / folder).glob("*.toml")):
            try:
                card = read_card(model, path, origin=f"plugin {root}")
            except CardError as error:
                yield Subject(kind, path.stem, findings=(Finding("card", "fail", str(error)),))
                continue
            yield Subject(kind, card.name, card, named=False)


def _folders_with_cards(folder: Path) -> list[Path]:
    """Return the folder itself when it holds cards, else those that its pyproject.toml names as plugins."""
    if any((folder / kind).is_dir() for kind in _MODELS):
        return [folder]
    found = [
        place for package in _packages_of(folder / "pyproject.toml") for place in _places(folder, package)
    ]
    return [place for place in found if any((place / kind).is_dir() for kind in _MODELS)]


def _packages_of(project: Path) -> list[str]:
    try:
        raw = tomllib.loads(project.read_text(encoding="utf-8"))
        points = raw["project"]["entry-points"][ENTRY_POINT_GROUP]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(value).partition(":")[0] for value in points.values()]


def _places(folder: Path, package: str) -> list[Path]:
    below = Path(*package.split("."))
    return [place for place in (folder / below, folder / "src" / below) if place.is_dir()]


def _unknown(name: str, registry: Registry) -> str:
    if theirs := results_elsewhere(name, registry.backbones):
        return f"{theirs}; `cytobench bundle show FILE` examines such a bundle, `check` only what lies here."
    known = [card.name for _, card in _all_cards(registry)]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else "see `cytobench list backbones|tasks|probes`."
    )
    broken = "; ".join(f"{one.origin}: {one.reason.rstrip('.')}" for one in registry.broken)
    lost = f" (left out: {broken})" if broken else ""
    return f"Nothing to check is named '{name}', and there is no such file or folder{lost}; {hint}"
