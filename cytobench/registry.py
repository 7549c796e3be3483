"""Where cards come from: the shipped folders, installed plugin packages, and folders named by the user."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Generic, TypeVar

from cytobench.cards import BackboneCard, CardT, LeaderboardCard, TaskCard, read_card
from cytobench.errors import CardError

ENTRY_POINT_GROUP = "cytobench.plugins"
_URI_SCHEMES = ("timm:", "open_clip:", "ibot:")
_Any = TypeVar("_Any", BackboneCard, TaskCard, LeaderboardCard)


class _NameClashError(CardError):
    """Two cards of one kind share a name: which of them is meant is for the user to say."""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin whose cards could not be read, and why; the other plugins are not affected."""

    origin: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """All cards known to one invocation, by kind and name."""

    backbones: Mapping[str, BackboneCard]
    tasks: Mapping[str, TaskCard]
    leaderboards: Mapping[str, LeaderboardCard]
    broken: tuple[BrokenPlugin, ...] = field(default=())

    @classmethod
    def load(cls, plugins: Iterable[Path] = (), *, entry_points: bool = True) -> Registry:
        """Read all cards: shipped ones, then installed plugins, then the folders in `plugins`.

        Raises CardError when a shipped card is unreadable, when a card of a folder in `plugins` has the name
        of another one (both files are named), and when such a folder is missing or holds no cards folder. Any
        other plugin with an unreadable card lands in `broken` with the reason, without any of its cards.
        """
        shelves = _Shelves()
        shelves.add_folder(shipped_root(), origin="shipped")
        broken = _add_installed(shelves) if entry_points else []
        for folder in plugins:
            _require_plugin_folder(folder)
            try:
                shelves.add_folder(folder, origin=f"plugin {folder}")
            except _NameClashError:
                raise
            except CardError as error:
                broken.append(BrokenPlugin(f"plugin {folder}", str(error)))
        return cls(
            backbones=MappingProxyType(shelves.backbones.sorted()),
            tasks=MappingProxyType(shelves.tasks.sorted()),
            leaderboards=MappingProxyType(shelves.leaderboards.sorted()),
            broken=tuple(broken),
        )

    def backbone(self, name: str) -> BackboneCard:
        """Return a backbone by name, card file, or `timm:…`, `open_clip:…`, `ibot:…`; raises CardError."""
        if name not in self.backbones and name.startswith(_URI_SCHEMES):
            from cytobench.encoders.uri import card_from_uri  # the only look-up that needs timm or open_clip

            return card_from_uri(name)
        return _look_up(name, self.backbones, BackboneCard, "backbone", self.broken)

    def task(self, name: str) -> TaskCard:
        """Return a task by name or card file; raises CardError."""
        return _look_up(name, self.tasks, TaskCard, "task", self.broken)

    def leaderboard(self, name: str) -> LeaderboardCard:
        """Return a leaderboard by name or card file; raises CardError."""
        return _look_up(name, self.leaderboards, LeaderboardCard, "leaderboard", self.broken)


def import_beside(name: str, card: Path | None) -> ModuleType:
    """Import the module `name` that the card file refers to; one in the card's plugin folder is found too.

    Such a module is known by its folder, so that two plugins may each have one of the same name. Raises
    ImportError, and whatever the module itself raises.
    """
    try:
        return importlib.import_module(name)  # first, so that a plugin can never replace a package
    except ModuleNotFoundError as error:
        if card is None or error.name != name.split(".")[0]:
            raise
    return _import_from(card.parent.parent.resolve(), name)


def _import_from(folder: Path, name: str) -> ModuleType:
    """Import a module of a plugin folder under a name that no other folder's module has."""
    own = f"_cytobench_plugin_{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    if own not in sys.modules:
        package = ModuleType(own)
        package.__path__ = [str(folder)]
        sys.modules[own] = package
    before = set(sys.modules)
    sys.path.append(str(folder))  # for what the module imports from beside itself
    try:
        return importlib.import_module(f"{own}.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").removeprefix(f"{own}.")
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing) from error
    finally:
        sys.path.remove(str(folder))
        for beside in set(sys.modules) - before:
            file = getattr(sys.modules[beside], "__file__", None)
            if not beside.startswith(own) and file and Path(file).is_relative_to(folder):
                del sys.modules[beside]


def shipped_root() -> Path:
    """Return the folder that holds the shipped cards: inside the wheel, else the checkout."""
    package = Path(str(resources.files("cytobench")))
    inside = package / "_cards"
    return inside if inside.is_dir() else package.parent


class _Shelf(Generic[CardT]):
    """Cards of one kind, refusing a second card of the same name."""

    def __init__(self, model: type[CardT], folder: str) -> None:
        self.model: type[CardT] = model
        self.folder = folder
        self.cards: dict[str, CardT] = {}

    def read(self, root: Path, origin: str) -> dict[str, CardT]:
        found: dict[str, CardT] = {}
        for path in sorted((root / self.folder).glob("*.toml")):
            card = read_card(self.model, path, origin=origin)
            self._refuse_twin(card, found)
            self._refuse_twin(card, self.cards)
            found[card.name] = card
        return found

    def _refuse_twin(self, card: CardT, among: Mapping[str, CardT]) -> None:
        twin = among.get(card.name)
        if twin is not None and twin.source != card.source:
            raise _NameClashError(
                f"Two {self.folder} are named '{card.name}': {twin.source} and {card.source}; rename one."
            )

    def sorted(self) -> dict[str, CardT]:
        return dict(sorted(self.cards.items()))


class _Shelves:
    def __init__(self) -> None:
        self.backbones = _Shelf(BackboneCard, "backbones")
        self.tasks = _Shelf(TaskCard, "tasks")
        self.leaderboards = _Shelf(LeaderboardCard, "leaderboards")

    def add_folder(self, root: Path, *, origin: str) -> None:
        """Add all cards below `root`, or none if one of them is bad."""
        backbones = self.backbones.read(root, origin)
        tasks = self.tasks.read(root, origin)
        leaderboards = self.leaderboards.read(root, origin)
        self.backbones.cards |= backbones
        self.tasks.cards |= tasks
        self.leaderboards.cards |= leaderboards


def _add_installed(shelves: _Shelves) -> list[BrokenPlugin]:
    """Add the cards of installed plugin packages; an entry point names the package that holds the folders."""
    broken = []
    for point in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda p: (p.name, p.value)):
        origin = f"plugin {point.name} ({point.value})"
        try:
            shelves.add_folder(_entry_point_folder(point), origin=origin)
        except Exception as error:  # whatever a foreign package raises must not hide the others
            broken.append(BrokenPlugin(origin, f"{type(error).__name__}: {error}"))
    return broken


def _entry_point_folder(point: metadata.EntryPoint) -> Path:
    target = point.load()
    made = target() if callable(target) else target
    folder = Path(made) if isinstance(made, str | Path) else Path(str(resources.files(made)))
    _require_plugin_folder(folder)
    return folder


def _require_plugin_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise CardError(f"The plugin folder {folder} does not exist; check the path given with --plugin.")
    if not any((folder / kind).is_dir() for kind in ("backbones", "tasks", "leaderboards")):
        raise CardError(f"The plugin folder {folder} holds none of backbones/, tasks/, leaderboards/.")


def _look_up(
    name: str, cards: Mapping[str, _Any], model: type[_Any], kind: str, broken: tuple[BrokenPlugin, ...]
) -> _Any:
    if name in cards:
        return cards[name]
    if name.endswith(".toml"):
        return read_card(model, Path(name).expanduser(), origin="file")
    near = difflib.get_close_matches(name, cards, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"see `cytobench list {kind}s`."
    reasons = "; ".join(f"{one.origin}: {one.reason.rstrip('.')}" for one in broken)
    lost = f" among the cards that could be read (left out: {reasons})" if broken else ""
    raise CardError(f"There is no {kind} named '{name}'{lost}; {hint}")
