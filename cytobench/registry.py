"""Where cards come from: the shipped folders, installed plugin packages, and folders named by the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from cytobench.card_files import CardT, read_card
from cytobench.cards import UNIT_OF_PROBE, BackboneCard, LeaderboardCard, ProbeCard, TaskCard
from cytobench.errors import CardError
from cytobench.plugins import BrokenPlugin as BrokenPlugin
from cytobench.plugins import import_beside as import_beside
from cytobench.plugins import installed_plugins, probe_of_function, require_cards, why_broken

_URI_SCHEMES = ("timm:", "open_clip:", "ibot:")
_Any = TypeVar("_Any", BackboneCard, TaskCard, LeaderboardCard, ProbeCard)


class _NameClashError(CardError):
    """Two cards of one kind share a name: which of them is meant is for the user to say."""


@dataclass(frozen=True)
class Registry:
    """All cards known to one invocation, by kind and name.

    `probes`: those that plugins bring; `folders`: the plugin folders the user named; `home`, `download`:
    where the configuration of a model named as `open_clip:hf-hub:…` is kept, and whether it may be fetched.
    """

    backbones: Mapping[str, BackboneCard]
    tasks: Mapping[str, TaskCard]
    leaderboards: Mapping[str, LeaderboardCard]
    broken: tuple[BrokenPlugin, ...] = field(default=())
    probes: Mapping[str, ProbeCard] = field(default_factory=lambda: MappingProxyType({}))
    folders: tuple[Path, ...] = ()
    home: Path | None = None
    download: bool = True

    @classmethod
    def load(
        cls,
        plugins: Iterable[Path] = (),
        *,
        entry_points: bool = True,
        home: Path | None = None,
        download: bool = True,
    ) -> Registry:
        """Read all cards: shipped ones, then installed plugins, then the folders in `plugins`.

        Raises CardError when a shipped card is unreadable, when a card of a folder in `plugins` has the name
        of another one (both files are named), and when such a folder is missing or holds no cards folder. Any
        other plugin with an unreadable card lands in `broken` with the reason, without any of its cards.
        """
        shelves = _Shelves()
        shelves.add_folder(shipped_root(), origin="shipped")
        broken = _add_installed(shelves) if entry_points else []
        folders = tuple(plugins)
        for folder in folders:
            require_cards(folder, "check the path given with --plugin")
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
            probes=MappingProxyType(shelves.probes.sorted()),
            folders=folders,
            home=home,
            download=download,
        )

    def backbone(self, name: str) -> BackboneCard:
        """Return a backbone by name, card file, or `timm:…`, `open_clip:…`, `ibot:…`.

        Raises CardError; WeightsError for `open_clip:hf-hub:…` whose configuration cannot be had.
        """
        if name not in self.backbones and name.startswith(_URI_SCHEMES):
            from cytobench.encoders.uri import card_from_uri  # the only look-up that needs timm or open_clip

            return card_from_uri(name, home=self.home, download=self.download)
        return _look_up(name, self.backbones, BackboneCard, "backbone", self.broken)

    def task(self, name: str) -> TaskCard:
        """Return a task by name or card file; raises CardError."""
        return _look_up(name, self.tasks, TaskCard, "task", self.broken)

    def probe(self, name: str) -> ProbeCard:
        """Return a plugin's probe by name, card file or `package.module:function`; raises CardError.

        Such a module may be installed, or lie in one of the plugin folders the user named.
        """
        if ":" in name and not name.endswith(".toml") and name not in self.probes:
            return probe_of_function(name, [folder / "probes" / "card.toml" for folder in self.folders])
        return _look_up(name, self.probes, ProbeCard, "probe", self.broken, also=tuple(UNIT_OF_PROBE))

    def leaderboard(self, name: str) -> LeaderboardCard:
        """Return a leaderboard by name or card file; raises CardError."""
        return _look_up(name, self.leaderboards, LeaderboardCard, "leaderboard", self.broken)


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
        self.probes = _Shelf(ProbeCard, "probes")

    def add_folder(self, root: Path, *, origin: str) -> None:
        """Add all cards below `root`, or none if one of them is bad."""
        backbones = self.backbones.read(root, origin)
        tasks = self.tasks.read(root, origin)
        leaderboards = self.leaderboards.read(root, origin)
        probes = self.probes.read(root, origin)
        self.backbones.cards |= backbones
        self.tasks.cards |= tasks
        self.leaderboards.cards |= leaderboards
        self.probes.cards |= probes


def _add_installed(shelves: _Shelves) -> list[BrokenPlugin]:
    """Add the cards of installed plugin packages; an entry point names the package that holds the folders."""
    broken = []
    for plugin in installed_plugins():
        try:
            shelves.add_folder(plugin.folder(), origin=plugin.origin)
        except Exception as error:  # whatever a foreign package raises must not hide the others
            broken.append(BrokenPlugin(plugin.origin, why_broken(error)))
    return broken


def results_elsewhere(name: str, backbones: Iterable[str]) -> str:
    """Return what a name such as `uni@north` means, the beginning of a sentence; "" for other names."""
    base, at, lab = name.rpartition("@")
    if not (at and base and lab) or "/" in lab or name.endswith(".toml"):
        return ""
    known = f" (the backbone itself is '{base}')" if base in backbones else ""
    return f"'{name}' names results of {base} from a lab called {lab}, which come as a bundle{known}"


def _look_up(
    name: str,
    cards: Mapping[str, _Any],
    model: type[_Any],
    kind: str,
    broken: tuple[BrokenPlugin, ...],
    also: tuple[str, ...] = (),
) -> _Any:
    if name in cards:
        return cards[name]
    if name.endswith(".toml"):
        return read_card(model, Path(name).expanduser(), origin="file")
    near = difflib.get_close_matches(name, [*cards, *also], n=3, cutoff=0.5)
    if model is BackboneCard and (theirs := results_elsewhere(name, cards)):
        raise CardError(f"{theirs}; they can be shown and compared, not computed.")
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"see `cytobench list {kind}s`."
    reasons = "; ".join(f"{one.origin}: {one.reason.rstrip('.')}" for one in broken)
    lost = f" among the cards that could be read (left out: {reasons})" if broken else ""
    raise CardError(f"There is no {kind} named '{name}'{lost}; {hint}")
