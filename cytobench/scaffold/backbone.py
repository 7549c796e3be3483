"""A backbone card written from what timm, open_clip or a checkpoint say of a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard
from cytobench.encoders.open_clip_config import is_published
from cytobench.encoders.uri import card_from_uri
from cytobench.errors import UsageError, WeightsError
from cytobench.scaffold.writing import Draft, fill, identifier, new_name, path_in_card

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
_KEYS = (
    "name", "title", "loader", "arch", "arch_options", "weights", "sha256", "branch", "dim", "pooling",
    "preprocess", "pretrained_on", "domain", "licence", "citation",
)  # fmt: skip
_FILL_IN = "fill in: pretrained_on (data sets it has seen), domain, licence, citation"


def draft_backbone(
    name: str,
    out: Path,
    *,
    timm: str = "",
    open_clip: str = "",
    ibot: Path | None = None,
    weights: Path | None = None,
    arch: str = "",
    function: bool = False,
    home: Path | None = None,
) -> Draft:
    """Return a card `<out>/backbones/<name>.toml`, and with `function` a module beside it.

    timm, open_clip: names as in `timm:NAME`, `open_clip:MODEL/PRETRAINED` and `open_clip:hf-hub:OWNER/REPO`,
    whose configuration is kept in `home`; ibot, weights: local files, of the architecture `arch`, which is
    read off plain vision transformers. Raises UsageError where it is not said what the network is, CardError
    for unknown names, WeightsError for files that cannot be read or had.
    """
    card = out / "backbones" / f"{name}.toml"
    new_name(name, "backbone", card)
    if sum(map(bool, (timm, open_clip, ibot, weights, function))) != 1:
        raise UsageError(
            "Say what the network is, in one way: --timm NAME, --open-clip MODEL/PRETRAINED, --ibot "
            "CHECKPOINT, --weights FILE or --function."
        )
    if function:
        return _of_function(name, out, card)
    if ibot or weights:
        keys, said = _of_file(ibot or weights or Path(), card, arch, "ibot" if ibot else "timm")
    else:
        made = card_from_uri(f"timm:{timm}" if timm else f"open_clip:{open_clip}", home=home)
        keys = made.model_dump(mode="json")
        if is_published(made):
            keys.pop("arch_options")  # they stand in the file that arch names
        said = [f"preprocess, weights and dim are those of {made.name}", _FILL_IN]
    return Draft({card: _text(keys | {"name": name, "title": name}, said)}, tuple(said))


def _text(keys: dict[str, Any], said: list[str]) -> str:
    parse_card(BackboneCard, {key: keys[key] for key in _KEYS if key in keys}, source=None)
    shown = {key: keys[key] for key in _KEYS if keys.get(key) not in (None, "", {})}
    return fill("backbone.toml.jinja", keys=shown, said=said)


def _of_function(name: str, out: Path, card: Path) -> Draft:
    module = f"{identifier(name)}_loader"
    keys = {
        "name": name,
        "title": name,
        "loader": f"{module}:build",
        "weights": "random",
        "dim": 64,
        "preprocess": {"size": 224, **_IMAGENET},
        "domain": "none",
        "licence": "private",
        "citation": "a network of one's own",
    }
    said = [
        f"the network is built by {module}.py; it is small and random until you put yours there",
        _FILL_IN,
    ]
    return Draft({card: _text(keys, said), out / f"{module}.py": fill("loader.py.jinja")}, tuple(said))


def _of_file(path: Path, card: Path, arch: str, loader: str) -> tuple[dict[str, Any], list[str]]:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise WeightsError(f"There is no file of weights at {path}; correct the path.")
    guessed, size = _vit_of(path)
    if not (arch or guessed):
        raise UsageError(
            f"{path} holds no plain vision transformer, so its architecture cannot be read off; name it with "
            "--arch, as timm calls it."
        )
    keys: dict[str, Any] = {
        "name": "draft",
        "title": "draft",
        "loader": loader,
        "arch": arch or guessed,
        "arch_options": {"img_size": size} if size not in (0, 224) else {},
        "weights": path_in_card(path, card),
        "dim": 1,
        "pooling": "cls",
        "preprocess": {"size": size or 224, **_IMAGENET},
        "domain": "cytology",
        "licence": "private",
        "citation": "mine",
    }
    from cytobench.checks.backbone import measured_dim

    keys["dim"] = measured_dim(parse_card(BackboneCard, keys, source=None))
    with path.open("rb") as file:
        keys["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    said = [] if arch else [f"arch was read off the weights: {guessed}, images of {size or 224} px"]
    return keys, [*said, "normalisation is ImageNet's, a guess: compare with the training", _FILL_IN]


def _vit_of(path: Path) -> tuple[str, int]:
    """Return the architecture and image size of a plain vision transformer's weights, "" and 0 for others."""
    from cytobench.encoders import checkpoint

    held = checkpoint.read(path)
    if isinstance(held, dict):
        held = held.get("teacher", held)
    state = checkpoint.strip_prefixes(checkpoint.tensors(held, path))
    kernel, places = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    if kernel is None or places is None or kernel.ndim != 4 or int(kernel.shape[0]) not in _SIZES:
        return "", 0
    patch = int(kernel.shape[-1])
    side = round((int(places.shape[1]) - 1) ** 0.5)
    return f"vit_{_SIZES[int(kernel.shape[0])]}_patch{patch}_224", side * patch
