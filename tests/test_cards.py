"""Cards are strict: a typo is an error that names the key, the file and the nearest valid key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cytobench.card_files import parse_card, read_card
from cytobench.cards import BackboneCard, TaskCard
from cytobench.errors import CardError

TASK: dict[str, Any] = {
    "name": "cells",
    "title": "Cells",
    "dataset": "pbc",
    "group": "slide",
    "view": {"kind": "window", "size": 80},
}
BACKBONE: dict[str, Any] = {
    "name": "net",
    "title": "Net",
    "loader": "timm",
    "arch": "vit_tiny_patch16_224",
    "weights": "random",
    "dim": 192,
    "pooling": "cls",
    "preprocess": {"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "domain": "none",
    "licence": "Apache-2.0",
    "citation": "none",
}


def task(**changes: object) -> TaskCard:
    return parse_card(TaskCard, {**TASK, **changes}, source=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vew": 1}, ["unknown key 'vew'", "did you mean 'view'"]),
        ({"view": {"kind": "window", "sze": 80}}, ["unknown key 'view.sze'", "did you mean 'size'"]),
        ({"view": {"kind": "window"}}, ["needs a size"]),
        ({"group": "none"}, ["accept_ungrouped = true"]),
        ({"unit": "bag"}, ["needs bag"]),
        ({"bag": "slide"}, ['unit = "bag"']),
        ({"sealed": {"share": 0.1}}, ["pretrain"]),
        ({"split": {"kind": "file"}}, ["needs a path"]),
        ({"metric": "acc"}, ["metric", "balanced_accuracy"]),
        (
            {"dataset": {"format": "folder", "pth": "x"}},
            ["unknown key 'dataset.pth'", "'dataset.path' is missing"],
        ),
        ({"source": "/elsewhere"}, ["unknown key 'source'"]),
    ],
)
def test_a_bad_task_card_is_refused_with_the_key_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(CardError) as caught:
        task(**changes)
    for word in words:
        assert word in str(caught.value)


def test_all_problems_of_a_card_are_said_at_once_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\ntitel = "X"\ngroup = "slide"\n')
    with pytest.raises(CardError) as caught:
        read_card(TaskCard, path)
    message = str(caught.value)
    assert str(path) in message
    assert "unknown key 'titel' (did you mean 'title'?)" in message
    assert "'dataset' is missing" in message
    assert "\n" not in message


def test_a_card_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("name = \n")
    with pytest.raises(CardError, match="line 1"):
        read_card(TaskCard, path)


def test_a_missing_card_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"no card at .*nothing\.toml"):
        read_card(BackboneCard, tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preprocess": {**BACKBONE["preprocess"], "std": [0.5]}}, "preprocess.std: too few values."),
        ({"name": "my net"}, "name: 'my net' does not match"),
        ({"sha256": "0xff"}, "sha256: '0xff' does not match"),
        ({"dim": "many"}, "dim: Input should be a valid integer"),
    ],
)
def test_a_bad_value_of_a_backbone_card_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CardError) as caught:
        parse_card(BackboneCard, BACKBONE | changes, source=None)
    assert words in str(caught.value)


def test_a_network_without_preprocessing_is_refused() -> None:
    with pytest.raises(CardError, match="needs arch and preprocess"):
        parse_card(BackboneCard, {k: v for k, v in BACKBONE.items() if k != "preprocess"}, source=None)


def test_a_network_without_a_pooling_is_refused() -> None:
    with pytest.raises(CardError, match="needs pooling"):
        parse_card(BackboneCard, {k: v for k, v in BACKBONE.items() if k != "pooling"}, source=None)


def test_a_bag_task_has_a_bag_probe_by_default() -> None:
    assert task(unit="bag", bag="slide").probes == ("abmil", "mean-linear", "max-linear")
    assert task().probes == ("knn", "linear")


def test_titles_licences_and_paths_do_not_change_what_a_card_means() -> None:
    plain = parse_card(BackboneCard, BACKBONE, source=Path("/a.toml"))
    retitled = parse_card(
        BackboneCard, {**BACKBONE, "title": "Other", "licence": "MIT"}, source=Path("/b.toml")
    )
    reshaped = parse_card(BackboneCard, {**BACKBONE, "pooling": "mean"}, source=None)
    assert plain.semantics() == retitled.semantics()
    assert plain.semantics() != reshaped.semantics()
    assert task().semantics() == task(title="Other", ranked=False, citation="Somebody").semantics()
    assert task().semantics() != task(split={"kind": "grouped-kfold", "folds": 3}).semantics()


def test_cards_cannot_be_changed_once_read() -> None:
    card = task()
    with pytest.raises(Exception, match="frozen"):
        card.metric = "accuracy"  # type: ignore[misc]


def test_a_sealed_task_without_details_gives_a_fifth_of_its_groups() -> None:
    sealing = task(pretrain="sealed").sealing
    assert sealing is not None
    assert sealing.model_dump() == {"share": 0.2, "seed": 0}
    assert task().sealing is None
