"""What is at hand: cards and plugins, data sets, and the token that gated weights need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.checks.packages import import_problem
from cytobench.findings import Finding

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard
    from cytobench.registry import Registry


def holdings(home: Path, data_dirs: Sequence[Path], plugins: Sequence[Path]) -> list[Finding]:
    """Return findings on cards, plugins, data and the token; contacts no network."""
    why = import_problem("cytobench.registry")
    if why:
        return [Finding("cards", "fail", f"They cannot be read: {why}.", "pip install pydantic")]
    from cytobench.errors import CardError
    from cytobench.registry import Registry

    try:
        registry = Registry.load(plugins)
    except CardError as error:
        return [Finding("cards", "fail", str(error), "Correct or remove that card.")]
    return [*_cards(registry), *_data(registry, data_dirs), _token(registry, home)]


def _cards(registry: Registry) -> list[Finding]:
    shelves = {
        "backbones": registry.backbones,
        "tasks": registry.tasks,
        "probes of plugins": registry.probes,
        "leaderboards": registry.leaderboards,
    }
    said = ", ".join(f"{len(shelf)} {name}" for name, shelf in shelves.items() if shelf)
    cards = [card for shelf in shelves.values() for card in shelf.values()]
    origins = sorted({card.origin for card in cards} - {"shipped"})
    found = [Finding("cards", "pass", f"{said}.")]
    if origins:
        found.append(Finding("plugins", "pass", f"{len(origins)}: {'; '.join(origins)}."))
    found += [
        Finding("plugins", "fail", f"{broken.origin}: {broken.reason}", "Mend or uninstall it.")
        for broken in registry.broken
    ]
    return found


def _data(registry: Registry, data_dirs: Sequence[Path]) -> list[Finding]:
    """Say which folders are looked at, what is there, and which tasks can run."""
    lost = [str(folder) for folder in data_dirs if not folder.is_dir()]
    found = [
        Finding("data folder", "fail", f"{folder} does not exist.", "Correct CYTOBENCH_DATA.")
        for folder in lost
    ]
    if not data_dirs:
        found.append(
            Finding(
                "data folder",
                "warn",
                "None is named: neither --data nor CYTOBENCH_DATA.",
                "Put each data set into a folder of its name (`cytobench list datasets`), and name the "
                "folder above them.",
            )
        )
    return [*found, _sets([folder for folder in data_dirs if folder.is_dir()]), _tasks(registry, data_dirs)]


def _sets(folders: Sequence[Path]) -> Finding:
    from cytobench.datasets import DATASETS, find_root

    real = [info for info in DATASETS.values() if not info.generated]
    here = [info.name for info in real if find_root(info.name, folders) is not None]
    if not here:
        where = f" in {', '.join(map(str, folders))}" if folders else ""
        return Finding(
            "data sets",
            "warn" if folders else "skip",
            f"None of the {len(real)} known sets is found{where}; the embedded ones always are.",
            "`cytobench list datasets` says what their folders are called." if folders else "",
        )
    return Finding("data sets", "pass", f"{len(here)} of {len(real)} known sets: {', '.join(here)}.")


def _tasks(registry: Registry, data_dirs: Sequence[Path]) -> Finding:
    from cytobench.datasets import available_tasks

    ready = [card.name for card in available_tasks(registry.tasks, data_dirs)]
    said = f"{len(ready)} of {len(registry.tasks)} can run: {', '.join(ready)}."
    return Finding("tasks", "pass", said)


def _token(registry: Registry, home: Path) -> Finding:
    """Tell whether a token is at hand, never which, and which backbones need one."""
    gated = [card for card in registry.backbones.values() if card.gated]
    return judge_token([card for card in gated if not _fetched(card.weights, home)], here=_has_token())


def judge_token(waiting: Sequence[BackboneCard], *, here: bool) -> Finding:
    """Judge whether gated backbones whose weights are not fetched yet have the token (`here`) they need."""
    names = ", ".join(card.name for card in waiting)
    if not waiting:
        return Finding("token", "pass", "No backbone waits for one.")
    if here:
        return Finding(
            "token",
            "pass",
            f"One is here (HF_TOKEN or the login's file), for {names}; whether their licences were accepted "
            "shows when they are fetched.",
        )
    pages = tuple(f"{card.name}: {card.licence_url or card.url}" for card in waiting)
    return Finding(
        "token",
        "warn",
        f"None is here, and gated backbones need one: {names}.",
        "Only if you want them: accept the licence on each one's page, then set HF_TOKEN to a read token, or "
        "run `hf auth login`.",
        pages,
    )


def _fetched(weights: str, home: Path) -> bool:
    try:
        from cytobench.encoders.deposit import Deposit
    except ImportError:
        return False
    with contextlib.suppress(Exception):  # a damaged deposit is not a token's business
        return Deposit.of(weights, home).held() is not None
    return False


def _has_token() -> bool:
    try:
        from huggingface_hub import get_token
    except Exception:  # missing or broken: the environment alone is looked at
        return bool(os.environ.get("HF_TOKEN"))
    return bool(get_token())
