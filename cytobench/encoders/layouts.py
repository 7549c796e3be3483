"""Weights in the layouts of other libraries, as timm and open_clip name them: keys alone, never values.

* `transformers` vision transformers (`ViTModel`: Phikon; `Dinov2Model`: Phikon-v2), to timm's;
* `transformers` CLIP (`CLIPModel`: PLIP, PubMedCLIP), to open_clip's image tower;
* DINOv2 checkpoints whose blocks lie in chunks (Smart-CCS, CROWN, GPFM), or whose SwiGLU layers keep their
  own names, to timm's.

A key that no rule knows is left as it is, so that strict loading names it. Nothing is guessed: what is not
in one of these layouts passes through untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from cytobench.encoders.checkpoint import State

Rules = Sequence[tuple[re.Pattern[str], str]]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return [(re.compile(pattern), name) for pattern, name in pairs]


_VIT_PATCHES = "embeddings.patch_embeddings.projection.weight"
_CLIP_PATCHES = "vision_model.embeddings.patch_embedding.weight"
_OUTER = ("vit.", "dinov2.", "model.")
_PARTS = ("query", "key", "value")
_CLIP_PARTS = ("q_proj", "k_proj", "v_proj")

# transformers' ViTLayer and Dinov2Layer share their attention and differ in norms, MLP and layer scale.
_TO_TIMM = _rules(
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.(weight|bias)$", r"patch_embed.proj.\1"),
    (r"^layernorm\.(weight|bias)$", r"norm.\1"),
    (r"^encoder\.layer\.(\d+)\.(?:layernorm_before|norm1)\.(weight|bias)$", r"blocks.\1.norm1.\2"),
    (r"^encoder\.layer\.(\d+)\.(?:layernorm_after|norm2)\.(weight|bias)$", r"blocks.\1.norm2.\2"),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)$", r"blocks.\1.attn.proj.\2"),
    (r"^encoder\.layer\.(\d+)\.(?:intermediate\.dense|mlp\.fc1)\.(weight|bias)$", r"blocks.\1.mlp.fc1.\2"),
    (r"^encoder\.layer\.(\d+)\.(?:output\.dense|mlp\.fc2)\.(weight|bias)$", r"blocks.\1.mlp.fc2.\2"),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
)
_VIT_QKV = re.compile(r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)$")
# The pooler's head and the token for masked patches take no part in features.
_VIT_UNUSED = re.compile(r"^(pooler\.dense\.(weight|bias)|embeddings\.mask_token)$")

_TO_TOWER = _rules(
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.(weight|bias)$", r"visual.ln_pre.\1"),  # spelt so in the library
    (r"^vision_model\.post_layernorm\.(weight|bias)$", r"visual.ln_post.\1"),
    (
        r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)$",
        r"visual.transformer.resblocks.\1.ln_\2.\3",
    ),
    (
        r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)$",
        r"visual.transformer.resblocks.\1.attn.out_proj.\2",
    ),
    (
        r"^vision_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)$",
        r"visual.transformer.resblocks.\1.mlp.c_fc.\2",
    ),
    (
        r"^vision_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)$",
        r"visual.transformer.resblocks.\1.mlp.c_proj.\2",
    ),
)
_CLIP_QKV = re.compile(r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv]_proj)\.(weight|bias)$")
_CLIP_UNUSED = re.compile(r"^(text_model\..*|text_projection\.weight|logit_scale|.*\.position_ids)$")

# Other families of timm have blocks in stages, under names that look like DINOv2's chunks.
_DINOV2 = ("cls_token", "patch_embed.proj.weight")
_CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
_SWIGLU = re.compile(r"^(blocks\.\d+\.mlp\.)(w12|w3)\.(weight|bias)$")
_SWIGLU_NAMES = {"w12": "fc1", "w3": "fc2"}


def as_timm(state: Mapping[str, torch.Tensor]) -> State:
    """Return weights under timm's names, from any of the layouts above; others as they are."""
    plain = _without_outer(state)
    if _VIT_PATCHES in plain:
        return _renamed(plain, _TO_TIMM, _VIT_QKV, _PARTS, "blocks.{0}.attn.qkv.{1}", _VIT_UNUSED)
    if not all(key in state for key in _DINOV2):
        return dict(state)
    return {_dinov2_name(key): value for key, value in state.items()}


def as_open_clip(state: Mapping[str, torch.Tensor]) -> State:
    """Return a CLIP of transformers under open_clip's names, without its text tower; others as they are."""
    if _CLIP_PATCHES not in state:
        return dict(state)
    tower = "visual.transformer.resblocks.{0}.attn.in_proj_{1}"
    renamed = _renamed(state, _TO_TOWER, _CLIP_QKV, _CLIP_PARTS, tower, _CLIP_UNUSED)
    if "visual_projection.weight" in renamed:
        renamed["visual.proj"] = renamed.pop("visual_projection.weight").T.contiguous()
    return renamed


def _dinov2_name(key: str) -> str:
    """Return a DINOv2 key without the number of its chunk, its SwiGLU layers under timm's names."""
    plain = _CHUNK.sub(r"blocks.\1.", key)
    return _SWIGLU.sub(lambda found: f"{found[1]}{_SWIGLU_NAMES[found[2]]}.{found[3]}", plain)


def _without_outer(state: Mapping[str, torch.Tensor]) -> State:
    """Return the state without the name of the module that holds it, where a known one does."""
    for outer in _OUTER:
        if outer + _VIT_PATCHES in state:
            return {key.removeprefix(outer): value for key, value in state.items()}
    return dict(state)


def _renamed(
    state: Mapping[str, torch.Tensor],
    rules: Rules,
    qkv: re.Pattern[str],
    parts: Sequence[str],
    joined: str,
    unused: re.Pattern[str],
) -> State:
    """Return renamed weights; query, key and value of a layer are put under each other, in this order.

    `joined`: the name of what they make, of layer and kind (weight, bias). A layer that lacks one of the
    three keeps the others under their own names.
    """
    found: State = {}
    for key, value in state.items():
        part = qkv.match(key)
        if unused.match(key):
            continue
        if part is None:
            found[_by_rule(key, rules)] = value
            continue
        siblings = [key.replace(f".{part[2]}.", f".{name}.") for name in parts]
        if not all(one in state for one in siblings):
            found[key] = value
        elif part[2] == parts[0]:
            found[joined.format(part[1], part[3])] = torch.cat([state[one] for one in siblings])
    return found


def _by_rule(key: str, rules: Rules) -> str:
    for pattern, name in rules:
        if pattern.match(key):
            return pattern.sub(name, key)
    return key
