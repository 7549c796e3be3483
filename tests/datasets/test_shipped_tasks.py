"""The task cards that are shipped: sound on paper, and on the real data where they are at hand."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench import images
from cytobench.cards import TaskCard
from cytobench.datasets import DATASETS, pbc
from cytobench.datasets.chula_rbc12 import FIELDS_PER_BLOCK
from cytobench.datasets.task import TaskData, load_task
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.registry import Registry

CARDS: dict[str, TaskCard] = {
    name: card
    for name, card in Registry.load(entry_points=False).tasks.items()
    if isinstance(card.dataset, str) and card.dataset != "synthetic"
}
blood_cells = cache(pbc.read)
REAL = sorted(name for name, card in CARDS.items() if card.dataset != "fnac-2019")


@cache
def load(name: str, folder: Path) -> TaskData:
    card = CARDS[name]
    if not any((folder / part).is_dir() for part in DATASETS[str(card.dataset)].folders):
        pytest.skip(f"the data set {card.dataset} is not in {folder}")
    return load_task(card, data_dirs=[folder], home=folder)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_says_what_fools_its_task_and_whose_data_it_uses(name: str) -> None:
    card = CARDS[name]
    info = DATASETS[card.dataset_name]
    assert card.licence
    assert card.citation
    assert card.url.startswith("https://")
    assert "chance" in card.known_confounds or card.dataset in ("fnac-2019", "bccd")
    assert info.show_images or not card.show_images


@pytest.mark.parametrize("name", REAL)
def test_every_class_is_in_every_training_fold_and_no_group_on_both_sides(
    name: str, shared_data: Path
) -> None:
    data = load(name, shared_data)
    examples = examples_of(data.table, data.classes, data.card.unit)
    folds = outer_folds(examples, data.card.split)
    groups = np.asarray(examples.groups)
    for k in range(len(folds)):
        train, test = folds.train(k), folds.test(k)
        assert set(examples.labels[train]) == set(range(len(data.classes)))
        assert not set(groups[train]) & set(groups[test])
    assert not set(data.sealed["sample"]) & set(data.table["sample"])
    assert not set(data.sealed["group"]) & set(data.table["group"])


def test_chula_scores_whole_odd_blocks_in_eleven_classes(shared_data: Path) -> None:
    data = load("rbc-type-chula", shared_data)
    assert len(data.classes) == 11
    blocks = data.table.with_columns(pl.col("field").cast(pl.Int64) // FIELDS_PER_BLOCK)["field"]
    assert set(blocks.unique() % 2) == {1}
    assert data.table["group"].equals(blocks.cast(pl.String).alias("group"))
    assert Counter(data.table["label"])["teardrop"] == 33
    assert Counter(data.table["label"])["macrocyte"] == 64


def test_windows_of_chula_lie_inside_their_fields(shared_data: Path) -> None:
    data = load("rbc-type-chula", shared_data)
    sizes = {path: images.size(path) for path in data.table["image"].unique()}
    for path, (x, y, _, _) in data.table.select("image", "box").iter_rows():
        width, height = sizes[path]
        assert 40 <= x <= width - 40
        assert 40 <= y <= height - 40


@pytest.mark.parametrize("part", ["ds1", "ds2"])
def test_oral_bags_are_small_and_leave_slide_numbers_out(part: str, shared_data: Path) -> None:
    bags = load(f"oral-cancer-{part}", shared_data)
    assert set(bags.table["bag"].value_counts()["count"]) <= set(range(8, 17))
    patches = load(f"oral-patch-{part}", shared_data)
    for data in (bags, patches):
        assert data.card.split.kind == "leave-one-group-out"
        assert data.table["group"].n_unique() == 10
        assert len(set(data.table["part"])) == 1
    assert bags.table["sample"].equals(patches.table["sample"])


def test_all_tasks_of_pbc_seal_the_same_cells(shared_data: Path) -> None:
    types = load("cell-type-pbc", shared_data)
    sealed = set(types.sealed["sample"])
    assert 0.17 < len(sealed) / 2400 < 0.23
    shape = load("pbc-attribute-cell-shape", shared_data)
    assert set(shape.sealed["sample"]) <= sealed
    assert not set(shape.table["sample"]) & sealed


@pytest.mark.parametrize("attribute", pbc.ATTRIBUTES)
def test_the_attribute_cards_quote_how_much_the_cell_type_tells(attribute: str, shared_data: Path) -> None:
    table = blood_cells(shared_data / "pbc").drop_nulls(attribute)
    right = sum(max(Counter(cells[attribute]).values()) for _, cells in table.group_by("cell_type"))
    card = CARDS[f"pbc-attribute-{attribute.replace('_', '-')}"]
    assert f"right for {right:,} of {len(table):,} cells" in " ".join(card.known_confounds.split())
    assert set(card.classes or ()) == set(table[attribute])


def test_what_the_readmes_forbid_is_not_done() -> None:
    assert CARDS["cervix-lbc-abnormal"].classes == ("HSIL", "LSIL", "SCC")
    for name in ("cervix-lbc-abnormal", "bccd-cell-type", "herlev-2", "herlev-7"):
        assert not CARDS[name].ranked
    never = {card.dataset for card in CARDS.values() if card.pretrain == "never"}
    assert never >= {"herlev", "mendeley-lbc", "oral-cytology", "malaria-bags", "fnac-2019"}


def test_breast_aspirates_become_bags_of_48_tiles(tmp_path: Path) -> None:
    for index in range(10):
        code = "BM"[index % 2]
        (tmp_path / "FNAC2019" / code).mkdir(parents=True, exist_ok=True)
        field = Image.new("RGB", (2048, 1536), (200, 10 * index, 180))
        field.save(tmp_path / "FNAC2019" / code / f"{code}_{index}.jpg")

    data = load("breast-cancer-fnac", tmp_path)

    assert set(data.table["bag"].value_counts()["count"]) == {48}
    assert data.table["group"].equals(data.table["bag"].alias("group"))
    examples = examples_of(data.table, data.classes, "bag")
    assert len(examples) == 10
    assert len(outer_folds(examples, data.card.split)) == 5
