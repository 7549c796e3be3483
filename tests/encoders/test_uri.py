"""A backbone can be named without a card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cards import crops, load_tiny, tiny_card

from cytobench.encoders import random_weights, timm_vit
from cytobench.encoders.uri import card_from_uri
from cytobench.errors import CardError
from cytobench.registry import Registry

EXPECTED: dict[str, dict[str, Any]] = {
    "timm:vit_small_patch16_224.dino": {
        "weights": "hf-hub:timm/vit_small_patch16_224.dino", "dim": 384, "pooling": "cls",
        "licence": "apache-2.0",
    },
    "timm:resnet18?precision=bf16": {"dim": 512, "pooling": "head", "precision": "bf16"},
    "timm:vit_small_patch14_dinov2.lvd142m?img_size=224&pooling=cls+mean": {
        "arch_options": {"img_size": 224}, "dim": 768, "pooling": "cls+mean",
    },
    "timm:vit_tiny_patch16_224?pretrained=false&depth=2&seed=3": {
        "weights": "random", "seed": 3, "arch_options": {"depth": 2}, "domain": "none",
    },
    "open_clip:ViT-B-16/openai": {
        "weights": "hf-hub:timm/vit_base_patch16_clip_224.openai:open_clip_model.safetensors",
        "arch_options": {"quick_gelu": True}, "dim": 768, "pooling": "cls",
    },
    "open_clip:ViT-B-16/laion2b_s34b_b88k?pooling=head": {"arch_options": {}, "dim": 512},
    "open_clip:ViT-B-16-SigLIP/webli": {"pooling": "head", "dim": 768},
}  # fmt: skip


@pytest.mark.parametrize("uri", EXPECTED)
def test_a_name_becomes_a_card(uri: str) -> None:
    card = Registry.load(entry_points=False).backbone(uri)
    found = card.model_dump()
    assert {key: found[key] for key in EXPECTED[uri]} == EXPECTED[uri]
    assert card.name == uri
    assert card.pretrained_on == ()  # a name does not say which pictures the weights have seen


def test_its_preprocessing_is_the_models_own() -> None:
    shipped = Registry.load().backbones
    for name, uri in (
        ("dino-vits16", "timm:vit_small_patch16_224.dino"),
        ("imagenet-vits16", "timm:vit_small_patch16_224.augreg_in1k"),
        ("dinov2-vitb14", "timm:vit_base_patch14_dinov2.lvd142m?img_size=224"),
        ("clip-vitb16", "open_clip:ViT-B-16/openai"),
    ):
        assert card_from_uri(uri).preprocess == shipped[name].preprocess


def test_an_ibot_checkpoint_by_path(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm_vit.create(tiny_card(arch_options={}))
    random_weights.fill(model, 5)
    (tmp_path / "my run").mkdir()
    torch.save({"student": model.state_dict()}, tmp_path / "my run" / "ck.pth")
    monkeypatch.chdir(tmp_path)
    card = card_from_uri("ibot:my run/ck.pth?arch=vit_tiny_patch16_224&branch=student")
    assert re.fullmatch(r"ibot:my_run/ck\.pth\?branch=student@[0-9a-f]{8}", card.name)
    assert load_tiny(home, card).encode(crops(1)).shape == (1, 192)


def test_two_checkpoints_never_share_a_name() -> None:
    uri = "ibot:/a/run/ck.pth?arch=vit_tiny_patch16_224"
    others = [
        "ibot:/b/run/ck.pth?arch=vit_tiny_patch16_224",
        "ibot:/a/run/ck.pth?arch=vit_small_patch16_224",
        *(f"{uri}&{option}" for option in ("pooling=mean", "branch=student", "precision=bf16")),
    ]
    names = {card_from_uri(one).name for one in (uri, *others)}
    assert len(names) == 1 + len(others)
    assert all(name.startswith("ibot:run/ck.pth") for name in names)
    spelt_out = "ibot:/a/run/ck.pth?precision=fp32&pooling=cls&branch=teacher&arch=vit_tiny_patch16_224"
    assert card_from_uri(spelt_out).name == card_from_uri(uri).name


def test_two_models_of_timm_with_other_options_never_share_a_name() -> None:
    uri = "timm:vit_tiny_patch16_224?pretrained=false"
    assert (
        len({card_from_uri(uri + more).name for more in ("", "&depth=2", "&depth=3", "&pooling=mean")}) == 4
    )


@pytest.mark.parametrize("word", ["false", "False", "FALSE"])
def test_false_is_false_in_any_case(word: str) -> None:
    for uri in ("timm:vit_tiny_patch16_224", "open_clip:ViT-B-16"):
        card = card_from_uri(f"{uri}?pretrained={word}")
        assert (card.weights, card.domain) == ("random", "none")
    options = f"pretrained={word}&qkv_bias={word}"
    assert card_from_uri(f"timm:vit_tiny_patch16_224?{options}").arch_options == {"qkv_bias": False}


WRONG = {
    "timm:vit_smal_patch16_224": "did you mean vit_small_patch16_224",
    "timm:vit_small_patch16_224.nope": "no weights 'nope'",
    "timm:resnet18?pooling=cls": 'pooling = "head"',
    "timm:resnet18?wings=2": "arch_options",
    "timm:resnet18?seed": "has no value",
    "open_clip:ViT-B-16/nope": "no weights 'nope'",
    "open_clip:ViT-B-61/openai": "knows no model 'ViT-B-61'; did you mean ViT-B-16",
    "open_clip:ViT-B-16": "write open_clip:ViT-B-16/openai",
    "open_clip:ViT-B-16/openai?depth=3": "unknown option depth",
    "ibot:a.pth": "write ibot:a.pth?arch=",
    "ibot:a.pth?arch=vit_tiny_patch16_224&pooling=max": "pooling",
    "timm:": "names no backbone",
    "timm:vit_tiny_patch16_224?pretrained=no": "pretrained=no is neither true nor false",
    "timm:vit_tiny_patch16_224?pretrained=0": "write pretrained=true or pretrained=false",
    "timm:vit_tiny_patch16_224?qkv_bias=off": "qkv_bias=off is neither",
    "open_clip:ViT-B-16/openai?pretrained=nope": "pretrained=nope is neither",
}


@pytest.mark.parametrize("uri", WRONG)
def test_a_mistaken_name_gets_one_clear_sentence(uri: str) -> None:
    with pytest.raises(CardError) as caught:
        card_from_uri(uri)
    assert WRONG[uri] in str(caught.value)
    assert "\n" not in str(caught.value)
