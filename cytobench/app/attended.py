"""What the backbone attends to in a query, as pictures for the page."""

from __future__ import annotations

from dataclasses import dataclass

from cytobench.errors import UsageError
from cytobench.images import RGB
from cytobench.pictures.page import picture_uri
from cytobench.retrieval import Searcher

_SIDE = 224


@dataclass(frozen=True)
class Map:
    """A map laid over the picture as the backbone saw it; `uri`: a data URI."""

    title: str
    note: str
    uri: str


def maps_of(searcher: Searcher, crop: RGB) -> list[Map]:
    """Return the picture as it was seen, the mean over heads, rollout, and each head of the last layer.

    crop: uint8 [s, s, 3]. Raises UsageError, in words for the page, where the backbone has no attention.
    """
    from cytobench.encoders.attention import attention_of, has_attention, why_no_attention
    from cytobench.inspection.overlay import overlaid, top_of

    why_not = why_no_attention(searcher.card)
    if why_not:
        raise UsageError(why_not)
    encoder = searcher.encoder
    if not has_attention(encoder):
        raise UsageError(
            f"{searcher.backbone} has no attention that can be laid over an image (it is no plain vision "
            "transformer); choose one that is."
        )
    found = attention_of(encoder, crop)
    top = top_of(*found.heads)
    shown = [
        Map("as the backbone sees it", f"{crop.shape[0]} px wide where it was cut", _uri(found.seen)),
        Map("rollout", f"over all layers, {found.asks}", _uri(overlaid(found.seen, found.rollout))),
        Map("mean of the heads", f"last layer, {found.asks}", _uri(overlaid(found.seen, found.mean))),
    ]
    for at, (head, kept) in enumerate(zip(found.heads, found.to_prefix, strict=True), start=1):
        picture = overlaid(found.seen, head, top=top)
        shown.append(Map(f"head {at}", f"{100 * (1 - kept):.0f} % of it on the image", _uri(picture)))
    return shown


def _uri(picture: RGB) -> str:
    return picture_uri(picture, side=_SIDE)
