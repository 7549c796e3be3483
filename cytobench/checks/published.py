"""How a backbone's weights were published to be fed, where timm or open_clip keep a record of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cytobench.cards import BackboneCard, Triple
from cytobench.encoders.open_clip_config import CLIP_MEAN, CLIP_STD, FILE, is_published, is_settled

KNOWN: Mapping[str, tuple[Triple, Triple]] = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "Inception's (-1 to 1)": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "CLIP's": (CLIP_MEAN, CLIP_STD),
}
"""Means and standard deviations in common use, of pixels in 0..1."""


@dataclass(frozen=True)
class Published:
    """Preprocessing on record for the very weights a card names; None where nothing is on record.

    `source`: whose record; `size`: side of the square input, px; `quick_gelu`: for CLIP's image towers.
    """

    source: str
    mean: Triple
    std: Triple
    size: int | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    quick_gelu: bool | None = None


def published(card: BackboneCard) -> Published | None:
    """Return the record of the weights that `card` names, None where timm and open_clip have none."""
    if card.loader == "timm":
        return next(_of_timm(card), None)
    if is_published(card):
        return _of_configuration(card)
    if card.loader == "open_clip":
        return next(_of_open_clip(card), None)
    if card.loader == "ibot":
        mean, std = KNOWN["ImageNet's"]
        return Published("iBOT's recipe (Zhou et al., ICLR 2022)", mean, std)
    return None


def uses_quick_gelu(card: BackboneCard) -> bool:
    """Tell whether the open_clip tower that the card describes has OpenAI's QuickGELU."""
    if is_published(card):
        return bool(card.arch_options.get("quick_gelu", False))
    import open_clip

    named: Mapping[str, Any] = open_clip.get_model_config(card.arch) or {}
    return bool(card.arch_options.get("quick_gelu", named.get("quick_gelu", False)))


def _of_configuration(card: BackboneCard) -> Published | None:
    """What its publishers say; a card that disagrees with them is refused where that is read into it."""
    if card.preprocess is None or not is_settled(card):
        return None
    mean, std = card.preprocess.mean, card.preprocess.std
    return Published(f"the published {FILE}", mean, std, quick_gelu=uses_quick_gelu(card))


def _of_timm(card: BackboneCard) -> Iterator[Published]:
    import timm
    from timm.models import get_pretrained_cfg

    repository = _repository(card.weights)
    for name in timm.list_pretrained(f"{card.arch.partition('.')[0]}.*"):
        config: Any = get_pretrained_cfg(name)
        if (repository and config.hf_hub_id == repository) or config.url == card.weights:
            yield Published(
                f"timm's record of {name}",
                _three(config.mean),
                _three(config.std),
                int(config.input_size[-1]),
                config.interpolation,
                config.crop_pct,
            )


def _of_open_clip(card: BackboneCard) -> Iterator[Published]:
    import open_clip

    repository = _repository(card.weights)
    for tag in open_clip.list_pretrained_tags_by_model(card.arch):
        config: Mapping[str, Any] = open_clip.get_pretrained_cfg(card.arch, tag)
        hub = "/".join(str(config.get("hf_hub", "")).split("/")[:2])
        if (repository and hub == repository) or config.get("url") == card.weights:
            mean, std = KNOWN["CLIP's"]
            yield Published(
                f"open_clip's record of {card.arch}/{tag}",
                _three(config.get("mean") or mean),
                _three(config.get("std") or std),
                interpolation=config.get("interpolation"),
                quick_gelu=bool(config.get("quick_gelu", False)),
            )


def _repository(weights: str) -> str:
    """Return OWNER/REPO of an address on the hub, "" for any other."""
    if not weights.startswith("hf-hub:"):
        return ""
    from cytobench.encoders.hub import Address

    return Address.parse(weights).repo


def _three(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
