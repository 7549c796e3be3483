"""How many parameters a backbone has, counted without building or loading its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytobench.encoders.open_clip_config import is_published, is_settled
from cytobench.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

    from cytobench.cards import BackboneCard


def parameters_of(card: BackboneCard) -> int | None:
    """Return the number of parameters that make the card's features; None for code of other people.

    None also for an architecture that stands in a file on the hub and was not read yet.

    The network is laid out on torch's meta device, which holds shapes only. Null and handcrafted backbones
    have 0. Raises EncoderError for an architecture that cannot be built.
    """
    if card.loader in ("null", "handcrafted"):
        return 0
    if card.loader not in ("timm", "ibot", "open_clip"):
        return None
    if is_published(card) and not is_settled(card):
        return None
    import torch

    with torch.device("meta"):
        network = _network(card)
    return sum(one.numel() for one in network.parameters())


def _network(card: BackboneCard) -> nn.Module:
    try:
        if card.loader == "open_clip":
            from cytobench.encoders import open_clip_model

            return open_clip_model.create(card)[0]
        if card.loader == "ibot":
            from cytobench.encoders import ibot

            return ibot.create(card)
        from cytobench.encoders import timm_vit

        return timm_vit.create(card)
    except NotImplementedError as error:  # an operator that needs numbers, not shapes
        raise EncoderError(f"{card.name}: its parameters cannot be counted ({error}).") from error
