"""Weights a run begins with, whatever their layout, and what the card says of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from asked import around, heard, recipe, request
from conftest import Draw

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard
from cytobench.errors import CardError, UsageError, WeightsError
from cytobench.pretraining.begin import begin_with, find_weights, origin_as_dict, origin_from_dict
from cytobench.pretraining.build import make_model
from cytobench.pretraining.export import Facts, Origin, card_text, export
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.recipe import check, override
from cytobench.pretraining.supply import find_or_make_pool


@pytest.fixture
def donor() -> IBOT:
    return make_model(check(override(recipe(), {"running": {"seed": 3}}, where="test")))


def published(path: Path, donor: IBOT, *branches: str) -> Path:
    state = donor.published_state()
    torch.save({name: {f"module.{k}": v for k, v in state[name].items()} for name in branches}, path)
    return path


def test_a_run_begins_with_a_checkpoint_of_any_layout(tmp_path: Path, donor: IBOT) -> None:
    path = published(tmp_path / "published.pth", donor, "student", "teacher")
    model = make_model(recipe())
    bring = begin_with(str(path), around(tmp_path))
    assert bring is not None
    bring(model)
    assert torch.equal(model.student.backbone.cls_token, donor.teacher.backbone.cls_token)
    assert torch.equal(model.teacher.backbone.pos_embed, donor.teacher.backbone.pos_embed)
    assert begin_with("", around(tmp_path)) is None
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="truncated"):
        bring(model)


def test_a_file_without_a_teacher_gives_its_student(tmp_path: Path, donor: IBOT) -> None:
    path = published(tmp_path / "student.pth", donor, "student")
    model, here = make_model(recipe()), around(tmp_path)
    begin_with(str(path), here)(model)  # type: ignore[misc]
    assert torch.equal(model.teacher.backbone.cls_token, donor.student.backbone.cls_token)
    assert heard(here).said == ["beginning with student.pth, its student"]


def test_weights_that_do_not_fit_are_called_by_their_file(tmp_path: Path, donor: IBOT) -> None:
    path = published(tmp_path / "tiny.pth", donor, "teacher")
    model = make_model(recipe(network={"options": {"embed_dim": 48, "num_heads": 3, "depth": 2}}))
    with pytest.raises(WeightsError, match=r"tiny\.pth: these weights are not of this ViT"):
        begin_with(str(path), around(tmp_path))(model)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("morphology", "is no vision transformer to begin with"),
        ("random-vit-tiny", "has no weights to begin with"),
    ],
)
def test_backbones_without_such_weights_are_refused(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        find_weights(name, around(tmp_path))
    with pytest.raises(CardError, match="There is no backbone named"):
        find_weights("no-such-backbone", around(tmp_path))


def test_weights_are_known_by_what_they_have_seen(tmp_path: Path, donor: IBOT, draw_cells: Draw) -> None:
    """A plain file is undisclosed; a run's own weights, checkpoint or card say what that run saw."""
    cells = draw_cells(tmp_path / "cells", 6)
    path = published(tmp_path / "published.pth", donor, "teacher")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    plain = find_weights(str(path), around(tmp_path)).origin
    assert plain == Origin("published.pth", digest, ("undisclosed-weights",), "")
    run = tmp_path / "run"
    pool = find_or_make_pool(run, request(cells), around(tmp_path))
    export(donor, recipe(), pool, Facts("first", title="First", began_with=plain), run)
    published(run / "checkpoint.pth", donor, "teacher")
    for named in ("model.safetensors", "checkpoint.pth", "card.toml"):
        origin = find_weights(str(run / named), around(tmp_path)).origin
        assert origin.pretrained_on == ("cells", "undisclosed-weights")
        assert "as its images' (cells)" in origin.licence
        assert origin_from_dict(origin_as_dict(origin)) == origin
    published(run / "other.pth", donor, "teacher")
    assert find_weights(str(run / "other.pth"), around(tmp_path)).origin.pretrained_on == (
        "undisclosed-weights",
    )
    assert origin_from_dict(None) is None


def test_a_card_says_what_its_weights_began_with_and_whose_licences_they_carry(
    tmp_path: Path, draw_cells: Draw
) -> None:
    """Known data sets with their licences, also of images in a plain folder; groups where any were."""
    cells = draw_cells(tmp_path / "cells", 6)
    pool = find_or_make_pool(tmp_path / "run", request(cells), around(tmp_path))
    source = replace(pool.sources[0], name="bccd", dataset="bccd")
    pool.sources = (source, pool.sources[0])
    pool.description |= {
        "guard": ["cell-type-pbc", "rbc-type-chula"],
        "datasets_by_source": {"cells": ["pbc", "chula-rbc12"], "bccd": ["bccd"]},
        "grouped_sources": ["bccd"],
    }
    began = Origin("theirs", "ab" * 32, ("imagenet-1k",), "CC-BY-NC-4.0")
    facts = Facts("mine", title="Mine", began_with=began)
    path = tmp_path / "card.toml"
    path.write_text(card_text(recipe(), pool, facts, dim=192))
    card = read_card(BackboneCard, path, origin="file")
    assert card.pretrained_on == ("bccd", "cells", "pbc", "chula-rbc12", "imagenet-1k")
    assert card.licence == (
        "MIT (bccd, chula-rbc12); as its images' (cells); CC-BY-4.0 as published (attributes: MIT) (pbc); "
        "CC-BY-NC-4.0 (the weights theirs)"
    )
    assert f"It began with the weights theirs (SHA-256 {'ab' * 32})." in card.notes
    assert "Kept out by content: what 2 tasks evaluate; of bccd by group, too." in card.notes
    pool.description["grouped_sources"] = ["bccd", "cells"]
    assert "Kept out by content and group: what 2 tasks evaluate." in card_text(recipe(), pool, facts, dim=1)
    pool.description["grouped_sources"] = []
    assert "Kept out by content: what 2 tasks evaluate." in card_text(recipe(), pool, facts, dim=1)
