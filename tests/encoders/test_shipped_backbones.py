"""Every shipped backbone card: complete, pinned, and true about its network."""

from __future__ import annotations

import re

import open_clip
import pytest
import torch

from cytobench.cards import BackboneCard
from cytobench.encoders import conch, ibot, open_clip_model, timm_vit
from cytobench.encoders.open_clip_config import is_published
from cytobench.encoders.open_clip_model import TowerFeatures
from cytobench.encoders.timm_vit import TimmFeatures
from cytobench.registry import Registry

CARDS = Registry.load(entry_points=False).backbones
NETWORKS = [name for name, card in CARDS.items() if card.preprocess is not None]
WANTED = (
    "cytofm-ucla", "ibot-imagenet-vits16", "ibot-imagenet-vitb16", "ibot-imagenet-vitl16", "uni", "uni2-h",
    "dino-vits16", "dino-vitb16", "dinov2-vits14", "dinov2-vitb14", "dinobloom-s", "dinobloom-b",
    "clip-vitb16",
    "biomedclip", "imagenet-vits16", "random-vit-tiny",
    "phikon", "phikon-v2", "plip", "pubmedclip", "quiltnet", "conch",
    "unicas", "crown", "smart-ccs", "reddino-small",
    "reddino-base", "reddino-large", "virchow2", "h-optimus-0", "prov-gigapath", "gpfm",
)  # fmt: skip
UNPINNED = ("pubmedclip", "unicas", "crown", "reddino-small", "reddino-base", "reddino-large")
"""Cards of which no commit is known; they say so, and the first download's digest is kept."""

ASSUMED = {"quiltnet": "ViT-B-32"}
"""Cards whose architecture is read from the hub, and the network that they are said to be."""


def test_the_promised_backbones_are_there() -> None:
    assert set(WANTED) <= set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_whose_it_is_and_what_it_has_seen(name: str) -> None:
    card = CARDS[name]
    assert card.licence
    assert card.citation
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", data_set) for data_set in card.pretrained_on)
    if card.weights not in ("random", "none") and not card.weights.startswith("shipped:"):
        assert card.url
        assert card.pretrained_on
    if card.gated:
        assert card.licence_url


@pytest.mark.parametrize("name", CARDS)
def test_weights_on_a_hub_are_pinned_to_a_commit_and_a_file(name: str) -> None:
    weights = CARDS[name].weights
    if name in UNPINNED:
        assert re.fullmatch(r"hf-hub:[\w.-]+/[\w.-]+:[\w.-]+", weights)
        assert "No commit is known here" in CARDS[name].notes
    elif weights.startswith("hf-hub:"):
        assert re.fullmatch(r"hf-hub:[\w.-]+/[\w.-]+@[0-9a-f]{40}:[\w.-]+", weights)


def _features(card: BackboneCard) -> torch.nn.Module:
    if card.loader == "cytobench.encoders.conch:build":
        return conch.build(card, None)
    if card.loader == "open_clip":
        return TowerFeatures(open_clip_model.create(_described(card))[0], card.pooling)
    create = ibot.create if card.loader == "ibot" else timm_vit.create
    return TimmFeatures(create(card), card.pooling)


def _described(card: BackboneCard) -> BackboneCard:
    """Describe a tower that only its publishers can: as open_clip describes the one that its title names."""
    if not is_published(card):
        return card
    described = dict(open_clip.get_model_config(ASSUMED[card.name]))
    described.pop("text_cfg")
    return card.model_copy(update={"arch_options": {"quick_gelu": False, **described}})


def test_a_published_architecture_is_pinned_to_the_commit_of_the_weights() -> None:
    cards = [card for card in CARDS.values() if is_published(card)]
    assert {card.name for card in cards} == set(ASSUMED)
    for card in cards:
        assert card.arch.rpartition(":")[0] == card.weights.rpartition(":")[0]
        assert card.arch.endswith(":open_clip_config.json")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_a_card_gives_features_of_its_length(name: str) -> None:
    card = CARDS[name]
    assert card.preprocess is not None
    size = card.preprocess.size
    with torch.device("meta"):  # shapes without memory or arithmetic, so that even ViT-H takes no time
        features = _features(card).eval()(torch.empty(2, 3, size, size))
    assert features.shape == (2, card.dim)
