"""The cards of the cervix and breast sets on small trees in the layout of their downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cervix_and_breast_trees import (
    apacc_tree,
    bmt_tree,
    breast_tree,
    cric_tree,
    hicervix_tree,
    sipakmed_tree,
)

from cytobench.datasets import DATASETS
from cytobench.datasets.task import load_task
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.registry import Registry

TASKS = Registry.load(entry_points=False).tasks
TREES: dict[str, Callable[..., None]] = {
    "sipakmed": sipakmed_tree,
    "hicervix": hicervix_tree,
    "cric": cric_tree,
    "apacc": apacc_tree,
    "bmt": bmt_tree,
    "breast-fnac": breast_tree,
}
CARDS = sorted(name for name, card in TASKS.items() if card.dataset in TREES)
SIZES = {
    "sipakmed-5": (15, 5),
    "sipakmed-clusters": (10, 5),
    "hicervix-1": (78, 4),
    "hicervix-2": (75, 21),
    "hicervix-3": (69, 23),
    "cric-6": (36, 6),
    "apacc-4": (16, 4),
    "bmt-fields": (36, 3),
    "breast-fnac-patch": (12, 5),
    "breast-fnac-patients": (12, 2),
}
"""Rows and classes of each task on its tree."""


@pytest.mark.parametrize("name", CARDS)
def test_a_card_reads_its_download(name: str, tmp_path: Path, draw: Callable[..., Path]) -> None:
    card = TASKS[name]
    info = DATASETS[card.dataset_name]
    TREES[card.dataset_name](tmp_path / info.folders[-1], draw)
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    assert (len(data.table), len(data.classes)) == SIZES[name]
    if card.hierarchy:
        assert set(card.hierarchy) == set(data.classes)
    if card.split.kind == "official":
        folds = outer_folds(examples_of(data.table, data.classes, card.unit), card.split)
        tested = np.flatnonzero(folds.fold >= 0)
        assert {data.table["split"][int(row)] for row in tested} == {"test"}


@pytest.mark.parametrize("name", sorted(TREES))
def test_the_facts_of_a_set_are_complete(name: str) -> None:
    info = DATASETS[name]
    for value in (
        info.organ,
        info.preparation,
        info.group,
        info.known_confounds,
        info.licence,
        info.citation,
    ):
        assert value
    assert info.layout
    assert info.access in ("open", "registration", "by hand")
    assert info.url.startswith("https://")


@pytest.mark.parametrize("name", CARDS)
def test_pretraining_never_reads_these_sets_and_cells_keep_their_size(name: str) -> None:
    card = TASKS[name]
    assert card.pretrain == "never"
    assert card.view.kind in ("window", "tile")
    assert card.show_images == DATASETS[card.dataset_name].show_images
