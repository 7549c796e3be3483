"""What a publisher says of a CLIP model in its `open_clip_config.json`: the image tower, and how it is fed.

Weights do not tell everything: a tower with QuickGELU and one with GELU have the same keys and shapes. A card
of loader `open_clip` whose `arch` is `hf-hub:OWNER/REPO@COMMIT` reads the tower from the file that open_clip
itself reads there. The keys are those of `open_clip.create_model` (factory.py) and `PreprocessCfg`
(transform.py); those that could change the image tower and are not known here are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cytobench.encoders.deposit import SETTINGS
from cytobench.encoders.encoder import JSON
from cytobench.encoders.weights import Digests, resolve
from cytobench.errors import CytoBenchError, EncoderError, WeightsError

if TYPE_CHECKING:
    from cytobench.cards import BackboneCard
    from cytobench.progress import Reporter

FILE = "open_clip_config.json"
TOWER = ("embed_dim", "vision_cfg", "quick_gelu")
"""The keys of `model_cfg` that make the image tower."""
_OF_TEXT_AND_LOSS = frozenset(
    {"text_cfg", "custom_text", "multimodal_cfg", "output_dict"}
    | {"init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"}
)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_RESIZE_MODES = {"shortest": "shortest", "squash": "squash", "longest": "pad"}
_INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
_CLOSE = 1e-6  # of a mean or deviation on a scale of 0 to 1: far below one grey level


@dataclass(frozen=True)
class Published:
    """A configuration that was read.

    `tower`: `embed_dim`, `vision_cfg` and `quick_gelu`, as `arch_options` takes them; `preprocess`: the keys
    of a card's `preprocess`; `sha256`: of the file; `revision`: the commit it is of.
    """

    address: str
    sha256: str
    revision: str
    tower: Mapping[str, Any]
    preprocess: Mapping[str, Any]


def is_published(card: BackboneCard) -> bool:
    """Tell whether the card leaves its architecture to a configuration on the hub."""
    return card.loader == "open_clip" and card.arch.startswith("hf-hub:")


def is_settled(card: BackboneCard) -> bool:
    """Tell whether such a card holds what its configuration says."""
    return all(key in card.arch_options for key in TOWER)


def settled(
    card: BackboneCard, *, home: Path, digests: Digests, download: bool, reporter: Reporter | None = None
) -> tuple[BackboneCard, dict[str, JSON]]:
    """Return the card with its published tower in `arch_options`, and what that adds to its identity.

    The identity has the digest of the file and the tower in place of the address, so that two configurations
    never share features. A card whose architecture is not published comes back as it is. Raises WeightsError
    where the file cannot be had, EncoderError where it cannot be used or says something else than the card.
    """
    if not is_published(card):
        return card, {}
    found = read(
        card.arch,
        home=home,
        digests=digests,
        download=download,
        gated=card.gated,
        licence_url=card.licence_url or card.url,
        reporter=reporter,
    )
    differing = [*_other_tower(card, found), *_other_preprocessing(card, found)]
    if differing:
        raise EncoderError(
            f"{card.name}: the card and {found.address} disagree: {'; '.join(differing)}; correct the card, "
            "which must not differ in silence from what was published."
        )
    identity: dict[str, JSON] = {"arch": FILE, "configuration": {"sha256": found.sha256}}
    return card.model_copy(update={"arch_options": dict(found.tower)}), identity


def as_held(card: BackboneCard, *, home: Path, digests: Digests) -> BackboneCard:
    """Return the card with its published tower where that is on this machine, else as it is."""
    try:
        return settled(card, home=home, digests=digests, download=False)[0]
    except CytoBenchError:  # said by whoever needs the network
        return card


def read(
    arch: str,
    *,
    home: Path,
    digests: Digests,
    download: bool,
    gated: bool = False,
    licence_url: str = "",
    reporter: Reporter | None = None,
) -> Published:
    """Return the configuration at `hf-hub:OWNER/REPO[@REVISION][:FILE]`, fetched where that is allowed.

    It lies under `<home>/weights`, pinned to a commit and a digest at first use, like weights. Raises
    WeightsError where it cannot be had, EncoderError where it is none that open_clip could use.
    """
    address = arch if ":" in arch.removeprefix("hf-hub:") else f"{arch}:{FILE}"
    held = resolve(
        address,
        card_dir=None,
        home=home,
        gated=gated,
        licence_url=licence_url,
        download=download,
        reporter=reporter,
        digests=digests,
        words=SETTINGS,
    )
    try:
        content = json.loads(held.path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise WeightsError(f"{held.path} cannot be read ({error.strerror}); check its rights.") from error
    except ValueError as error:
        _refuse(address, f"{held.path} is not JSON ({error})")
    if not isinstance(content, dict):
        _refuse(address, f"{held.path} holds no table of settings")
    model = content.get("model_cfg")
    if not isinstance(model, dict):
        _refuse(address, "its key model_cfg is missing or no table")
    tower = _tower(model, address)
    size = _size(tower["vision_cfg"], address)
    given = content.get("preprocess_cfg") or {}
    if not isinstance(given, dict):
        _refuse(address, "its key preprocess_cfg is no table")
    preprocess = preprocess_of(given, size, address)
    return Published(address, held.sha256, held.revision, tower, preprocess)


def preprocess_of(config: Mapping[str, Any], size: int, whose: str) -> dict[str, Any]:
    """Return a card's `preprocess` for open_clip's settings: what is not said is as open_clip has it.

    `size`: side of the tower's input, px, which outranks what `config` says of it; `whose`: for messages.
    Raises EncoderError for settings that no card can express.
    """
    said = {key: value for key, value in config.items() if value is not None}
    if said.get("mode", "RGB") != "RGB":
        _refuse(whose, f"mode = {said['mode']!r} is not RGB")
    mode, interpolation = said.get("resize_mode", "shortest"), said.get("interpolation", "bicubic")
    if mode not in _RESIZE_MODES:
        _refuse(whose, f"resize_mode = {mode!r} is none of {', '.join(_RESIZE_MODES)}")
    if interpolation not in _INTERPOLATIONS:
        _refuse(whose, f"interpolation = {interpolation!r} is none of {', '.join(_INTERPOLATIONS)}")
    if mode == "longest" and said.get("fill_color", 0) != 0:
        _refuse(whose, f"fill_color = {said['fill_color']!r}: pictures are filled up with black only")
    return {
        "size": size,
        "resize_mode": _RESIZE_MODES[mode],
        "crop_pct": 1.0,
        "interpolation": _INTERPOLATIONS[interpolation],
        "mean": _three(said.get("mean", CLIP_MEAN), "mean", whose),
        "std": _three(said.get("std", CLIP_STD), "std", whose),
    }


def _tower(model: Mapping[str, Any], address: str) -> dict[str, Any]:
    strange = sorted(set(model) - set(TOWER) - _OF_TEXT_AND_LOSS)
    if strange:
        _refuse(address, f"model_cfg has {', '.join(strange)}, and what that does to the tower is not known")
    embed_dim, vision, quick = model.get("embed_dim"), model.get("vision_cfg"), model.get("quick_gelu", False)
    if not _whole(embed_dim):
        _refuse(address, f"model_cfg.embed_dim = {embed_dim!r} is no length")
    if not isinstance(vision, dict) or not vision:
        _refuse(address, "model_cfg.vision_cfg is missing or no table")
    if not isinstance(quick, bool):
        _refuse(address, f"model_cfg.quick_gelu = {quick!r} is neither true nor false")
    return {"embed_dim": embed_dim, "vision_cfg": vision, "quick_gelu": quick}


def _size(vision: Mapping[str, Any], address: str) -> int:
    size = vision.get("image_size", 224)
    sides = size if isinstance(size, list) and len(size) == 2 else [size, size]
    if not all(map(_whole, sides)) or sides[0] != sides[1]:
        _refuse(address, f"vision_cfg.image_size = {size!r} is no square; CytoBench cuts square crops only")
    return int(sides[0])


def _three(values: Any, key: str, whose: str) -> tuple[float, ...]:
    numbers = values if isinstance(values, list | tuple) else []
    if len(numbers) != 3 or not all(type(value) in (int, float) for value in numbers):
        _refuse(whose, f"{key} = {values!r} is not one number for red, green and blue each")
    return tuple(float(value) for value in numbers)


def _whole(value: object) -> bool:
    return type(value) is int and value > 0


def _other_tower(card: BackboneCard, found: Published) -> list[str]:
    """Name the options of a card that are not what was published."""
    return [
        _said(f"arch_options.{key}", value, found.tower.get(key, "nothing"))
        for key, value in card.arch_options.items()
        if found.tower.get(key) != value
    ]


def _other_preprocessing(card: BackboneCard, found: Published) -> list[str]:
    mine: Mapping[str, Any] = card.preprocess.model_dump() if card.preprocess is not None else {}
    return [
        _said(key, mine.get(key), theirs)
        for key, theirs in found.preprocess.items()
        if not _equal(mine.get(key), theirs)
    ]


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, tuple) and isinstance(mine, Sequence):
        return all(math.isclose(a, b, abs_tol=_CLOSE) for a, b in zip(mine, theirs, strict=True))
    return bool(mine == theirs)


def _said(key: str, mine: object, theirs: object) -> str:
    return f"{key} = {_shown(mine)} in the card, {_shown(theirs)} published"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return (
            "[" + ", ".join(f"{part:g}" if part == float(f"{part:g}") else str(part) for part in value) + "]"
        )
    return value if isinstance(value, str) else json.dumps(value)


def _no_number(text: str) -> NoReturn:
    msg = f"{text} is no number of JSON"
    raise ValueError(msg)


def _refuse(whose: str, problem: str) -> NoReturn:
    raise EncoderError(
        f"{whose} cannot be used: {problem}; name a revision that open_clip itself can load, or a model of "
        "open_clip with arch_options."
    )
