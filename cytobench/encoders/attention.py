"""What a vision transformer attends to: attention of its class token, head by head, and over all layers.

The network is run as it always is (`Encoder.encode`); its attention layers are only asked to compute their
weights openly instead of in one fused step, which gives the same features up to rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cytobench.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from cytobench.cards import BackboneCard
    from cytobench.encoders.encoder import Encoder

Floats = npt.NDArray[np.float32]
Asks = Literal["class token", "mean over patches"]
_TOLERANCE = 1e-3
"""How far a row of attention may be from summing to 1: half precisions are rounded so much."""
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Attention:
    """Where one image's features come from, as the network's own attention has it; h x w patches.

    `heads`: float32 [heads, h, w], attention of the class token in the last layer (Caron et al. 2021); of
    each head it sums to 1 over the patches together with `to_prefix`, float32 [heads]: what goes to the class
    token itself and to registers. `rollout`: float32 [h, w], over all layers, which sums to 1 together with
    `rollout_to_prefix`. `seen`: uint8 [s, s, 3], the picture as the network saw it. `features`: float32
    [dim], from the same pass. `asks`: whose attention it is; a network without class token is asked for the
    mean over its patches.
    """

    heads: Floats
    rollout: Floats
    seen: npt.NDArray[np.uint8]
    features: Floats
    to_prefix: Floats
    rollout_to_prefix: float
    asks: Asks = "class token"

    @property
    def mean(self) -> Floats:
        """The mean over the heads, float32 [h, w]."""
        averaged: Floats = self.heads.mean(axis=0)
        return averaged


def has_attention(encoder: Encoder) -> bool:
    """Return whether `attention_of` can tell what this encoder attends to."""
    return _find(encoder) is not None


def why_no_attention(card: BackboneCard) -> str:
    """Return the sentence that says why a card's backbone cannot attend, "" where that takes loading it."""
    if card.loader == "null":
        return f"{card.name} predicts without looking, so there is nothing that it attends to."
    if card.loader == "handcrafted":
        return (
            f"{card.name} computes handcrafted features and has no attention; choose a vision transformer, "
            "such as cytofm."
        )
    return ""


def attention_of(encoder: Encoder, crop: npt.NDArray[np.uint8]) -> Attention:
    """Return what `encoder` attends to in one crop, uint8 [h, w, 3] in RGB.

    The crop is prepared as for any features. With A_l the attention of layer l, float [heads, n, n] over n
    tokens whose rows sum to 1, the maps are

    * per head h (Caron et al., ICCV 2021, section 4.2.2): A_L[h, cls, patches] of the last layer L;
    * rollout (Abnar & Zuidema, ACL 2020, section 3): R = (mean_h A_L + I)/2 ... (mean_h A_1 + I)/2, where I
      stands for the residual connections; shown is R[cls, patches].

    A network without class token is asked for the mean of the rows of its patches instead of row cls.
    Raises UsageError for an encoder without such attention, DataError for a crop that is not RGB.
    """
    tower = _find(encoder)
    if tower is None:
        raise UsageError(
            f"{encoder.name} has no attention from one token to all patches (it is no plain vision "
            "transformer); choose one that is, such as cytofm."
        )
    prepared = encoder.prepare(crop)
    layers: list[Floats] = []
    with _ONE_AT_A_TIME, _opened(tower, layers.append):
        features = encoder.encode(prepared[None])[0]
    _check(encoder, tower, layers)
    asked = slice(0, 1) if tower.class_token else slice(tower.prefix, None)
    last = layers[-1][:, asked].mean(axis=1)
    through = rollout(layers)[asked].mean(axis=0)
    side = isqrt(last.shape[1] - tower.prefix)
    return Attention(
        heads=last[:, tower.prefix :].reshape(-1, side, side),
        rollout=through[tower.prefix :].reshape(side, side),
        seen=prepared,
        features=features,
        to_prefix=last[:, : tower.prefix].sum(axis=1),
        rollout_to_prefix=float(through[: tower.prefix].sum()),
        asks="class token" if tower.class_token else "mean over patches",
    )


def rollout(layers: list[Floats]) -> Floats:
    """Return attention rolled out over layers, float32 [n, n] with rows that sum to 1.

    layers: float32 [heads, n, n] each, first layer first. R_l = (mean_h A_l + I)/2 R_(l-1), R_0 = I (Abnar &
    Zuidema 2020, equation 1 and section 3).
    """
    found = np.eye(layers[0].shape[-1])
    for attention in layers:
        with_residual = 0.5 * attention.mean(axis=0, dtype=np.float64) + 0.5 * np.eye(len(found))
        found = with_residual @ found
    return found.astype(np.float32)


@dataclass(frozen=True)
class _Tower:
    """A vision transformer's attention layers in their order, and its tokens that are no patches."""

    layers: tuple[nn.Module, ...]
    prefix: int
    class_token: bool


def _find(encoder: Encoder) -> _Tower | None:
    """Return the vision transformer inside an encoder, or None where there is none that we understand."""
    module: Any = getattr(encoder, "module", None)
    if module is None or getattr(encoder, "own_prepare", True):
        return None
    for name in ("model", "tower", "trunk"):  # the wrappers of timm_vit, open_clip_model and open_clip
        module = getattr(module, name, module)
    blocks: Any = getattr(module, "blocks", None)
    prefix = getattr(module, "num_prefix_tokens", None)
    class_token = bool(getattr(module, "has_class_token", prefix))
    if blocks is None and hasattr(module, "class_embedding"):
        blocks, prefix, class_token = getattr(module.transformer, "resblocks", None), 1, True
    if blocks is None or prefix is None or not len(blocks):
        return None
    layers = [[layer for layer in block.modules() if _opens(layer)] for block in blocks]
    if any(len(of_block) != 1 for of_block in layers):
        return None
    return _Tower(tuple(of_block[0] for of_block in layers), int(prefix), class_token)


def _opens(layer: nn.Module) -> bool:
    """Whether this layer can be made to show its weights: timm's self-attentions and torch's own."""
    from torch import nn

    timm_like = hasattr(layer, "fused_attn") and isinstance(getattr(layer, "attn_drop", None), nn.Dropout)
    return timm_like or isinstance(layer, nn.MultiheadAttention)


@contextmanager
def _opened(tower: _Tower, keep: Callable[[Floats], None]) -> Iterator[None]:
    """While this lasts, hand each layer's attention of this thread's images to `keep`."""
    me = threading.get_ident()

    def note(weights: Any) -> None:
        if threading.get_ident() == me:  # others may use the same network meanwhile
            keep(weights[0].float().cpu().numpy())

    with ExitStack() as stack:
        for layer in tower.layers:
            stack.enter_context(_asked(layer, note))
        yield


@contextmanager
def _asked(layer: Any, note: Callable[[Any], None]) -> Iterator[None]:
    """Have one layer compute its weights openly, and put it back."""
    if not hasattr(layer, "fused_attn"):

        def want(module: Any, given: Any, options: dict[str, Any]) -> Any:
            return given, {**options, "need_weights": True, "average_attn_weights": False}

        hooks = [
            layer.register_forward_pre_hook(want, with_kwargs=True),
            layer.register_forward_hook(lambda module, given, found: note(found[1])),
        ]
        fused = None
    else:
        hooks = [layer.attn_drop.register_forward_hook(lambda module, given, found: note(found))]
        fused, layer.fused_attn = layer.fused_attn, False
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if fused is not None:
            layer.fused_attn = fused


def _check(encoder: Encoder, tower: _Tower, layers: list[Floats]) -> None:
    """Refuse what is no attention of all tokens to all tokens: windows, pooled tokens, differences."""
    n = layers[0].shape[-1] if layers else 0
    plain = len(layers) == len(tower.layers) and all(
        one.ndim == 3 and one.shape[1:] == (n, n) and np.abs(one.sum(axis=-1) - 1).max() < _TOLERANCE
        for one in layers
    )
    patches = n - tower.prefix
    if not plain or patches < 1 or isqrt(patches) ** 2 != patches:
        raise UsageError(
            f"The attention of {encoder.name} does not lead from every token to a square grid of patches, so "
            "it cannot be laid over an image; choose a plain vision transformer."
        )
