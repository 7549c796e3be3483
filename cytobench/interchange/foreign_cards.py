"""Cards of other labs: what imported results are about. Reading them loads nothing heavy.

They lie as JSON under `<home>/imported`; a foreign backbone has neither weights nor code here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from cytobench.errors import CytoBenchError, StoreError, name_some
from cytobench.registry import Registry, results_elsewhere

_LAB = "lab "  # begins the origin of a card that came in a bundle
CardT = TypeVar("CardT", BackboneCard, TaskCard, LeaderboardCard)


def name_at(backbone: str, lab: str) -> str:
    """Return the name under which a backbone's runs of another lab are stored."""
    return f"{backbone}@{lab}"


def folder(home: Path) -> Path:
    """Return where cards of other labs lie."""
    return home / "imported"


def with_imported(registry: Registry, home: Path) -> Registry:
    """Return the registry with what was imported under `home`; own cards keep their names."""
    backbones = _cards(home, BackboneCard, "backbones") | dict(registry.backbones)
    tasks = _cards(home, TaskCard, "tasks") | dict(registry.tasks)
    boards = _cards(home, LeaderboardCard, "leaderboards") | dict(registry.leaderboards)
    return replace(
        registry,
        backbones=MappingProxyType(dict(sorted(backbones.items()))),
        tasks=MappingProxyType(dict(sorted(tasks.items()))),
        leaderboards=MappingProxyType(dict(sorted(boards.items()))),
    )


def is_foreign(card: BackboneCard | TaskCard) -> bool:
    """Tell whether the card came with results of another lab."""
    return card.origin.startswith(_LAB)


def labs(home: Path) -> dict[str, tuple[str, str]]:
    """Return the imported backbones under `home` by name: the backbone as its lab calls it, and the lab."""
    found = {}
    for name, card in _cards(home, BackboneCard, "backbones").items():
        lab = card.origin.removeprefix(_LAB)
        found[name] = (name.removesuffix(f"@{lab}"), lab)
    return found


def explain(card: BackboneCard, home: Path) -> dict[str, str]:
    """Return what is to be known of an imported backbone in place of how it would be built and found."""
    base, lab = card.name.removesuffix(f"@{card.origin.removeprefix(_LAB)}"), card.origin
    return {
        "weights": f"not here: only results were imported; `cytobench show {base}` if you have that backbone",
        "from": f"results that the {lab} sent as a bundle, imported into {home}",
        "card": "as that lab sent it, in the bundle",
    }


def not_imported(name: str, registry: Registry, home: Path) -> str:
    """Return the sentence for `BACKBONE@LAB` that is not under `home`; "" for a name of another make."""
    theirs = results_elsewhere(name, registry.backbones)
    if not theirs:
        return ""
    lab = name.rpartition("@")[2]
    sent = [one for one, (_, whose) in labs(home).items() if whose == lab]
    if sent:
        return f"{theirs}; from that lab {home} has only {name_some(sent)}: import a bundle that holds it."
    return (
        f"{theirs}, and {home} has none of that lab; import it with `cytobench bundle import FILE`, or name "
        "the folder it was imported into with --home."
    )


def write_card(home: Path, kind: str, file: str, dump: Mapping[str, object], lab: str) -> None:
    """Keep a card of a lab under `<home>/imported/<kind>/<file>.json`; raises StoreError."""
    path = folder(home) / kind / f"{file}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        temporary.write_text(json.dumps({"lab": lab, "card": dump}, indent=1, ensure_ascii=False), "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); free some space.") from error


def _cards(home: Path, model: type[CardT], kind: str) -> dict[str, CardT]:
    found = {}
    for path in sorted((folder(home) / kind).glob("[!.]*.json")):
        try:
            raw = json.loads(path.read_bytes())
            card = parse_card(model, raw["card"], source=None, origin=f"lab {raw['lab']}")
        except (OSError, ValueError, KeyError, TypeError, CytoBenchError):
            continue  # written by another version: its runs are shown no more, nothing else is lost
        found[card.name] = card.model_copy(update={"title": f"{card.title} (of the lab {raw['lab']})"})
    return found
