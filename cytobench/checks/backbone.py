"""The examination of a backbone: weights, length, input contract, behaviour, cost, origin."""

from __future__ import annotations

import re
from pathlib import Path

from cytobench.cards import BackboneCard
from cytobench.checks.asking import answer, failure
from cytobench.checks.origin import origin, remote
from cytobench.encoders.open_clip_config import is_published
from cytobench.errors import CytoBenchError, WeightsError, WrongWeightsError
from cytobench.findings import Finding, Mark
from cytobench.progress import Reporter, SilentReporter

_PINNED = re.compile(r"@[0-9a-f]{40}(:|$)")
_SOUND = ("pass", "warn")
_UNASKED = Finding("weights", "skip", "Not looked at: what network they are for is not known.")
_BUILT_HERE = ("timm", "open_clip", "ibot")


def check_backbone(
    card: BackboneCard,
    *,
    home: Path,
    device: str = "auto",
    download: bool = True,
    reporter: Reporter | None = None,
) -> list[Finding]:
    """Return what an examination of `card` finds: in seconds on a processor, more for a large network.

    `home` holds fetched weights; `download` allows fetching what is not there. Weights that are out of reach
    give a finding `skip` that says what to do, and what the card alone tells is looked at all the same.
    """
    if card.loader == "null":
        blind = "It predicts without looking, so it has no weights and no features."
        return [Finding("features", "skip", blind), *origin(card)]
    talk = reporter or SilentReporter()
    if card.loader == "precomputed":
        from cytobench.checks.slide_features import check_features

        return [*check_features(card, talk), *origin(card)]
    found: list[Finding] = []
    if is_published(card):
        card, described = _described(card, home, download, talk)
        found.append(described)
    weights = _weights(card, home, download, talk) if not found or found[0].mark in _SOUND else _UNASKED
    found.append(weights)
    dim = _dim(card)
    if dim is not None:
        found.append(dim)
    if card.loader != "handcrafted":
        from cytobench.checks.contract import QUESTION, normalisation

        found.append(answer(QUESTION, lambda: normalisation(card)))
    if weights.mark in ("fail", "skip"):
        why = "cannot be used" if weights.mark == "fail" else "are not here"
        found.append(Finding("behaviour", "skip", f"Not looked at: the weights {why}."))
    else:
        from cytobench.checks.loaded import examine

        found += examine(card, home=home, device=device, reporter=talk)
    return [*found, *origin(card)]


def measured_dim(card: BackboneCard) -> int:
    """Return the length of the card's features from its architecture alone, 0 where only a run would tell.

    0 also where the architecture stands in a file on the hub that was not read into the card.
    Raises EncoderError for an architecture, option or pooling that does not exist.
    """
    if card.loader == "open_clip":
        from cytobench.encoders import open_clip_config, open_clip_model

        if open_clip_config.is_published(card) and not open_clip_config.is_settled(card):
            return 0
        return open_clip_model.dim_of(card)
    if card.loader in _BUILT_HERE:
        from cytobench.encoders import ibot, timm_vit

        if card.loader == "timm":
            return timm_vit.dim_of(card)
        return timm_vit.feature_dim(ibot.create(card), card.pooling)
    return 0


def dimension(card: BackboneCard, measured: int) -> Finding:
    """Compare the card's dim with the length measured."""
    if measured == card.dim:
        return Finding("output dimension", "pass", f"{card.dim}, as the card says.")
    return Finding(
        "output dimension",
        "fail",
        f"The card says dim = {card.dim}, and the features have {measured}.",
        f"Write dim = {measured}, or correct arch or pooling.",
    )


def _described(
    card: BackboneCard, home: Path, download: bool, reporter: Reporter
) -> tuple[BackboneCard, Finding]:
    """Read the architecture that the card leaves to its publishers; the card comes back with it."""
    from cytobench.digests import FileDigests
    from cytobench.encoders.open_clip_config import settled

    question, digests = "architecture", FileDigests(home)
    try:
        known, _ = settled(card, home=home, digests=digests, download=download, reporter=reporter)
    except WeightsError as error:
        mark: Mark = "fail" if isinstance(error, WrongWeightsError) else "skip"
        return card, Finding(question, mark, _sentence(error))
    except CytoBenchError as error:
        return card, Finding(question, "fail", _sentence(error))
    digests.flush()
    trunk = known.arch_options["vision_cfg"].get(
        "timm_model_name"
    )  # open_clip gives such trunks no QuickGELU
    quick = f"{trunk} of timm" if trunk else "QuickGELU" if known.arch_options["quick_gelu"] else "GELU"
    says = f"As published in {card.arch}, with {quick}; the card's preprocessing is the published one."
    if not _PINNED.search(card.arch):
        return known, Finding(
            question,
            "warn",
            f"{says} No revision is named, so that others may get another one.",
            "Name the commit: hf-hub:OWNER/REPO@COMMIT:open_clip_config.json.",
        )
    return known, Finding(question, "pass", says)


def _weights(card: BackboneCard, home: Path, download: bool, reporter: Reporter) -> Finding:
    """Resolve the weights, fetching them where that is allowed, and compare their digest."""
    from cytobench.digests import FileDigests
    from cytobench.encoders import identify

    digests = FileDigests(home)
    try:
        identity = identify(card, home=home, digests=digests, download=download, reporter=reporter)
    except WrongWeightsError as error:
        return Finding("weights", "fail", _sentence(error))
    except WeightsError as error:
        by_hand = card.weights.startswith("~") and not Path(card.weights).expanduser().exists()
        mark: Mark = "skip" if remote(card) or by_hand else "fail"
        return Finding("weights", mark, _sentence(error), " ".join(card.notes.split()) if by_hand else "")
    except CytoBenchError as error:
        return Finding("weights", "fail", _sentence(error))
    digests.flush()
    known = identity.get("weights")
    return _digest(card, str(known.get("sha256", "")) if isinstance(known, dict) else "")


def _digest(card: BackboneCard, sha256: str) -> Finding:
    if not sha256:
        drawn = f"Random, drawn by seed {card.seed}."
        says = drawn if card.weights == "random" else "None: code alone makes the features."
        return Finding("weights", "pass", says)
    if not card.sha256:
        return Finding(
            "weights",
            "warn",
            "They are here, and the card has no digest, so others cannot know that theirs are the same.",
            f'Put sha256 = "{sha256}" into the card.',
        )
    if card.weights.startswith("hf-hub:") and not _PINNED.search(card.weights):
        return Finding(
            "weights",
            "warn",
            f"SHA-256 {sha256[:16]}… as the card says, but no revision is named: it fails when they change.",
            "Name the commit: hf-hub:OWNER/REPO@COMMIT:FILE.",
        )
    return Finding("weights", "pass", f"SHA-256 {sha256[:16]}…, as the card says.")


def _dim(card: BackboneCard) -> Finding | None:
    """Compare dim with the architecture laid out without weights; None where only a run would tell."""
    try:
        measured = measured_dim(card)
    except CytoBenchError as error:
        return Finding("output dimension", "fail", _sentence(error))
    except Exception as error:  # timm's and open_clip's own code
        return Finding("output dimension", "fail", failure(error), "Correct arch and arch_options.")
    return dimension(card, measured) if measured else None


def _sentence(error: Exception) -> str:
    """Return the message as a sentence that begins with a capital."""
    text = str(error)
    return text[:1].upper() + text[1:]
