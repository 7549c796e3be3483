"""Toy cells as a collection that can be searched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.registry import Registry
from cytobench.retrieval import Searcher
from tests.evaluation.toy_benchmark import write_cells

CARD = """
name = "toy"
title = "Toy cells"
dataset = {{ format = "table", path = "../cells.csv" }}
label = "cell_type"
group = "patient"
split = {{ folds = 3 }}
view = {{ {view} }}
{more}
"""
Open = Callable[..., Searcher]


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A plugin folder with 48 toy cells of eight patients and their task."""
    root = tmp_path / "my"
    write_cells(root)
    write_card(root)
    return root


def write_card(root: Path, *, view: str = 'kind = "box"', more: str = "") -> None:
    """Write the task's card."""
    (root / "tasks").mkdir(exist_ok=True)
    (root / "tasks" / "toy.toml").write_text(CARD.format(view=view, more=more))


@pytest.fixture
def open_toy(cells: Path, home: Path) -> Open:
    """Open the toy cells under a backbone."""

    def call(backbone: str = "morphology", **options: object) -> Searcher:
        registry = Registry.load([cells], entry_points=False)
        return Searcher.open("toy", backbone, registry=registry, home=home, device="cpu", **options)  # type: ignore[arg-type]

    return call
