"""What a data set's licence lets us show, and what it asks us to say."""

from __future__ import annotations

from collections.abc import Iterable

from cytobench.cards import TaskCard
from cytobench.errors import UsageError, name_some


def refuse_hidden(cards: Iterable[TaskCard]) -> None:
    """Raise UsageError when the licence of one of these tasks' images forbids showing them."""
    cards = list(cards)
    refuse_blind(cards)
    hidden = sorted({card.name for card in cards if not card.show_images})
    if hidden:
        raise UsageError(
            f"The licence of {name_some(hidden)} does not let its pictures be shown (show_images = false in "
            "the task's card); tables and numbers can still be printed."
        )


def refuse_blind(cards: Iterable[TaskCard]) -> None:
    """Raise UsageError when one of these tasks has no pictures, only features that another tool computed."""
    blind = sorted({card.name for card in cards if card.precomputed})
    if blind:
        raise UsageError(
            f"{name_some(blind)} has features that another tool computed and no pictures to show; tables and "
            "numbers can still be printed."
        )


def credits_of(card: TaskCard) -> list[str]:
    """Return the line that says whose images these are, under which licence; none for a silent card."""
    source = "; ".join(part for part in (card.citation, card.licence) if part)
    return [f"Images: {source}."] if source else []
