"""What a backbone's card says of where the weights come from, and whether it can be relied on."""

from __future__ import annotations

import difflib
import re

from cytobench.cards import BackboneCard
from cytobench.findings import Finding

_VAGUE = re.compile(r"^\s*(unknown|none stated|none|todo|tbd|\?|n/?a)\b", re.IGNORECASE)
_REMOTE = ("hf-hub:", "https://", "http://", "gdrive:")


def remote(card: BackboneCard) -> bool:
    """Tell whether the card's weights lie on a server."""
    return card.weights.startswith(_REMOTE)


def learnt(card: BackboneCard) -> bool:
    """Tell whether the card's weights were learnt from pictures."""
    return card.loader not in ("null", "handcrafted") and card.weights not in ("random", "none")


def origin(card: BackboneCard) -> list[Finding]:
    """Return findings on licence, citation and the data the weights were trained on."""
    return [_licence(card), _citation(card), _pretrained_on(card)]


def _licence(card: BackboneCard) -> Finding:
    question = "licence"
    if not card.licence.strip():
        return Finding(question, "fail", "The card's licence is empty.", "Write the licence of the weights.")
    if learnt(card) and _VAGUE.match(card.licence):
        return Finding(
            question,
            "warn",
            f"The card says: {card.licence}.",
            "Look the licence up on the weights' page, or ask the authors, and put it into the card.",
        )
    gated = f"; gated, access is granted at {card.licence_url or card.url or 'its page'}" * card.gated
    return Finding(question, "pass", f"{card.licence}{gated}.")


def _citation(card: BackboneCard) -> Finding:
    if not card.citation.strip() or (learnt(card) and _VAGUE.match(card.citation)):
        return Finding(
            "citation",
            "warn",
            "The card does not say whom to cite.",
            "Put the paper (authors, title, venue, year) into `citation`.",
        )
    return Finding("citation", "pass", f"{card.citation.rstrip('.')}.")


def _pretrained_on(card: BackboneCard) -> Finding:
    """Names that nearly are those of known data sets would hide an overlap with a task."""
    from cytobench.datasets import DATASETS

    question, seen = "pretrained on", card.pretrained_on
    if not learnt(card):
        if seen:
            return Finding(
                question, "warn", f"Weights that learnt nothing name {', '.join(seen)}.", "Empty the list."
            )
        return Finding(question, "pass", "Nothing: no weights were learnt.")
    if not seen:
        return Finding(
            question,
            "warn",
            "The card names no data set, so an overlap with a task can be neither shown nor excluded.",
            'List the training sets, or write pretrained_on = ["undisclosed"] where nobody has named them.',
        )
    slips = {name: difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.8) for name in seen}
    slips = {name: near for name, near in slips.items() if name not in DATASETS and near}
    if slips:
        meant = "; ".join(f"'{name}' (did you mean '{near[0]}'?)" for name, near in slips.items())
        return Finding(
            question,
            "warn",
            f"No data set here has the name {meant}, and names must be equal for an overlap to be noticed.",
            "Correct the name, or leave it where another set is meant.",
        )
    known = [name for name in seen if name in DATASETS]
    here = f"; tasks on {', '.join(known)} are marked in tables" if known else ""
    return Finding(question, "pass", f"{', '.join(seen)}{here}.")
