"""Checkpoints of other libraries: their own arithmetic, written out, and what our loaders make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import AttentionalPooler
from safetensors.torch import save_file
from tiny_cards import IMAGENET, crops, load_tiny, tiny_card
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch itself gives it

from cytobench.encoders import layouts
from cytobench.errors import WeightsError

WIDTH, HEADS, LAYERS, PATCH, SIZE, HIDDEN = 32, 2, 2, 8, 16, 128
TOKENS = (SIZE // PATCH) ** 2 + 1
State = dict[str, torch.Tensor]


def _random(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    """Numbers large enough that a layer left out, or two swapped, changes the features."""
    generator = torch.Generator().manual_seed(seed)
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def _linear(name: str, out: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _pixels(batch: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    shift, scale = (torch.tensor(value).view(1, 3, 1, 1) for value in (mean, std))
    return (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - shift) / scale


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Multi-head attention, head by head."""
    depth = WIDTH // HEADS
    heads = []
    for h in range(HEADS):
        part = slice(h * depth, (h + 1) * depth)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / depth**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    return torch.cat(heads, -1)


# transformers' ViTModel (Phikon) and Dinov2Model (Phikon-v2)


def hf_vit(*, dinov2: bool) -> State:
    """A random model under the names of transformers' ViTModel or Dinov2Model."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, TOKENS, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        **_norm("layernorm"),
    }
    if dinov2:
        shapes["embeddings.mask_token"] = (1, WIDTH)
    else:
        shapes |= _linear("pooler.dense", WIDTH, WIDTH)
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.attention.{name}", WIDTH, WIDTH)
        shapes |= _linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        if dinov2:
            shapes |= _norm(f"{layer}.norm1") | _norm(f"{layer}.norm2")
            shapes |= {f"{layer}.layer_scale{k}.lambda1": (WIDTH,) for k in (1, 2)}
            shapes |= _linear(f"{layer}.mlp.fc1", HIDDEN, WIDTH) | _linear(f"{layer}.mlp.fc2", WIDTH, HIDDEN)
        else:
            shapes |= _norm(f"{layer}.layernorm_before") | _norm(f"{layer}.layernorm_after")
            shapes |= _linear(f"{layer}.intermediate.dense", HIDDEN, WIDTH)
            shapes |= _linear(f"{layer}.output.dense", WIDTH, HIDDEN)
    return _random(shapes)


def hf_vit_features(w: State, pixels: torch.Tensor, *, dinov2: bool) -> torch.Tensor:
    """last_hidden_state[:, 0], computed from the published names."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    patches = "embeddings.patch_embeddings.projection"
    x = F.conv2d(pixels, w[f"{patches}.weight"], w[f"{patches}.bias"], stride=PATCH).flatten(2).mT
    x = torch.cat([w["embeddings.cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + w["embeddings.position_embeddings"]
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        first, second = ("norm1", "norm2") if dinov2 else ("layernorm_before", "layernorm_after")
        inner, outer = ("mlp.fc1", "mlp.fc2") if dinov2 else ("intermediate.dense", "output.dense")
        h = norm(x, f"{layer}.{first}")
        q, k, v = (linear(h, f"{layer}.attention.attention.{name}") for name in ("query", "key", "value"))
        h = linear(_attend(q, k, v), f"{layer}.attention.output.dense")
        x = x + h * (w[f"{layer}.layer_scale1.lambda1"] if dinov2 else 1.0)
        h = linear(F.gelu(linear(norm(x, f"{layer}.{second}"), f"{layer}.{inner}")), f"{layer}.{outer}")
        x = x + h * (w[f"{layer}.layer_scale2.lambda1"] if dinov2 else 1.0)
    return norm(x, "layernorm")[:, 0]


def _timm_card(path: Path, **options: Any) -> Any:
    arch = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS}
    return tiny_card(
        arch="vit_base_patch16_224",
        arch_options=arch | options,
        dim=WIDTH,
        weights=str(path),
        preprocess={"size": SIZE, **IMAGENET},
    )


@pytest.mark.parametrize("outer", ["", "vit."])
@pytest.mark.parametrize("dinov2", [False, True], ids=["ViTModel", "Dinov2Model"])
def test_a_vision_transformer_of_transformers_gives_its_own_features(
    home: Path, tmp_path: Path, dinov2: bool, outer: str
) -> None:
    state, path = hf_vit(dinov2=dinov2), tmp_path / "model.safetensors"
    save_file({outer + key: value for key, value in state.items()}, path)
    batch = crops(3, size=SIZE)
    card = _timm_card(path, **({"init_values": 1e-5} if dinov2 else {}))
    expected = hf_vit_features(state, _pixels(batch, IMAGENET["mean"], IMAGENET["std"]), dinov2=dinov2)
    np.testing.assert_allclose(load_tiny(home, card).encode(batch), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(
    "key",
    [
        "encoder.layer.1.attention.attention.key.bias",
        "encoder.layer.0.output.dense.weight",
        "embeddings.cls_token",
    ],
)
def test_a_checkpoint_that_lacks_a_weight_is_refused(home: Path, tmp_path: Path, key: str) -> None:
    state = hf_vit(dinov2=False)
    state.pop(key)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        load_tiny(home, _timm_card(tmp_path / "model.safetensors"))


def test_layer_scale_is_never_dropped_in_silence(home: Path, tmp_path: Path) -> None:
    save_file(hf_vit(dinov2=True), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected \(blocks\.0\.ls1\.gamma"):
        load_tiny(home, _timm_card(tmp_path / "model.safetensors"))


def test_a_key_that_no_rule_knows_is_named(home: Path, tmp_path: Path) -> None:
    state = hf_vit(dinov2=False) | {"encoder.layer.0.adapter.weight": torch.zeros(2)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"encoder\.layer\.0\.adapter\.weight"):
        load_tiny(home, _timm_card(tmp_path / "model.safetensors"))


# transformers' CLIPModel (PLIP, PubMedCLIP)

EMBED = 24
CLIP_STATISTICS: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
VISION = {
    "layers": LAYERS,
    "width": WIDTH,
    "head_width": WIDTH // HEADS,
    "patch_size": PATCH,
    "image_size": SIZE,
}


def hf_clip() -> State:
    """A random model under the names of transformers' CLIPModel, with some of its text side."""
    vision = "vision_model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{vision}.embeddings.class_embedding": (WIDTH,),
        f"{vision}.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        f"{vision}.embeddings.position_embedding.weight": (TOKENS, WIDTH),
        **_norm(f"{vision}.pre_layrnorm"),
        **_norm(f"{vision}.post_layernorm"),
        "visual_projection.weight": (EMBED, WIDTH),
        "text_projection.weight": (EMBED, 16),
        "text_model.embeddings.token_embedding.weight": (9, 16),
        "logit_scale": (),
    }
    for i in range(LAYERS):
        layer = f"{vision}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{name}", WIDTH, WIDTH)
        shapes |= _norm(f"{layer}.layer_norm1") | _norm(f"{layer}.layer_norm2")
        shapes |= _linear(f"{layer}.mlp.fc1", HIDDEN, WIDTH) | _linear(f"{layer}.mlp.fc2", WIDTH, HIDDEN)
    return _random(shapes) | {f"{vision}.embeddings.position_ids": torch.arange(TOKENS)[None]}


def hf_clip_features(w: State, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The class token after the last norm, and get_image_features, computed from the published names."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, w[f"vision_model.{name}.weight"], w[f"vision_model.{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(
            x, (WIDTH,), w[f"vision_model.{name}.weight"], w[f"vision_model.{name}.bias"], 1e-5
        )

    x = F.conv2d(pixels, w["vision_model.embeddings.patch_embedding.weight"], stride=PATCH).flatten(2).mT
    x = torch.cat([w["vision_model.embeddings.class_embedding"].expand(len(x), 1, -1), x], 1)
    x = norm(x + w["vision_model.embeddings.position_embedding.weight"], "pre_layrnorm")
    for i in range(LAYERS):
        layer = f"encoder.layers.{i}"
        h = norm(x, f"{layer}.layer_norm1")
        q, k, v = (linear(h, f"{layer}.self_attn.{name}_proj") for name in "qkv")
        x = x + linear(_attend(q, k, v), f"{layer}.self_attn.out_proj")
        h = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(h * torch.sigmoid(1.702 * h), f"{layer}.mlp.fc2")
    pooled = norm(x[:, 0], "post_layernorm")
    return pooled, pooled @ w["visual_projection.weight"].T


@pytest.mark.parametrize(("pooling", "dim"), [("cls", WIDTH), ("head", EMBED)])
def test_a_clip_of_transformers_gives_its_own_features(
    home: Path, tmp_path: Path, pooling: str, dim: int
) -> None:
    state, batch = hf_clip(), crops(3, size=SIZE)
    torch.save(state, tmp_path / "pytorch_model.bin")
    card = tiny_card(
        loader="open_clip",
        arch="tiny-clip",
        arch_options={"embed_dim": EMBED, "vision_cfg": VISION, "quick_gelu": True},
        weights=str(tmp_path / "pytorch_model.bin"),
        preprocess={"size": SIZE, **CLIP_STATISTICS},
        pooling=pooling,
        dim=dim,
    )
    pixels = _pixels(batch, CLIP_STATISTICS["mean"], CLIP_STATISTICS["std"])
    expected = hf_clip_features(state, pixels)[pooling == "head"]
    np.testing.assert_allclose(load_tiny(home, card).encode(batch), expected.numpy(), atol=2e-5)

    state.pop("vision_model.encoder.layers.0.self_attn.v_proj.bias")
    torch.save(state, tmp_path / "less.bin")
    with pytest.raises(WeightsError, match="missing"):
        load_tiny(home, card.model_copy(update={"weights": str(tmp_path / "less.bin")}))


# DINOv2 in chunks, with SwiGLU under its own names (Smart-CCS, GPFM, CROWN, UniCAS)


def test_chunks_and_swiglu_layers_of_dinov2_get_timms_names() -> None:
    state = {
        "blocks.0.0.norm1.weight": torch.zeros(1),
        "blocks.3.23.mlp.w12.bias": torch.zeros(1),
        "blocks.3.23.mlp.w3.weight": torch.zeros(1),
        "blocks.7.mlp.fc1.weight": torch.zeros(1),
        "cls_token": torch.zeros(1),
        "patch_embed.proj.weight": torch.zeros(1),
    }
    assert list(layouts.as_timm(state)) == [
        "blocks.0.norm1.weight",
        "blocks.23.mlp.fc1.bias",
        "blocks.23.mlp.fc2.weight",
        "blocks.7.mlp.fc1.weight",
        "cls_token",
        "patch_embed.proj.weight",
    ]


def test_blocks_of_networks_that_are_no_transformers_keep_their_names() -> None:
    state = {"conv_stem.weight": torch.zeros(1), "blocks.1.0.conv_dw.weight": torch.zeros(1)}
    assert layouts.as_timm(state) == state


def test_a_teacher_in_chunks_with_swiglu_gives_its_own_features(home: Path, tmp_path: Path) -> None:
    """One block in DINOv2's own arithmetic: w12 makes gate and value, in this order; w3 brings them back."""
    inner = 48
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, TOKENS, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        **_norm("norm"),
        **_norm("blocks.0.0.norm1"),
        **_norm("blocks.0.0.norm2"),
        **_linear("blocks.0.0.attn.qkv", 3 * WIDTH, WIDTH),
        **_linear("blocks.0.0.attn.proj", WIDTH, WIDTH),
        **_linear("blocks.0.0.mlp.w12", 2 * inner, WIDTH),
        **_linear("blocks.0.0.mlp.w3", WIDTH, inner),
        "blocks.0.0.ls1.gamma": (WIDTH,),
        "blocks.0.0.ls2.gamma": (WIDTH,),
    }
    w = _random(shapes, seed=5)
    teacher = {f"backbone.{key}": value for key, value in w.items()} | {
        "dino_head.mlp.0.weight": torch.ones(2)
    }
    torch.save({"teacher": teacher, "student": {}}, tmp_path / "teacher.pth")
    batch = crops(2, size=SIZE)
    card = _timm_card(
        tmp_path / "teacher.pth",
        depth=1,
        init_values=1.0,
        mlp_ratio=2 * inner / WIDTH,
        mlp_layer="SwiGLUPacked",
        act_layer="SiLU",
    )
    x = _pixels(batch, IMAGENET["mean"], IMAGENET["std"])
    x = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
    b = "blocks.0.0"
    h = F.layer_norm(x, (WIDTH,), w[f"{b}.norm1.weight"], w[f"{b}.norm1.bias"], 1e-6)
    q, k, v = F.linear(h, w[f"{b}.attn.qkv.weight"], w[f"{b}.attn.qkv.bias"]).chunk(3, -1)
    h = F.linear(_attend(q, k, v), w[f"{b}.attn.proj.weight"], w[f"{b}.attn.proj.bias"])
    x = x + h * w[f"{b}.ls1.gamma"]
    h = F.layer_norm(x, (WIDTH,), w[f"{b}.norm2.weight"], w[f"{b}.norm2.bias"], 1e-6)
    gate, value = F.linear(h, w[f"{b}.mlp.w12.weight"], w[f"{b}.mlp.w12.bias"]).chunk(2, -1)
    h = F.linear(F.silu(gate) * value, w[f"{b}.mlp.w3.weight"], w[f"{b}.mlp.w3.bias"])
    x = x + h * w[f"{b}.ls2.gamma"]
    expected = F.layer_norm(x, (WIDTH,), w["norm.weight"], w["norm.bias"], 1e-6)[:, 0]
    np.testing.assert_allclose(load_tiny(home, card).encode(batch), expected.numpy(), atol=2e-5)


# CONCH


def test_conch_pools_its_tokens_by_attention_and_drops_the_caption_head(home: Path, tmp_path: Path) -> None:
    dim = 16
    torch.manual_seed(0)
    vit = hf_vit(dinov2=False)
    pooler, caption = AttentionalPooler(dim, WIDTH, 8, 1), AttentionalPooler(dim, WIDTH, 8, 4)
    trunk = {f"visual.trunk.{key}": value for key, value in layouts.as_timm(vit).items()}
    norm = torch.nn.LayerNorm(dim)
    torch.nn.init.normal_(norm.weight)
    state = trunk | {
        **{f"visual.attn_pool_contrast.{key}": value for key, value in pooler.state_dict().items()},
        **{f"visual.attn_pool_caption.{key}": value for key, value in caption.state_dict().items()},
        "visual.ln_contrast.weight": norm.weight.detach(),
        "visual.ln_contrast.bias": norm.bias.detach(),
        "visual.ln_caption.weight": torch.ones(dim),
        "visual.proj_contrast": torch.ones(dim, dim),
        "text.token_embedding.weight": torch.ones(3, 4),
        "logit_scale": torch.tensor(1.0),
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    card = _timm_card(tmp_path / "pytorch_model.bin").model_copy(
        update={"loader": "cytobench.encoders.conch:build", "dim": dim, "pooling": "head"}
    )
    batch = crops(2, size=SIZE)
    encoder = load_tiny(home, card)
    with torch.no_grad():
        tokens: Any = encoder.module.trunk.forward_features(  # type: ignore[attr-defined]
            _pixels(batch, IMAGENET["mean"], IMAGENET["std"])
        )
        plain = hf_vit_features(vit, _pixels(batch, IMAGENET["mean"], IMAGENET["std"]), dinov2=False)
        np.testing.assert_allclose(tokens[:, 0].numpy(), plain.numpy(), atol=2e-5)
        keys = pooler.ln_k(tokens)
        query = pooler.ln_q(pooler.query).expand(len(tokens), 1, -1)
        expected = norm(pooler.attn(query, keys, keys, need_weights=False)[0][:, 0])
    np.testing.assert_allclose(encoder.encode(batch), expected.numpy(), atol=2e-5)

    torch.save(state | {"visual.trunk.extra": torch.ones(1)}, tmp_path / "more.bin")
    with pytest.raises(WeightsError, match=r"unexpected \(trunk\.extra\)"):
        load_tiny(home, card.model_copy(update={"weights": str(tmp_path / "more.bin")}))
