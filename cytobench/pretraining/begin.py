"""Weights a run begins with: found by path or by a backbone's name, and known by what they have seen."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.digests import FileDigests
from cytobench.errors import UsageError, WeightsError
from cytobench.pretraining import checkpoint
from cytobench.pretraining.export import CARD, Origin

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard
    from cytobench.pretraining.ibot import IBOT
    from cytobench.pretraining.session import Surroundings

UNDISCLOSED = "undisclosed-weights"
"""What weights without a card were trained on: a benchmark then cannot tell overlap, and says so."""

_HEADS = ("head.", "dino_head.", "ibot_head.")


@dataclass(frozen=True)
class Beginning:
    """A file of weights, the branch of it that is meant (empty: any), and where it comes from."""

    path: Path
    branch: str
    origin: Origin


def find_weights(init: str, around: Surroundings) -> Beginning:
    """Return the weights that `init` names, fetched where need be.

    `init`: the path of a checkpoint (published iBOT layout, backbone only, or safetensors), a backbone's name
    or card. Raises WeightsError or UsageError.
    """
    path = Path(init).expanduser()
    if path.suffix == ".toml" or not path.is_file():
        return _of_backbone(str(path) if path.suffix == ".toml" else init, around)
    digest = FileDigests(around.home).sha256(path)
    card = _card_beside(path)
    seen = tuple(map(str, card.get("pretrained_on", ()))) or (UNDISCLOSED,)
    return Beginning(path, "", Origin(path.name, digest, seen, str(card.get("licence", ""))))


def begin_with(init: str, around: Surroundings) -> Callable[[IBOT], None] | None:
    """Return what brings a checkpoint's or a backbone's weights into a fresh model; None without `init`.

    Student and teacher both start from them, heads stay fresh. A file without a teacher gives its student.
    """
    if not init:
        return None

    def bring(model: IBOT) -> None:
        found = find_weights(init, around)
        branch = load_weights(model, found)
        around.reporter.say(f"beginning with {found.path.name}{f', its {branch}' if branch else ''}")

    return bring


def load_weights(model: IBOT, found: Beginning) -> str:
    """Bring weights into a fresh model; return the branch they are of, empty for a plain file.

    Raises WeightsError for a damaged file or one of another architecture.
    """
    from cytobench.encoders import checkpoint as files

    read = files.read(found.path)
    held, branch = files.branch_of(read, found.branch or _branch_there(read), found.path)
    state = files.strip_prefixes(files.tensors(held, found.path))
    try:
        model.load_backbone({key: value for key, value in state.items() if not key.startswith(_HEADS)})
    except WeightsError as error:
        raise WeightsError(f"{found.path}: {error}") from error
    return branch


def origin_as_dict(origin: Origin) -> dict[str, Any]:
    """Return an origin as JSON holds it."""
    return {**asdict(origin), "pretrained_on": list(origin.pretrained_on)}


def origin_from_dict(raw: Mapping[str, Any] | None) -> Origin | None:
    """Return an origin that JSON holds; None for none."""
    return None if raw is None else Origin(**{**raw, "pretrained_on": tuple(raw["pretrained_on"])})


def _branch_there(read: Any) -> str:
    there = read if isinstance(read, Mapping) else {}
    return "student" if "student" in there and "teacher" not in there else "teacher"


def _card_beside(path: Path) -> dict[str, Any]:
    """Return the card that a run left beside these weights or this checkpoint of its own; else nothing."""
    try:
        card = tomllib.loads((path.parent / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if path.name in (card.get("weights"), checkpoint.NAME) else {}


def _of_backbone(name: str, around: Surroundings) -> Beginning:
    try:
        from cytobench.encoders.weights import resolve

        card = around.registry().backbone(name)
    except ImportError as error:
        raise UsageError(
            f"There is no checkpoint at {name}, and finding the backbone of that name needs {error.name}, "
            "which is not installed here: give the path of a checkpoint."
        ) from error
    _require_transformer(card)
    found = resolve(
        card.weights,
        sha256=card.sha256,
        card_dir=card.source.parent if card.source else None,
        home=around.home,
        gated=card.gated,
        licence_url=card.licence_url,
        reporter=around.reporter,
    )
    seen = card.pretrained_on or (UNDISCLOSED,)
    branch = card.branch if "branch" in card.model_fields_set else ""
    return Beginning(found.path, branch, Origin(card.name, found.sha256, seen, card.licence))


def _require_transformer(card: BackboneCard) -> None:
    if card.loader not in ("ibot", "timm"):
        raise UsageError(
            f"The backbone '{card.name}' is no vision transformer to begin with: it is {card.loader}."
        )
    if card.weights in ("random", "none"):
        raise UsageError(f"The backbone '{card.name}' has no weights to begin with: leave --init away.")
