"""What a user might ask of a run, small: recipes, requests, surroundings, task cards, and what was said."""

from __future__ import annotations

from pathlib import Path

from cytobench.card_files import parse_card
from cytobench.cards import TaskCard
from cytobench.pretraining.recipe import Recipe, check, override, preset
from cytobench.pretraining.session import Request, Surroundings
from cytobench.progress import SilentReporter
from cytobench.registry import Registry

SHIPPED = Registry.load(entry_points=False)
SEALED = {"pretrain": "sealed", "sealed": {"column": "parity", "values": ["even"]}}


class Heard(SilentReporter):
    """Remembers remarks and warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def recipe(**tables: dict[str, object]) -> Recipe:
    """A recipe of small crops, with more settings over it."""
    small = {"crops": {"global_size": 32, "local_size": 16}, "data": {"side": 40, "batch": 4}}
    merged = {name: small.get(name, {}) | tables.get(name, {}) for name in {*small, *tables}}
    return check(override(preset("cytofm-vitti16"), merged, where="test"))


def request(
    *images: Path | str, labelled: tuple[object, ...] = (), init: object = "", **tables: object
) -> Request:
    """A request for a run over these images; tables: settings of its recipe."""
    made = recipe(**tables)  # type: ignore[arg-type]
    return Request("cytofm-vitti16", made, tuple(map(str, images)), tuple(map(str, labelled)), str(init))


def around(tmp_path: Path, *data: Path, tasks: tuple[TaskCard, ...] = ()) -> Surroundings:
    """Surroundings with a home below `tmp_path`, the shipped cards, and a user's own tasks."""
    registry = Registry(
        SHIPPED.backbones, {**SHIPPED.tasks, **{card.name: card for card in tasks}}, SHIPPED.leaderboards
    )
    return Surroundings(lambda: registry, data, tmp_path / "home", Heard(), bool(tasks), {})


def heard(surroundings: Surroundings) -> Heard:
    """What was said there."""
    assert isinstance(surroundings.reporter, Heard)
    return surroundings.reporter


def own_task(folder: Path, name: str, **keys: object) -> TaskCard:
    """A task over a table of cells with patients, its card lying beside them."""
    raw = {
        "name": name,
        "title": name,
        "dataset": {"format": "table", "path": "cells.csv"},
        "group": "patient",
        "view": {"kind": "window", "size": 32},
        **keys,
    }
    return parse_card(TaskCard, raw, source=folder / f"{name}.toml")


def write_table(folder: Path) -> None:
    """Lay a table beside forty cells of eight patients, every other patient even."""
    rows = [
        f"cell-{i:04d}.png,{'ab'[i % 2]},patient{i // 5},{'even' if i // 5 % 2 == 0 else 'odd'}"
        for i in range(40)
    ]
    (folder / "cells.csv").write_text("\n".join(["image,label,patient,parity", *rows]))
