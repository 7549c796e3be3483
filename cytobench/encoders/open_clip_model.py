"""The image tower of an open_clip model; the text tower is neither built nor loaded."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from cytobench.cards import BackboneCard
from cytobench.encoders import checkpoint, layouts, open_clip_config, random_weights
from cytobench.encoders.network import Built, pool_tokens
from cytobench.errors import EncoderError
from cytobench.progress import Reporter

_OWN_OPTIONS = ("embed_dim", "vision_cfg", "quick_gelu")
_TOWER = "visual."


class TowerFeatures(nn.Module):
    """An image tower and its pooling: `head` is CLIP's image embedding, the others stop before it."""

    def __init__(self, tower: nn.Module, pooling: str) -> None:
        super().__init__()
        self.tower: Any = tower
        self.pooling = pooling

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features [b, d] of normalised pixels [b, 3, s, s]."""
        if self.pooling == "head":
            embedding: torch.Tensor = self.tower(pixels)
            return embedding
        if isinstance(self.tower, TimmModel):
            trunk = self.tower.trunk
            return pool_tokens(trunk.forward_features(pixels), int(trunk.num_prefix_tokens), self.pooling)
        tokens = self.tower.ln_post(self.tower.transformer(self.tower._embeds(pixels)))
        return pool_tokens(tokens, 1, self.pooling)


def build(card: BackboneCard, path: Path | None, reporter: Reporter) -> Built:
    """Return the card's image tower with the weights at `path`, or random ones for None.

    `arch` is an open_clip model name, or the address of a published configuration that was read into
    `arch_options` (`open_clip_config.settled`); beside a name, these may override its `quick_gelu`,
    `embed_dim` and single keys of `vision_cfg`, or describe a tower that open_clip has no name for.
    `pooling = "head"` gives the image embedding (after the projection, not normalised), the
    other poolings the tokens before it.

    Raises EncoderError for an unknown model or an impossible pooling, WeightsError for weights that do not
    fit.
    """
    tower, embed_dim = create(card)
    if path is None:
        random_weights.fill(tower, card.seed)
    else:
        held = checkpoint.strip_prefixes(checkpoint.tensors(checkpoint.read(path), path))
        state = layouts.as_open_clip(held)
        visual = {key.removeprefix(_TOWER): value for key, value in state.items() if key.startswith(_TOWER)}
        checkpoint.load_strictly(tower, visual or state, path, card.arch)
        reporter.say(f"{card.name}: image tower of {path.name}")
    return Built(TowerFeatures(tower, card.pooling), _feature_dim(tower, card.pooling, embed_dim))


def create(card: BackboneCard) -> tuple[nn.Module, int]:
    """Return the card's image tower without weights, and the length of its image embedding."""
    config = _configuration(card)
    vision = dict(config["vision_cfg"]) | {"timm_model_pretrained": False, "output_tokens": False}
    _refuse_unknown(card, vision)
    try:
        tower: nn.Module = _build_vision_tower(
            int(config["embed_dim"]),
            CLIPVisionCfg(**vision),
            quick_gelu=bool(config.get("quick_gelu", False)),
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise EncoderError(
            f"{card.name}: open_clip cannot build '{card.arch}' ({error}); {_remedy(card)}."
        ) from error
    _check_pooling(card, tower)
    _check_input_size(card, vision)
    return tower, int(config["embed_dim"])


def dim_of(card: BackboneCard) -> int:
    """Return the length of the card's feature vector without building its weights; raises EncoderError."""
    with torch.device("meta"):
        tower, embed_dim = create(card)
    return _feature_dim(tower, card.pooling, embed_dim)


def _configuration(card: BackboneCard) -> dict[str, Any]:
    unknown = sorted(set(card.arch_options) - set(_OWN_OPTIONS))
    if unknown:
        raise EncoderError(
            f"{card.name}: arch_options {', '.join(unknown)} mean nothing to open_clip's image towers; "
            f"choose from {', '.join(_OWN_OPTIONS)}."
        )
    named: dict[str, Any] = {}
    if not open_clip_config.is_published(card):  # else open_clip would fetch it by itself, checking nothing
        named = open_clip.get_model_config(card.arch) or {}
    elif not open_clip_config.is_settled(card):
        raise EncoderError(f"{card.name}: its architecture stands in {card.arch}, which is to be read first.")
    described = "vision_cfg" in card.arch_options and "embed_dim" in card.arch_options
    if not named and not described:
        near = difflib.get_close_matches(card.arch, open_clip.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see open_clip.list_models()."
        raise EncoderError(f"{card.name}: open_clip knows no model '{card.arch}'; {hint}")
    vision = dict(named.get("vision_cfg", {})) | dict(card.arch_options.get("vision_cfg", {}))
    return {**named, **card.arch_options, "vision_cfg": vision}


def _refuse_unknown(card: BackboneCard, vision: dict[str, Any]) -> None:
    """Name the keys of a tower that this version of open_clip has no use for."""
    known = [field.name for field in dataclasses.fields(CLIPVisionCfg)]
    unknown = sorted(set(vision) - set(known))
    if unknown:
        raise EncoderError(
            f"{card.name}: vision_cfg of '{card.arch}' has {', '.join(unknown)}, a kind of tower that "
            f"open_clip {open_clip.__version__} does not know; {_remedy(card)}."
        )


def _remedy(card: BackboneCard) -> str:
    if open_clip_config.is_published(card):
        return "install the version of open_clip_torch and timm that its publishers used"
    return "correct arch_options in the card"


def _check_pooling(card: BackboneCard, tower: nn.Module) -> None:
    if card.pooling == "head":
        return
    if isinstance(tower, TimmModel):
        has_tokens = getattr(tower.trunk, "has_class_token", False) or (
            card.pooling == "mean" and hasattr(tower.trunk, "num_prefix_tokens")
        )
    else:
        has_tokens = isinstance(tower, VisionTransformer) and tower.attn_pool is None
        has_tokens = has_tokens and tower.pool_type == "tok" and not tower.final_ln_after_pool
    if not has_tokens:
        raise EncoderError(
            f"{card.name}: the image tower of '{card.arch}' has no tokens for pooling '{card.pooling}'; "
            'set pooling = "head" in the card.'
        )


def _check_input_size(card: BackboneCard, vision: dict[str, Any]) -> None:
    size = vision.get("image_size", 224)
    if card.preprocess is not None and size != card.preprocess.size:
        raise EncoderError(
            f"{card.name}: '{card.arch}' takes images of {size} pixels, but preprocess.size is "
            f"{card.preprocess.size}; correct preprocess.size in the card."
        )


def _feature_dim(tower: nn.Module, pooling: str, embed_dim: int) -> int:
    if pooling == "head":
        return embed_dim
    timm_like: Any = tower
    norm = getattr(tower, "ln_post", None)
    width = int(timm_like.trunk.num_features if norm is None else norm.normalized_shape[0])
    return 2 * width if pooling == "cls+mean" else width
