"""Backbones without a card: `timm:NAME`, `open_clip:MODEL/PRETRAINED`, `ibot:PATH?arch=…`.

`open_clip:hf-hub:OWNER/REPO[@REVISION]` is a model that its publishers put on the hub with a configuration
of open_clip: the card says what that file says, so the file is fetched where it is not here.

Options follow a `?`, joined by `&`:

* all: `pooling`, `precision`, `seed`;
* `timm:` and `open_clip:`: `pretrained=false` for random weights; `timm:` hands any other option
  (`img_size=224`) to the architecture;
* `ibot:`: `arch` (needed) and `branch=student`.

What is on or off is written true or false, in any case. What the source does not say (licence, training sets)
is said to be unknown. A card is named like its URI; an iBOT card, whose path is relative to the working
directory, by the last two parts of that path and a digest of the whole, `ibot:run3/checkpoint.pth@1f0c92ab`.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard
from cytobench.errors import CardError, EncoderError

_COMMON = ("pooling", "precision", "seed")
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HUB = "hf-hub:"
_OPEN_CLIP_FILE = "open_clip_model.safetensors"  # the name under which open_clip publishes on the hub
_UNKNOWN = "unknown; see the weights' own page"
_BOOLEANS = {"true": True, "false": False}
_NO_BOOLEANS = frozenset({"yes", "no", "on", "off"})
_SHOWN_AT_MOST = 120  # characters of a path in a card's name, which may have 200


def card_from_uri(uri: str, *, home: Path | None = None, download: bool = True) -> BackboneCard:
    """Return a card for `uri`; raises CardError for a name or option that does not exist.

    Only this look-up needs torch and timm or open_clip (for the model's own preprocessing and feature
    length). `home`: where configurations of the hub are kept, fetched there if `download` allows; raises
    WeightsError where one cannot be had.
    """
    scheme, _, rest = uri.partition(":")
    target, _, query = rest.partition("?")
    options = _options(uri, query)
    makers = {"timm": _timm_card, "open_clip": _open_clip_card, "ibot": _ibot_card}
    if scheme == "open_clip" and target.startswith(_HUB):
        makers["open_clip"] = partial(_hub_card, home=home, download=download)
    if scheme not in makers or not target:
        raise CardError(
            f"'{uri}' names no backbone; write timm:NAME, open_clip:MODEL/PRETRAINED, "
            "open_clip:hf-hub:OWNER/REPO or ibot:PATH?arch=…"
        )
    try:
        raw = makers[scheme](uri, target, options)
    except EncoderError as error:
        raise CardError(str(error)) from error
    return parse_card(BackboneCard, raw, source=None, origin="command line")


def _options(uri: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise CardError(f"'{uri}': the option '{pair}' has no value; write {key or 'key'}=value.")
        if value.lower() in _NO_BOOLEANS:
            raise _no_boolean(uri, key, value)
        options[key] = _value(value)
    return options


def _no_boolean(uri: str, key: str, value: object) -> CardError:
    return CardError(f"'{uri}': {key}={value} is neither true nor false; write {key}=true or {key}=false.")


def _pretrained(uri: str, options: dict[str, Any]) -> bool:
    """Take the option out of `options`; the default is true."""
    value = options.pop("pretrained", True)
    if not isinstance(value, bool):
        raise _no_boolean(uri, "pretrained", value)
    return value


def _value(text: str) -> Any:
    """A number, true or false where it reads as one, else the text itself."""
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown(uri: str, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise CardError(f"'{uri}': unknown option {', '.join(unknown)}; choose from {', '.join(known)}.")


def _common(uri: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": uri,
        "title": uri,
        "domain": "natural",
        "licence": _UNKNOWN,
        "citation": _UNKNOWN,
        **{key: options[key] for key in _COMMON if key in options},
    }


def _timm_card(uri: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg, is_model

    from cytobench.encoders import timm_vit

    arch, _, tag = target.partition(".")
    if not is_model(arch):
        raise CardError(_no_timm_model(uri, arch))
    try:
        known: Any = get_pretrained_cfg(target)
    except RuntimeError as error:
        raise CardError(
            f"'{uri}': timm has no weights '{tag}' for {arch}; see timm.list_pretrained('{arch}*')."
        ) from error
    config = known.to_dict() if known is not None else {}
    pretrained = _pretrained(uri, options)
    arch_options = {key: options.pop(key) for key in list(options) if key not in _COMMON}
    size = int(arch_options.get("img_size", config.get("input_size", (3, 224, 224))[-1]))
    raw = _common(uri, options) | {
        "loader": "timm",
        "arch": arch,
        "arch_options": arch_options,
        "weights": _timm_weights(uri, config) if pretrained else "random",
        "preprocess": _timm_preprocess(config, size),
    }
    if pretrained:
        raw["licence"] = config.get("license") or _UNKNOWN
        raw["citation"] = f"timm model {target}"
    else:
        raw["domain"] = "none"
    return _with_features(raw, timm_vit.dim_of)


def _no_timm_model(uri: str, arch: str) -> str:
    from timm import list_models

    near = _nearest(arch, list_models(), "see timm.list_models().")
    return f"'{uri}': timm knows no architecture '{arch}'; {near}"


def _nearest(name: str, among: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, among, n=3)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def _timm_weights(uri: str, config: Mapping[str, Any]) -> str:
    if config.get("hf_hub_id"):
        file = config.get("hf_hub_filename")
        return f"hf-hub:{config['hf_hub_id']}" + (f":{file}" if file else "")
    if config.get("url"):
        return str(config["url"])
    raise CardError(f"'{uri}': timm has no pretrained weights for it; add ?pretrained=false for random ones.")


def _timm_preprocess(config: Mapping[str, Any], size: int) -> dict[str, Any]:
    mode = {"squash": "squash", "border": "pad"}.get(str(config.get("crop_mode")), "shortest")
    return {
        "size": size,
        "resize_mode": mode,
        "crop_pct": float(config.get("crop_pct") or 0.875),
        "interpolation": config.get("interpolation") or "bicubic",
        "mean": config.get("mean", _IMAGENET["mean"]),
        "std": config.get("std", _IMAGENET["std"]),
    }


def _with_features(raw: dict[str, Any], dim_of: Callable[[BackboneCard], int]) -> dict[str, Any]:
    """Add pooling and feature length: the class token where there is one, else the model's own head."""
    asked = raw.get("pooling")
    for pooling in [asked] if asked else ["cls", "head"]:
        draft = parse_card(BackboneCard, raw | {"pooling": pooling, "dim": 1}, source=None)
        try:
            return raw | {"pooling": pooling, "dim": dim_of(draft)}
        except EncoderError:
            if asked or pooling == "head":
                raise
    raise AssertionError("the last pooling either returns or raises")


def _open_clip_card(uri: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
    import open_clip

    from cytobench.encoders import open_clip_config, open_clip_model

    _refuse_unknown(uri, options, ("pretrained", *_COMMON))
    model, _, tag = target.partition("/")
    pretrained = _pretrained(uri, options)
    if open_clip.get_model_config(model) is None:
        near = _nearest(model, open_clip.list_models(), "see open_clip.list_models().")
        raise CardError(f"'{uri}': open_clip knows no model '{model}'; {near}")
    config = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if pretrained and not config:
        raise CardError(_no_open_clip_weights(uri, model, tag))
    raw = _common(uri, options) | {
        "loader": "open_clip",
        "arch": model,
        "arch_options": {"quick_gelu": True} if config.get("quick_gelu") else {},
        "weights": _open_clip_weights(uri, config) if pretrained else "random",
        "preprocess": open_clip_config.preprocess_of(config, _open_clip_size(uri, model), f"'{uri}'"),
        "citation": f"open_clip model {target}",
    }
    if not pretrained:
        raw["domain"] = "none"
    return _with_features(raw, open_clip_model.dim_of)


def _hub_card(
    uri: str, target: str, options: dict[str, Any], *, home: Path | None, download: bool
) -> dict[str, Any]:
    """Say what a repository's `open_clip_config.json` says, pinned to the commit it was read at."""
    from cytobench.digests import FileDigests
    from cytobench.encoders import open_clip_config, open_clip_model
    from cytobench.encoders.hub import Address

    _refuse_unknown(uri, options, ("pretrained", *_COMMON))
    pretrained = _pretrained(uri, options)
    if home is None:
        raise CardError(f"'{uri}': there is no folder to keep its configuration in; name one with --home.")
    asked = Address.parse(target)
    read = partial(open_clip_config.read, home=home, digests=FileDigests(home), download=download)
    found = read(f"{_HUB}{asked.repo}@{asked.revision}")
    pinned = f"{_HUB}{asked.repo}@{found.revision or asked.revision}"
    arch = f"{pinned}:{open_clip_config.FILE}"
    if arch != found.address:
        read(arch)  # so that the card that is made can be used later without a connection
    raw = _common(uri, options) | {
        "loader": "open_clip",
        "arch": arch,
        "arch_options": dict(found.tower),
        "weights": (f"{pinned}:{asked.file}" if asked.file else pinned) if pretrained else "random",
        "preprocess": dict(found.preprocess),
        "citation": f"the page https://huggingface.co/{asked.repo}",
        "url": f"https://huggingface.co/{asked.repo}",
    }
    if not pretrained:
        raw["domain"] = "none"
    return _with_features(raw, open_clip_model.dim_of)


def _no_open_clip_weights(uri: str, model: str, tag: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        return f"'{uri}': open_clip has no weights for '{model}'; add ?pretrained=false for random ones."
    there = ", ".join(tags)
    if not tag:
        return f"'{uri}': the weights are missing; write open_clip:{model}/{tags[0]} (there are {there})."
    return f"'{uri}': open_clip has no weights '{tag}' for the model '{model}'; it has {there}."


def _open_clip_size(uri: str, model: str) -> int:
    import open_clip

    size = (open_clip.get_model_config(model) or {}).get("vision_cfg", {}).get("image_size", 224)
    if not isinstance(size, int):
        raise CardError(f"'{uri}': its images are not square ({size}); CytoBench cuts square crops only.")
    return size


def _open_clip_weights(uri: str, config: Mapping[str, Any]) -> str:
    owner, _, rest = str(config.get("hf_hub", "")).partition("/")
    repository, _, file = rest.partition("/")
    if owner and repository:
        return f"hf-hub:{owner}/{repository}:{file or _OPEN_CLIP_FILE}"
    if config.get("url"):
        return str(config["url"])
    raise CardError(f"'{uri}': open_clip does not say where its weights are; write a backbone card instead.")


def _ibot_card(uri: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
    from cytobench.encoders import timm_vit

    _refuse_unknown(uri, options, ("arch", "branch", *_COMMON))
    if "arch" not in options:
        raise CardError(
            f"'{uri}': the architecture is missing; write ibot:{target}?arch=vit_base_patch16_224."
        )
    path = Path(target).expanduser().absolute()
    raw = _common(uri, options) | {
        "name": "ibot",
        "title": f"iBOT checkpoint {path.name}",
        "loader": "ibot",
        "arch": options["arch"],
        "branch": options.get("branch", "teacher"),
        "weights": str(path),
        "domain": "none",
        "preprocess": {"size": 224, **_IMAGENET},
    }
    complete = _with_features(raw, timm_vit.dim_of)
    return complete | {"name": _ibot_name(path, complete)}


def _ibot_name(path: Path, raw: Mapping[str, Any]) -> str:
    """Name a checkpoint so that no other path, architecture or option has the same name."""
    options = {key: raw[key] for key in ("arch", "branch", *_COMMON) if key in raw}
    options = {"precision": "fp32", "seed": 0} | options
    canonical = f"ibot:{path}?" + "&".join(f"{key}={options[key]}" for key in sorted(options))
    branch = "" if raw["branch"] == "teacher" else f"?branch={raw['branch']}"
    shown = re.sub(r"[^A-Za-z0-9._:/+=-]", "_", "/".join(path.parts[-2:]))[-_SHOWN_AT_MOST:]
    return f"ibot:{shown}{branch}@{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"
