"""timm backbones: weights in every published layout load strictly, and pooling is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_cards import IMAGENET, Heard, crops, load_tiny, tiny_card

from cytobench.encoders import random_weights, timm_vit
from cytobench.errors import EncoderError, WeightsError
from cytobench.progress import SilentReporter

UNI2 = {
    "img_size": 28, "patch_size": 14, "depth": 2, "num_heads": 2, "embed_dim": 48, "mlp_ratio": 5.33334,
    "init_values": 1e-5, "no_embed_class": True, "reg_tokens": 8, "mlp_layer": "SwiGLUPacked",
    "act_layer": "SiLU",
    "dynamic_img_size": True,
}  # fmt: skip
UNI2_CARD: dict[str, Any] = {
    "arch": "vit_giant_patch14_224", "arch_options": UNI2, "dim": 48, "preprocess": {"size": 28, **IMAGENET},
}  # fmt: skip
DINOV2_CARD: dict[str, Any] = {
    "arch": "vit_small_patch14_dinov2", "arch_options": {"img_size": 28, "depth": 1}, "dim": 384,
    "preprocess": {"size": 28, **IMAGENET},
}  # fmt: skip


def _random_state(seed: int = 1, **changes: Any) -> dict[str, torch.Tensor]:
    model = timm_vit.create(tiny_card(**changes))
    random_weights.fill(model, seed)
    return {key: value.clone() for key, value in model.state_dict().items()}


def _loaded(card: Any, path: Path, reporter: Any = None) -> dict[str, torch.Tensor]:
    built = timm_vit.build(card, path, reporter or SilentReporter())
    state: dict[str, torch.Tensor] = built.module.model.state_dict()
    return state


@pytest.mark.parametrize("changes", [{}, UNI2_CARD, DINOV2_CARD], ids=["vit", "uni2-h", "dinov2"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_survive_a_round_trip(tmp_path: Path, changes: dict[str, Any], suffix: str) -> None:
    state, path = _random_state(**changes), tmp_path / f"model.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    loaded = _loaded(tiny_card(weights=str(path), **changes), path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_published_classifier_is_dropped(tmp_path: Path) -> None:
    state = _random_state()
    torch.save(
        {**state, "head.weight": torch.ones(1000, 192), "head.bias": torch.ones(1000)}, tmp_path / "model.bin"
    )
    loaded = _loaded(tiny_card(), tmp_path / "model.bin")
    assert torch.equal(loaded["pos_embed"], state["pos_embed"])


def test_dinov2_in_its_authors_layout_is_resampled_as_timm_does(tmp_path: Path) -> None:
    larger = DINOV2_CARD | {
        "arch_options": {"img_size": 70, "depth": 1},
        "preprocess": {"size": 70, **IMAGENET},
    }
    state = _random_state(**larger)
    torch.save({**state, "mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2_vits14_pretrain.pth")
    heard = Heard()
    loaded = _loaded(tiny_card(**DINOV2_CARD), tmp_path / "dinov2_vits14_pretrain.pth", heard)
    expected = timm.layers.resample_abs_pos_embed(state["pos_embed"], new_size=[2, 2])
    assert torch.equal(loaded["pos_embed"], expected)
    assert torch.equal(loaded["blocks.0.ls1.gamma"], state["blocks.0.ls1.gamma"])
    assert "from 26 to 5 tokens" in heard.said[0]


@pytest.mark.parametrize("layout", ["hub", "zenodo"])
def test_dinobloom_loads_with_its_own_position_embeddings(tmp_path: Path, layout: str) -> None:
    state = _random_state(**DINOV2_CARD)
    published = {**state, "mask_token": torch.zeros(1, 384)}
    heads = {"dino_head.mlp.0.weight": torch.ones(2, 2), "ibot_head.last_layer.weight_g": torch.ones(2, 1)}
    whole = {"teacher": {f"backbone.{key}": value for key, value in published.items()} | heads}
    torch.save(published if layout == "hub" else whole, tmp_path / "DinoBloom-S.pth")
    loaded = _loaded(tiny_card(**DINOV2_CARD), tmp_path / "DinoBloom-S.pth")
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_the_mean_leaves_class_token_and_registers_out(home: Path) -> None:
    card = tiny_card(**UNI2_CARD, pooling="mean")
    encoder = load_tiny(home, card)
    batch = crops(2, size=28)
    model: Any = timm_vit.create(card).eval()
    random_weights.fill(model, card.seed)
    mean, std = (torch.tensor(IMAGENET[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        tokens = model.forward_features((torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - mean) / std)
    assert tokens.shape[1] == 1 + 8 + 4
    np.testing.assert_allclose(encoder.encode(batch), tokens[:, -4:].mean(1).numpy(), atol=1e-5)


def test_a_convolutional_network_comes_with_its_own_head(home: Path) -> None:
    changes = {"arch": "resnet10t", "arch_options": {}, "preprocess": {"size": 64, **IMAGENET}, "dim": 512}
    features = load_tiny(home, tiny_card(**changes, pooling="head")).encode(crops(2, size=64))
    assert features.shape == (2, 512)
    with pytest.raises(EncoderError, match='pooling = "head"'):
        load_tiny(home, tiny_card(**changes, pooling="cls"))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown architecture": ({"arch": "vit_tyni_patch16_224"}, "did you mean vit_tiny_patch16_224"),
    "unknown option": ({"arch_options": {"dept": 2}}, "arch_options"),
    "unknown layer": ({"arch_options": {"act_layer": "os.system"}}, "act_layer = 'os.system'"),
    "wrong dim": ({"dim": 384}, "gives 192; correct dim"),
    "image size of another model": (
        {"arch": "vit_small_patch14_dinov2", "arch_options": {"depth": 1}, "dim": 384},
        "set arch_options.img_size = 224",
    ),
    "normalised after pooling": (
        {
            "arch": "vit_small_patch16_36x1_224",
            "arch_options": {"depth": 1, "global_pool": "avg"},
            "dim": 384,
        },
        'set pooling = "head"',
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistaken_card_gets_one_clear_sentence(home: Path, case: str) -> None:
    changes, words = MISTAKES[case]
    with pytest.raises(EncoderError) as caught:
        load_tiny(home, tiny_card(**changes))
    assert words in str(caught.value)
    assert str(caught.value).startswith("tiny: ")


def test_weights_of_another_width_do_not_load(home: Path, tmp_path: Path) -> None:
    torch.save(_random_state(), tmp_path / "tiny.bin")
    card = tiny_card(arch="vit_small_patch16_224", dim=384, weights=str(tmp_path / "tiny.bin"))
    with pytest.raises(WeightsError) as caught:
        load_tiny(home, card)
    assert "does not fit the architecture 'vit_small_patch16_224'" in str(caught.value)
    assert "instead of" in str(caught.value)
