"""What a run leaves for the benchmark: the teacher's weights and a backbone card that finds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as as_safetensors

from cytobench.datasets import DATASETS
from cytobench.errors import counted
from cytobench.features.durable import save_durably
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe
from cytobench.toml_text import toml_lines

WEIGHTS, CARD = "model.safetensors", "card.toml"
DATASETS_BY_SOURCE, GROUPED_SOURCES = "datasets_by_source", "grouped_sources"
"""Keys of a pool's description: known data sets a source's images belong to; sources compared by group."""


@dataclass(frozen=True)
class Origin:
    """The weights a run began with: whose they are, their digest, what they have seen, their licence."""

    name: str
    sha256: str
    pretrained_on: tuple[str, ...]
    licence: str


@dataclass(frozen=True)
class Facts:
    """What a card says about a run beyond its recipe.

    licence: of the weights; empty: that of the data sets they were made from.
    """

    name: str
    title: str = ""
    preset: str = ""
    device: str = ""
    hours: float = 0.0
    step: int = 0
    steps: int = 0
    licence: str = ""
    citation: str = "trained with CytoBench (iBOT: Zhou et al., ICLR 2022)"
    extra: str = ""
    began_with: Origin | None = None


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
    change, began = recipe.augmentation, facts.began_with
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
        "pretrained_on": list(dict.fromkeys([*_seen(pool), *(began.pretrained_on if began else ())])),
        "domain": "cytology",
        "licence": facts.licence or licence(pool, began),
        "citation": facts.citation,
    }
    return f'{toml_lines(lines)}\nnotes = """\n{_escaped(notes(recipe, pool, facts))}"""\n'


def notes(recipe: Recipe, pool: Pool, facts: Facts) -> str:
    """Return what the network saw and how it was trained, in a few sentences."""
    seen = "; ".join(_source(source.name, source.images, source.left_out) for source in pool.sources)
    crops = recipe.crops
    how = "iBOT" if recipe.loss.patch_weight else "DINO with iBOT's head (no masked-image loss)"
    began = facts.began_with
    start = f" It began with the weights {began.name} (SHA-256 {began.sha256})." if began else ""
    return (
        f"Trained here by {how}, preset {facts.preset}: {facts.step:,} of {facts.steps:,} steps of "
        f"{recipe.data.batch} images ({facts.step * recipe.data.batch:,} in all) on {facts.device}, "
        f"{facts.hours:.2f} h; {crops.global_count} crops of {crops.global_size} px and {crops.local_count} "
        f"of {crops.local_size} px.{start} Seen: {counted(len(pool), 'picture')} ({seen}); pool "
        f"{pool.digest[:16]}. {_kept_out(pool)}{' ' if facts.extra else ''}{facts.extra}"
    )


def licence(pool: Pool, began: Origin | None) -> str:
    """Return the licences of all that the weights were made from, each with the names it is for."""
    by_licence: dict[str, list[str]] = {}
    for name in _seen(pool):
        text = DATASETS[name].licence if name in DATASETS else "as its images'"
        by_licence.setdefault(text, []).append(name)
    if began is not None:
        by_licence.setdefault(began.licence or "not stated", []).append(f"the weights {began.name}")
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in by_licence.items())


def _seen(pool: Pool) -> list[str]:
    """Return the names of all data sets and other sources with pictures in the pool."""
    known: Mapping[str, list[str]] = pool.description.get(DATASETS_BY_SOURCE) or {}
    names = [[source.dataset or source.name, *known.get(source.name, [])] for source in pool.sources]
    return list(dict.fromkeys(name for some in names for name in some))


def _kept_out(pool: Pool) -> str:
    """Say what was compared with evaluation, and no more than was."""
    tasks = len(pool.description.get("guard") or [])
    if not tasks:
        return "No evaluation data were at hand to compare with, so overlap was not excluded."
    grouped = [one.name for one in pool.sources if one.name in pool.description.get(GROUPED_SOURCES, [])]
    everything = len(grouped) == len(pool.sources)
    how = "content and group" if everything else "content"
    some = f"; of {', '.join(grouped)} by group, too" if grouped and not everything else ""
    return f"Kept out by {how}: what {counted(tasks, 'task evaluates', 'tasks evaluate')}{some}."


def card_name(folder: Path) -> str:
    """Return a card name made of a run folder's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "run"
    return plain[:80]


def _source(name: str, images: int, left_out: Mapping[str, int]) -> str:
    lost = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    return f"{images:,} of {name}" + (f", left out {lost}" if lost else "")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
