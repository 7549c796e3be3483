"""iBOT checkpoints (Zhou et al., ICLR 2022; code at github.com/bytedance/ibot) in timm's VisionTransformer.

iBOT's ViT has biases on q, k and v, no LayerScale, LayerNorms with eps 1e-6 and a final norm before any
pooling; timm's `vit_*_patch16_224` is the same network with the same parameter names, so nothing is renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import nn

from cytobench.cards import BackboneCard
from cytobench.encoders import checkpoint, random_weights, timm_vit
from cytobench.encoders.network import Built
from cytobench.errors import EncoderError
from cytobench.progress import Reporter

_NAMES = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large"}
_HEADS = ("head.", "dino_head.", "ibot_head.")
_MASK = "masked_embed"


def build(card: BackboneCard, path: Path | None, reporter: Reporter) -> Built:
    """Return the card's ViT with the backbone of the iBOT checkpoint at `path`, or random weights for None.

    Training checkpoints (`teacher`, `student`, …), backbone-only files and safetensors are read; the branch
    used is reported. Projection heads and `masked_embed` are dropped; anything else must fit exactly.
    Position embeddings of another grid are resized (bicubic) with a warning.

    Raises EncoderError for a checkpoint of another architecture, WrongWeightsError for a file that is
    damaged, is no checkpoint, or holds only the other branch.
    """
    model = create(card)
    if path is None:
        random_weights.fill(model, card.seed)
    else:
        state = _backbone_state(card, path, reporter)
        _refuse_other_architecture(card, model, state, path)
        _fit_position_embeddings(card, model, state, reporter)
        checkpoint.load_strictly(model, state, path, card.arch)
    return Built(timm_vit.TimmFeatures(model, card.pooling), timm_vit.feature_dim(model, card.pooling))


def create(card: BackboneCard) -> nn.Module:
    """Return the card's ViT without weights, built for images of the card's size; raises EncoderError."""
    options = dict(card.arch_options)
    if card.preprocess is not None:
        options.setdefault("img_size", card.preprocess.size)
    return timm_vit.create(card.model_copy(update={"arch_options": options}))


def _backbone_state(card: BackboneCard, path: Path, reporter: Reporter) -> checkpoint.State:
    held, branch = checkpoint.branch_of(checkpoint.read(path), card.branch, path)
    state = checkpoint.strip_prefixes(checkpoint.tensors(held, path))
    if branch:
        reporter.say(f"{card.name}: using the {branch} branch of {path.name}")
    elif _MASK in state and card.branch == "teacher":
        # only iBOT's student carries a mask embedding, so a plain file with one was cut from the student
        reporter.warn(f"{card.name}: {path.name} looks like a student's backbone, not the teacher's")
    else:
        reporter.say(f"{card.name}: {path.name} holds one backbone and no branches; using it")
    return {key: value for key, value in state.items() if key != _MASK and not key.startswith(_HEADS)}


def _refuse_other_architecture(
    card: BackboneCard, model: nn.Module, state: Mapping[str, torch.Tensor], path: Path
) -> None:
    found = _shape_of_vit(state)
    wanted = _shape_of_vit(model.state_dict())
    if found is None:
        some = ", ".join(list(state)[:3])
        raise EncoderError(
            f"{path} holds no plain vision transformer (its weights start with {some}); only iBOT's ViTs can "
            "be loaded this way."
        )
    if found != wanted:
        width, depth, patch = found
        size = _NAMES.get((width, depth))
        likely = f'arch = "vit_{size}_patch{patch}_224"' if size else "another arch"
        raise EncoderError(
            f"{path} holds a ViT of width {width}, depth {depth} and patch {patch}, not '{card.arch}'; "
            f"{likely} in the card would fit."
        )


def _shape_of_vit(state: Mapping[str, torch.Tensor]) -> tuple[int, int, int] | None:
    """Width, depth and patch size of a ViT's weights; None for any other network."""
    kernel = state.get("patch_embed.proj.weight")
    blocks = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    if kernel is None or kernel.ndim != 4 or not blocks or "cls_token" not in state:
        return None
    return int(kernel.shape[0]), len(blocks), int(kernel.shape[-1])


def _fit_position_embeddings(
    card: BackboneCard, model: nn.Module, state: checkpoint.State, reporter: Reporter
) -> None:
    table, wanted = state.get("pos_embed"), model.state_dict()["pos_embed"]
    if table is None or table.ndim != 3 or table.shape[1] == wanted.shape[1]:
        return
    side = round((wanted.shape[1] - 1) ** 0.5)
    if round((table.shape[1] - 1) ** 0.5) ** 2 != table.shape[1] - 1:
        return  # not a square grid: the strict load names it
    state["pos_embed"] = resample_abs_pos_embed(table, new_size=[side, side], num_prefix_tokens=1)
    reporter.warn(
        f"{card.name}: the checkpoint has {table.shape[1]} position embeddings and {wanted.shape[1]} are "
        "needed for this image size; they were resized (bicubic), so features may differ from the authors'"
    )
