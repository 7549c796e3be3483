"""Any timm model as a feature extractor, with weights from a file loaded strictly, or random ones."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.mlp import GluMlp, Mlp, SwiGLU, SwiGLUPacked
from torch import nn

from cytobench.cards import BackboneCard
from cytobench.encoders import checkpoint, layouts, random_weights
from cytobench.encoders.network import Built, pool_tokens
from cytobench.errors import EncoderError
from cytobench.progress import Reporter

# A card is data, so the layers it may ask for by name are listed here rather than imported from it.
_LAYERS: Mapping[str, Any] = {
    "GELU": nn.GELU,
    "GluMlp": GluMlp,
    "Mlp": Mlp,
    "ReLU": nn.ReLU,
    "SiLU": nn.SiLU,
    "SwiGLU": SwiGLU,
    "SwiGLUPacked": SwiGLUPacked,
}
_LAYER_OPTIONS = ("act_layer", "mlp_layer", "norm_layer")


class TimmFeatures(nn.Module):
    """A timm model without its classifier, and how its tokens are pooled."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model: Any = model
        self.pooling = pooling
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features [b, d] of normalised pixels [b, 3, s, s]."""
        tokens: torch.Tensor = self.model.forward_features(pixels)
        if self.pooling == "head":
            pooled: torch.Tensor = self.model.forward_head(tokens, pre_logits=True)
            return pooled
        return pool_tokens(tokens, self.prefix, self.pooling)


def build(card: BackboneCard, path: Path | None, reporter: Reporter) -> Built:
    """Return the card's timm model with the weights at `path`, or random ones for None.

    Raises EncoderError for an architecture, option or pooling that does not exist, WeightsError for weights
    that do not fit. Classifier weights are dropped; checkpoints in their authors' own layout (DINOv2,
    OpenAI's CLIP, `teacher`, `module.`, `backbone.`) are converted as timm does, those of transformers and of
    DINOv2 in chunks by `layouts`.
    """
    model = create(card)
    if path is None:
        random_weights.fill(model, card.seed)
    else:
        _load(card, model, path, reporter)
    return Built(TimmFeatures(model, card.pooling), feature_dim(model, card.pooling))


def create(card: BackboneCard) -> nn.Module:
    """Return the card's timm model without classifier and weights; raises EncoderError."""
    if not timm.is_model(card.arch):
        near = difflib.get_close_matches(card.arch, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()."
        raise EncoderError(f"{card.name}: timm knows no architecture '{card.arch}'; {hint}")
    try:
        model: nn.Module = timm.create_model(card.arch, pretrained=False, num_classes=0, **_options(card))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise EncoderError(
            f"{card.name}: timm cannot build '{card.arch}' with arch_options {dict(card.arch_options)} "
            f"({error}); correct arch_options in the card."
        ) from error
    _check_pooling(card, model)
    _check_input_size(card, model)
    return model


def feature_dim(model: nn.Module, pooling: str) -> int:
    """Return the length of the pooled feature vector."""
    width = int(getattr(model, "num_features", 0))
    if pooling == "head":
        return int(getattr(model, "head_hidden_size", width))
    return 2 * width if pooling == "cls+mean" else width


def dim_of(card: BackboneCard) -> int:
    """Return the length of the card's feature vector without building its weights; raises EncoderError."""
    with torch.device("meta"):
        return feature_dim(create(card), card.pooling)


def _options(card: BackboneCard) -> dict[str, Any]:
    options = dict(card.arch_options)
    for key in _LAYER_OPTIONS:
        if key in options:
            name = str(options[key])
            if name not in _LAYERS:
                raise EncoderError(
                    f"{card.name}: {key} = '{name}' is not known; choose one of {', '.join(sorted(_LAYERS))}."
                )
            options[key] = _LAYERS[name]
    return options


def _check_pooling(card: BackboneCard, model: nn.Module) -> None:
    if card.pooling == "head":
        return
    has_tokens = hasattr(model, "num_prefix_tokens") and hasattr(model, "blocks")
    has_class_token = bool(getattr(model, "has_class_token", getattr(model, "num_prefix_tokens", 0) > 0))
    if not has_tokens or (card.pooling.startswith("cls") and not has_class_token):
        what = "class token" if has_tokens else "tokens"
        raise EncoderError(
            f"{card.name}: '{card.arch}' has no {what}, so pooling '{card.pooling}' is impossible; "
            'set pooling = "head" in the card.'
        )
    if not isinstance(getattr(model, "fc_norm", nn.Identity()), nn.Identity):
        raise EncoderError(
            f"{card.name}: '{card.arch}' is normalised after its pooling, so tokens taken before it are not "
            'comparable; set pooling = "head" in the card.'
        )


def _check_input_size(card: BackboneCard, model: nn.Module) -> None:
    patches = getattr(model, "patch_embed", None)
    expected = getattr(patches, "img_size", None)
    if card.preprocess is None or expected is None or not getattr(patches, "strict_img_size", False):
        return
    if tuple(expected) != (card.preprocess.size,) * 2:
        raise EncoderError(
            f"{card.name}: '{card.arch}' takes images of {expected[0]} pixels, but preprocess.size is "
            f"{card.preprocess.size}; set arch_options.img_size = {card.preprocess.size} in the card."
        )


def _load(card: BackboneCard, model: nn.Module, path: Path, reporter: Reporter) -> None:
    held, branch = checkpoint.branch_of(checkpoint.read(path), card.branch, path)
    state = layouts.as_timm(checkpoint.strip_prefixes(checkpoint.tensors(held, path)))
    if branch:
        reporter.say(f"{card.name}: using the {branch} branch of {path.name}")
        state = {
            key: value for key, value in state.items() if not key.startswith(("dino_head.", "ibot_head."))
        }
    before = state.get("pos_embed")
    state = _in_timm_layout(model, state)
    after = state.get("pos_embed")
    if before is not None and after is not None and before.shape[1] != after.shape[1]:
        reporter.say(
            f"{card.name}: position embeddings resampled from {before.shape[1]} to {after.shape[1]} tokens, "
            f"as timm does for images of {card.preprocess.size if card.preprocess else '?'} pixels"
        )
    checkpoint.load_strictly(model, _without_classifier(model, state), path, card.arch)


def _in_timm_layout(model: nn.Module, state: checkpoint.State) -> checkpoint.State:
    """Apply the filter that timm keeps beside each family for checkpoints in their authors' layout."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return state if convert is None else dict(convert(dict(state), model))


def _without_classifier(model: nn.Module, state: checkpoint.State) -> checkpoint.State:
    config = getattr(model, "default_cfg", None) or {}
    named = config.get("classifier", "head")
    heads = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named or ()))
    wanted = model.state_dict()
    return {
        key: value for key, value in state.items() if key in wanted or not key.startswith((*heads, "head."))
    }
