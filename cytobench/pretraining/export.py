"""What a run leaves for the benchmark: the teacher's weights and a backbone card that finds them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save as as_safetensors

from cytobench.features.durable import save_durably
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe

WEIGHTS, CARD = "model.safetensors", "card.toml"


@dataclass(frozen=True)
class Facts:
    """What a card says about a run beyond its recipe."""

    name: str
    title: str
    preset: str
    device: str
    hours: float
    step: int
    steps: int
    licence: str = "as the images': see NOTICE of the data"
    citation: str = "trained with CytoBench (iBOT: Zhou et al., ICLR 2022)"
    extra: str = ""


def export(
    model: IBOT,
    recipe: Recipe,
    pool: Pool,
    facts: Facts,
    folder: Path,
    *,
    dtype: Literal["fp32", "fp16"] = "fp32",
) -> Path:
    """Write the teacher's backbone and its card to `folder`; return the card. Raises StoreError."""
    state = model.teacher.backbone.timm_state()
    kind = torch.float16 if dtype == "fp16" else torch.float32
    weights = as_safetensors(
        {name: value.detach().to("cpu", kind).contiguous() for name, value in state.items()}
    )
    save_durably(folder / WEIGHTS, lambda file: file.write(weights), option="--out")
    text = card_text(recipe, pool, facts, dim=model.teacher.backbone.embed_dim)
    save_durably(folder / CARD, lambda file: file.write(text.encode()), option="--out")
    return folder / CARD


def card_text(recipe: Recipe, pool: Pool, facts: Facts, *, dim: int, weights: str = WEIGHTS) -> str:
    """Return a backbone card as TOML, with what the network has seen."""
    change = recipe.augmentation
    preprocess = {
        "size": recipe.crops.global_size,
        "resize_mode": "shortest",
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": list(change.mean),
        "std": list(change.std),
    }
    options = {**recipe.network.options, "img_size": recipe.crops.global_size}
    lines = {
        "name": facts.name,
        "title": facts.title,
        "loader": "ibot",
        "arch": recipe.network.arch,
        "arch_options": options,
        "weights": weights,
        "dim": dim,
        "pooling": "cls",
        "preprocess": preprocess,
        "pretrained_on": list(dict.fromkeys(source.dataset or source.name for source in pool.sources)),
        "domain": "cytology",
        "licence": facts.licence,
        "citation": facts.citation,
    }
    card = "\n".join(f"{key} = {_toml(value)}" for key, value in lines.items())
    return f'{card}\nnotes = """\n{_escaped(notes(recipe, pool, facts))}"""\n'


def notes(recipe: Recipe, pool: Pool, facts: Facts) -> str:
    """Return what the network saw and how it was trained, in a few sentences."""
    seen = "; ".join(_source(source.name, source.images, source.left_out) for source in pool.sources)
    crops = recipe.crops
    how = "iBOT" if recipe.loss.patch_weight else "DINO with iBOT's head (no masked-image loss)"
    guard = pool.description.get("guard") or []
    kept_out = (
        f"Kept out by content and group: what {len(guard)} tasks evaluate."
        if guard
        else "No evaluation data were at hand to compare with, so overlap was not excluded."
    )
    return (
        f"Trained here by {how}, preset {facts.preset}: {facts.step:,} of {facts.steps:,} steps of "
        f"{recipe.data.batch} images ({facts.step * recipe.data.batch:,} in all) on {facts.device}, "
        f"{facts.hours:.2f} h; {crops.global_count} crops of {crops.global_size} px and {crops.local_count} "
        f"of {crops.local_size} px. Seen: {len(pool):,} pictures ({seen}); pool {pool.digest[:16]}. "
        f"{kept_out}"
        f"{' ' if facts.extra else ''}{facts.extra}"
    )


def card_name(folder: Path) -> str:
    """Return a card name made of a run folder's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "run"
    return plain[:80]


def _source(name: str, images: int, left_out: Mapping[str, int]) -> str:
    lost = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    return f"{images:,} of {name}" + (f", left out {lost}" if lost else "")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _toml(value: Any) -> str:
    """Return a value as TOML writes it; JSON's texts, numbers and lists are TOML's too."""
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)
