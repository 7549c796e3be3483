"""Attention of networks: the same features, rows that sum to 1, maps the right way up, rollout by hand."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cards import IMAGENET, crops, load_tiny, tiny_card

from cytobench.cards import BackboneCard
from cytobench.encoders import Encoder
from cytobench.encoders.attention import attention_of, has_attention, rollout, why_no_attention
from cytobench.errors import UsageError

SMALL: dict[str, Any] = {
    "arch_options": {"img_size": 64, "depth": 3},
    "preprocess": {"size": 64, **IMAGENET},
}
REGISTERS: dict[str, Any] = {
    "arch": "vit_giant_patch14_224",
    "arch_options": {
        "img_size": 56, "patch_size": 14, "depth": 2, "num_heads": 2, "embed_dim": 48, "init_values": 1e-5,
        "no_embed_class": True, "reg_tokens": 4, "dynamic_img_size": True,
    },
    "dim": 48,
    "preprocess": {"size": 56, **IMAGENET},
}  # fmt: skip
CLASSLESS: dict[str, Any] = {
    "arch_options": {"img_size": 64, "depth": 2, "class_token": False, "global_pool": "avg"},
    "preprocess": {"size": 64, **IMAGENET},
    "pooling": "head",
}
ROTARY: dict[str, Any] = {
    "arch": "eva02_tiny_patch14_224",
    "arch_options": {"img_size": 56, "depth": 2},
    "preprocess": {"size": 56, **IMAGENET},
    "pooling": "head",
}
CLIP: dict[str, Any] = {
    "loader": "open_clip",
    "arch": "tiny-clip",
    "arch_options": {
        "embed_dim": 24,
        "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64},
    },
    "preprocess": {"size": 64, **IMAGENET},
    "dim": 24,
    "pooling": "head",
}
CLIP_OF_TIMM: dict[str, Any] = CLIP | {
    "arch_options": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
    },
    "preprocess": {"size": 224, **IMAGENET},
}
KINDS = {
    "vit": SMALL, "registers": REGISTERS, "no class token": CLASSLESS, "rotary": ROTARY, "clip": CLIP,
    "clip of timm": CLIP_OF_TIMM, "ibot": SMALL | {"loader": "ibot"},
}  # fmt: skip
PREFIX = {"registers": 5, "no class token": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_attention_comes_with_the_plain_features_and_sums_to_1(home: Path, kind: str) -> None:
    encoder = load_tiny(home, tiny_card(**KINDS[kind]))
    crop = crops(1, size=70)[0]
    plain = encoder.encode(encoder.prepare(crop)[None])[0]
    found = attention_of(encoder, crop)
    np.testing.assert_allclose(found.features, plain, atol=1e-5)
    assert (found.seen == encoder.prepare(crop)).all()
    side = 14 if kind == "clip of timm" else 4
    assert found.rollout.shape == found.heads.shape[1:] == (side, side)
    np.testing.assert_allclose(found.heads.sum((1, 2)) + found.to_prefix, 1, atol=1e-5)
    assert found.rollout.sum() + found.rollout_to_prefix == pytest.approx(1, abs=1e-5)
    assert found.heads.dtype == found.rollout.dtype == np.float32
    assert (found.to_prefix > 0).all() == (PREFIX.get(kind, 1) > 0)
    assert found.asks == ("mean over patches" if kind == "no class token" else "class token")


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_half_precision_is_rounded_not_refused(home: Path, kind: str) -> None:
    crop = crops(1, size=64)[0]
    whole = attention_of(load_tiny(home, tiny_card(**KINDS[kind])), crop)
    half = attention_of(load_tiny(home, tiny_card(**KINDS[kind]), precision="bf16"), crop)
    np.testing.assert_allclose(half.heads, whole.heads, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_left_as_it_was(home: Path, kind: str) -> None:
    encoder = load_tiny(home, tiny_card(**KINDS[kind]))
    batch = encoder.prepare(crops(1, size=70)[0])[None]
    plain = encoder.encode(batch)
    attention_of(encoder, crops(1, size=70)[0])
    assert (encoder.encode(batch) == plain).all()
    module = encoder.module  # type: ignore[attr-defined]
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


def test_images_of_other_threads_are_not_mixed_in(home: Path) -> None:
    encoder = load_tiny(home, tiny_card(**SMALL))
    pictures = crops(6, size=64)
    alone = [attention_of(encoder, one).heads for one in pictures]
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        encoder.encode(pictures[::-1][:2])
        found[k] = attention_of(encoder, pictures[k]).heads

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, heads in enumerate(alone):
        np.testing.assert_allclose(found[k], heads, atol=1e-6)


def _seeker(home: Path) -> Encoder:
    """A ViT of one layer whose every token looks for the brightest patch."""
    card = tiny_card(arch_options={"img_size": 64, "depth": 1}, preprocess=SMALL["preprocess"])
    encoder = load_tiny(home, card)
    model = encoder.module.model  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in (model.pos_embed, model.cls_token, model.patch_embed.proj.bias):
            parameter.zero_()
        model.cls_token[0, 0, 1] = 1.0  # something for its norm to work on
        model.patch_embed.proj.weight.zero_()
        model.patch_embed.proj.weight[0] = 0.1  # the first channel is the brightness
        qkv, width = model.blocks[0].attn.qkv, 192
        qkv.weight.zero_()
        qkv.bias.zero_()
        qkv.bias[[0, 64, 128]] = 30.0  # each head's query
        for head in range(3):
            qkv.weight[width + 64 * head, 0] = 1.0  # its key: the brightness
    return encoder


def test_a_planted_patch_is_found_at_its_place(home: Path) -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[16:32, 32:48] = 255
    found = attention_of(_seeker(home), crop)
    for head in found.heads:
        assert np.unravel_index(head.argmax(), head.shape) == (1, 2)
        assert head.max() > 0.99
    assert np.unravel_index(found.rollout.argmax(), found.rollout.shape) == (1, 2)
    assert found.rollout.max() == pytest.approx(0.5, abs=0.01)  # the other half is the residual


def test_rollout_of_even_attention_is_even() -> None:
    found = rollout([np.full((3, 5, 5), 0.2, np.float32)] * 4)
    off = found[~np.eye(5, dtype=bool)]
    np.testing.assert_allclose(off, off[0], atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_rollout_of_two_layers_by_hand() -> None:
    first = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]], np.float32)  # mean: all 0.5
    second = np.array([[[0.2, 0.8], [0.0, 1.0]]], np.float32)
    # with the residual: first [[.75, .25], [.25, .75]], second [[.6, .4], [0, 1]]; second @ first
    expected = [[0.6 * 0.75 + 0.4 * 0.25, 0.6 * 0.25 + 0.4 * 0.75], [0.25, 0.75]]
    np.testing.assert_allclose(rollout([first, second]), expected, atol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "resnet10t", "arch_options": {}, "dim": 512, "pooling": "head"},
        {"arch": "swin_tiny_patch4_window7_224", "arch_options": {"depths": (1, 1, 1, 1)}, "dim": 768,
         "pooling": "head"},
    ],
    ids=["cnn", "windows"],
)  # fmt: skip
def test_networks_without_such_attention_are_refused_in_words(home: Path, changes: dict[str, Any]) -> None:
    encoder = load_tiny(home, tiny_card(**changes))
    assert not has_attention(encoder)
    with pytest.raises(UsageError, match=r"tiny has no attention .* vision transformer"):
        attention_of(encoder, crops(1)[0])


def test_what_is_no_network_is_known_from_its_card(home: Path) -> None:
    shared = {"weights": "none", "pooling": "none", "preprocess": None, "arch_options": {}}
    drawn = tiny_card(loader="handcrafted", arch="colour-statistics", dim=16, **shared)
    blind: BackboneCard = tiny_card(loader="null", arch="", dim=0, **shared)
    assert "handcrafted" in why_no_attention(drawn)
    assert "without looking" in why_no_attention(blind)
    assert why_no_attention(tiny_card()) == ""
