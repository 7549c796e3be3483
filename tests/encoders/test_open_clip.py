"""CLIP-like backbones: the image tower alone, from whole published checkpoints, without the text side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from tiny_cards import crops, load_tiny, tiny_card

from cytobench.cards import BackboneCard
from cytobench.encoders import open_clip_model, random_weights
from cytobench.errors import EncoderError, WeightsError

CLIP_STATISTICS: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
VISION = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}


def _card(**changes: Any) -> BackboneCard:
    return tiny_card(
        **{
            "loader": "open_clip",
            "arch": "tiny-clip",
            "arch_options": {"embed_dim": 24, "vision_cfg": VISION, "quick_gelu": True},
            "preprocess": {"size": 64, **CLIP_STATISTICS},
            "dim": 64,
        }
        | changes
    )


@pytest.fixture
def clip() -> CLIP:
    """A whole CLIP model, random but fixed, as its authors would publish it."""
    text = CLIPTextCfg(layers=1, width=32, heads=2, vocab_size=60, context_length=8)
    model = CLIP(24, CLIPVisionCfg(**VISION), text, quick_gelu=True).eval()
    random_weights.fill(model, seed=3)
    return model


def _pixels(batch: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(CLIP_STATISTICS[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - mean) / std


def test_the_head_is_clips_image_embedding(home: Path, tmp_path: Path, clip: CLIP) -> None:
    torch.save(clip.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    card = _card(weights=str(tmp_path / "open_clip_pytorch_model.bin"), pooling="head", dim=24)
    batch = crops(2, size=64)
    with torch.no_grad():
        expected = clip.encode_image(_pixels(batch)).numpy()
    np.testing.assert_allclose(load_tiny(home, card).encode(batch), expected, atol=1e-6)


def test_the_class_token_is_what_the_projection_is_applied_to(home: Path, tmp_path: Path, clip: CLIP) -> None:
    path, batch = tmp_path / "clip.safetensors", crops(2, size=64)
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, path)
    features = load_tiny(home, _card(weights=str(path))).encode(batch)
    with torch.no_grad():
        embedding = clip.encode_image(_pixels(batch)).numpy()
    np.testing.assert_allclose(features @ clip.visual.proj.detach().numpy(), embedding, atol=1e-6)


def test_quickgelu_changes_the_features(home: Path, tmp_path: Path, clip: CLIP) -> None:
    torch.save(clip.state_dict(), tmp_path / "clip.bin")
    quick = _card(weights=str(tmp_path / "clip.bin"))
    plain = _card(weights=str(tmp_path / "clip.bin"), arch_options={"embed_dim": 24, "vision_cfg": VISION})
    one, other = (load_tiny(home, card) for card in (quick, plain))
    assert np.abs(one.encode(crops(1, size=64)) - other.encode(crops(1, size=64))).max() > 1e-4
    assert one.identity != other.identity


def test_biomedclip_needs_no_text_library(home: Path, tmp_path: Path) -> None:
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    changes: dict[str, Any] = {
        "arch": "biomedclip",
        "arch_options": {"embed_dim": 24, "vision_cfg": vision},
        "preprocess": {"size": 160, **CLIP_STATISTICS},
    }
    tower, _ = open_clip_model.create(_card(**changes, pooling="head", dim=24))
    random_weights.fill(tower, seed=4)
    published = {f"visual.{key}": value for key, value in tower.state_dict().items()}
    published |= {
        "text.transformer.embeddings.position_ids": torch.arange(8),
        "logit_scale": torch.tensor(1.0),
    }
    torch.save(published, tmp_path / "open_clip_pytorch_model.bin")
    weights = str(tmp_path / "open_clip_pytorch_model.bin")
    batch = crops(2, size=160)
    embedding = load_tiny(home, _card(**changes, weights=weights, pooling="head", dim=24)).encode(batch)
    tokens = load_tiny(home, _card(**changes, weights=weights, dim=64)).encode(batch)
    np.testing.assert_allclose(tokens @ published["visual.head.proj.weight"].numpy().T, embedding, atol=1e-6)
    assert "transformers" not in sys.modules


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown model": ({"arch": "ViT-B-61", "arch_options": {}}, "did you mean"),
    "unknown option": ({"arch_options": {"width": 3}}, "arch_options width"),
    "another image size": ({"preprocess": {"size": 96, **CLIP_STATISTICS}}, "takes images of 64 pixels"),
    "no tokens to pool": ({"arch": "RN50", "arch_options": {}, "preprocess": {"size": 224,
                          **CLIP_STATISTICS}}, 'pooling = "head"'),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistaken_card_gets_one_clear_sentence(home: Path, case: str) -> None:
    changes, words = MISTAKES[case]
    with pytest.raises(EncoderError) as caught:
        load_tiny(home, _card(**changes))
    assert words in str(caught.value)


def test_weights_of_another_model_do_not_load(home: Path, tmp_path: Path, clip: CLIP) -> None:
    torch.save(clip.state_dict(), tmp_path / "clip.bin")
    deeper = {"embed_dim": 24, "vision_cfg": VISION | {"layers": 3}}
    with pytest.raises(WeightsError, match=r"missing \(transformer\.resblocks\.2"):
        load_tiny(home, _card(weights=str(tmp_path / "clip.bin"), arch_options=deeper))
