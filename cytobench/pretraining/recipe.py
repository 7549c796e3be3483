"""A pretraining run in full: what is trained, on which views, by which schedule. Presets, and TOML over them.

Frozen dataclasses without a validation library, so that training starts where only torch, timm and numpy are.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from cytobench.errors import UsageError
from cytobench.pretraining.draws import Augmentation, MultiCrop
from cytobench.pretraining.heads import HeadShape
from cytobench.pretraining.ibot import Objective
from cytobench.pretraining.masking import Masking

_T = TypeVar("_T")


@dataclass(frozen=True)
class Network:
    """The vision transformer (a timm name and further arguments) and its stochastic depth."""

    arch: str = "vit_small_patch16_224"
    options: Mapping[str, Any] = field(default_factory=dict)
    drop_path: float = 0.1
    positions: Literal["ibot", "timm"] = "ibot"


@dataclass(frozen=True)
class Start:
    """How a fresh network begins. The defaults are iBOT's, made for runs of many thousand steps.

    weights "fan-in" draws linear layers at 1 / sqrt(inputs) instead of 0.02: in a narrow network class tokens
    then differ between images from the first step. whiten_head sets the head's first layer so that class
    tokens of the first images have mean 0 and deviation 1 there: the teacher's answers differ at once, where
    otherwise thousands of steps pass before they do.
    """

    weights: Literal["ibot", "fan-in"] = "ibot"
    whiten_head: bool = False


@dataclass(frozen=True)
class Schedule:
    """What changes while training, in epochs of `epoch_steps` steps (0: one pass over the images).

    lr is the peak rate for a batch of 256 (`lr_rule` "linear"), 1024 ("sqrt"), or any ("none"). clip: largest
    L2 norm of gradients, of each parameter by itself or of all together; 0 never clips.
    """

    epochs: int = 100
    epoch_steps: int = 0
    lr: float = 5e-4
    lr_rule: Literal["linear", "sqrt", "none"] = "linear"
    final_lr: float = 1e-6
    warmup_epochs: int = 10
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    momentum: float = 0.996
    final_momentum: float = 1.0
    temperature: float = 0.07
    warmup_temperature: float = 0.04
    patch_temperature: float = 0.07
    warmup_patch_temperature: float = 0.04
    temperature_epochs: int = 30
    freeze_last_layer_epochs: int = 1
    clip: float = 3.0
    clip_mode: Literal["each", "all"] = "each"
    beta1: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class Data:
    """Which pictures, how large they are kept, and how they are drawn.

    batch: images in one step, all devices together; side: px to which every picture is resized once; tile:
    side in px of squares cut from each image (0: its central square); window: side in px of the square round
    each box of a manifest (0: the task's own, or the box's longer side); min_tissue: least share of pixels
    that are neither glass nor black; near_duplicates: bits of 256 by which two pictures must differ for both
    to stay (0: only exact copies go); share: which part of the pictures is kept, chosen by their content;
    balance: 0 draws sources by their sizes, 1 all alike; mixed: whether one batch holds pictures of several
    sources. Telling very different sources apart is the first thing a run learns from mixed batches; with one
    source a batch (and Sinkhorn, which balances within the batch) it must look closer from the start.
    """

    batch: int = 256
    side: int = 256
    tile: int = 0
    window: int = 0
    min_tissue: float = 0.0
    near_duplicates: int = 16
    share: float = 1.0
    balance: float = 0.5
    mixed: bool = True


@dataclass(frozen=True)
class Running:
    """How the run is carried out. Steps are counted from its start.

    precision "auto": bfloat16 where the device has fast units for it; compile "auto": on CUDA devices, and
    for runs of 500 steps on a CPU with a C++ compiler; weights: how numbers are written to model.safetensors.
    """

    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    weights: Literal["fp32", "fp16"] = "fp32"
    checkpoint_steps: int = 500
    log_steps: int = 20
    knn_steps: int = 500
    readers: int = 0


@dataclass(frozen=True)
class Recipe:
    """All there is to say about a run but its images."""

    network: Network = Network()
    start: Start = Start()
    head: HeadShape = HeadShape()
    loss: Objective = Objective()
    masking: Masking = Masking()
    crops: MultiCrop = MultiCrop()
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    data: Data = Data()
    running: Running = Running()


IBOT_VIEWS = Augmentation(
    turns="horizontal",
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    colour_p=0.8,
    grey_p=0.2,
    stain="none",
    blur_p=(1.0, 0.1, 0.5),
    blur_sigma=(0.1, 2.0),
    blur_reference=0,
    solarise_p=(0.0, 0.2, 0.0),
)
"""iBOT's published augmentation of ImageNet."""

AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {"cyto": Augmentation(), "ibot-imagenet": IBOT_VIEWS}
)
"""Augmentations by name."""

_CYTO_CROPS = MultiCrop(global_scale=(0.32, 1.0), local_scale=(0.1, 0.32))
_STEADY = Masking(exact=True)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        # The published recipe of iBOT's ViT-S/16 (800 epochs, 16 GPUs), to the letter.
        "ibot-imagenet-vits16": Recipe(
            network=Network("vit_small_patch16_224"),
            augmentation=IBOT_VIEWS,
            schedule=Schedule(epochs=800),
            data=Data(batch=1024, near_duplicates=0, balance=0.0),
        ),
        # CytoFM's architecture; its other settings were not published: iBOT's advice for ViT-B, cells' views.
        "cytofm-vitb16": Recipe(
            network=Network("vit_base_patch16_224"),
            head=HeadShape(norm_last_layer=True),
            masking=_STEADY,
            crops=_CYTO_CROPS,
            schedule=Schedule(epochs=200, epoch_steps=625, freeze_last_layer_epochs=3, clip=0.3),
            data=Data(batch=512),
        ),
        "cytofm-vits16": Recipe(
            network=Network("vit_small_patch16_224"),
            masking=_STEADY,
            crops=_CYTO_CROPS,
            schedule=Schedule(epochs=200, epoch_steps=312),
            data=Data(batch=512),
        ),
        # Small crops, few of them, a small head and a quick start: for a laptop and minutes, not days.
        "cytofm-vitti16": Recipe(
            network=Network("vit_tiny_patch16_224", drop_path=0.0),
            start=Start("fan-in", whiten_head=True),
            head=HeadShape(out_dim=1024, patch_out_dim=1024, hidden_dim=1024, norm_last_layer=True),
            loss=Objective(patch_centre="masked", centring="sinkhorn"),
            masking=_STEADY,
            crops=MultiCrop(
                global_size=80,
                global_scale=(0.5, 1.0),
                local_count=4,
                local_size=32,
                local_scale=(0.1, 0.5),
            ),
            augmentation=Augmentation(
                brightness=0.4, contrast=0.4, saturation=0.3, hue=0.15, grey_p=0.2, stain_sigma=0.15
            ),
            schedule=Schedule(
                epochs=12,
                epoch_steps=50,
                lr=6e-3,
                warmup_epochs=3,
                final_weight_decay=0.2,
                momentum=0.98,
                temperature=0.04,
                patch_temperature=0.04,
                temperature_epochs=0,
            ),
            data=Data(batch=64, side=128),
            running=Running(checkpoint_steps=50, log_steps=10, knn_steps=50),
        ),
    }
)
"""Recipes by name."""


def preset(name: str) -> Recipe:
    """Return a recipe by name; raises UsageError with the nearest names."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(PRESETS)}."
        raise UsageError(f"There is no pretraining preset named '{name}'; {hint}")
    return PRESETS[name]


def read_overrides(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file of settings; raises UsageError with the line of a syntax error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error}); correct the file.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); check the path.") from error


def override(base: _T, raw: Mapping[str, Any], *, where: str, path: str = "") -> _T:
    """Return the settings `base` with those of `raw` in their places.

    Raises UsageError that names the file, the key and, for an unknown one, the nearest valid key.
    """
    hints = get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(hints)}."
            raise UsageError(f"{where}: unknown key '{path}{key}'; {hint}")
        current = getattr(base, key)
        if is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, Mapping):
                raise UsageError(f"{where}: '{path}{key}' is a table of settings; write [{path}{key}].")
            changes[key] = override(current, value, where=where, path=f"{path}{key}.")
        else:
            changes[key] = _fitting(hints[key], value, where=f"{where}: {path}{key}")
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]  # every base is a dataclass
    except ValueError as error:
        raise UsageError(f"{where}: {error}.") from error


def as_dict(settings: Any) -> dict[str, Any]:
    """Return settings as nested plain dictionaries, lists and scalars, as TOML and JSON hold them."""
    made: dict[str, Any] = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value):
            made[one.name] = as_dict(value)
        elif isinstance(value, Mapping):
            made[one.name] = dict(value)
        else:
            made[one.name] = list(value) if isinstance(value, tuple) else value
    return made


def differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> list[str]:
    """Return the dotted names of settings in which two nested dictionaries differ."""
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{path}{key}.")
        elif left != right:
            found.append(f"{path}{key}")
    return found


def with_short_warmup(recipe: Recipe) -> Recipe:
    """Return the recipe with a warm-up of half the training at most: a preset's may outlast a trial."""
    schedule = recipe.schedule
    warmup = min(schedule.warmup_epochs, schedule.epochs // 2)
    return dataclasses.replace(recipe, schedule=dataclasses.replace(schedule, warmup_epochs=max(warmup, 0)))


def check(recipe: Recipe) -> Recipe:
    """Return the recipe if its numbers can be trained with; raises UsageError that names a bad one."""
    crops, schedule, data, running = recipe.crops, recipe.schedule, recipe.data, recipe.running
    head, loss, change = recipe.head, recipe.loss, recipe.augmentation
    chances = [change.colour_p, change.grey_p, change.stain_p, *change.blur_p, *change.solarise_p]
    rules = [
        ("crops.global_count must be at least 2", crops.global_count >= 2),
        ("crops.local_count cannot be negative", crops.local_count >= 0),
        ("crops.global_scale must rise within 0..1", 0 < crops.global_scale[0] <= crops.global_scale[1] <= 1),
        ("crops.local_scale must rise within 0..1", 0 < crops.local_scale[0] <= crops.local_scale[1] <= 1),
        ("crops.aspect must rise from above 0", 0 < crops.aspect[0] <= crops.aspect[1]),
        ("schedule.epochs must be at least 1", schedule.epochs >= 1),
        ("schedule.epoch_steps cannot be negative", schedule.epoch_steps >= 0),
        ("schedule.warmup_epochs must lie in 0..epochs", 0 <= schedule.warmup_epochs <= schedule.epochs),
        ("schedule.temperature_epochs cannot be negative", schedule.temperature_epochs >= 0),
        ("schedule.lr must be above 0", schedule.lr > 0 and math.isfinite(schedule.lr)),
        (
            "the temperatures must be above 0",
            min(
                schedule.temperature,
                schedule.warmup_temperature,
                schedule.patch_temperature,
                schedule.warmup_patch_temperature,
                recipe.loss.student_temperature,
            )
            > 0,
        ),
        ("schedule.momentum must lie in 0..1", 0 <= schedule.momentum <= schedule.final_momentum <= 1),
        ("schedule.clip cannot be negative", schedule.clip >= 0),
        ("schedule.beta1 and beta2 must lie in 0..1, below 1", 0 <= schedule.beta1 < 1 > schedule.beta2 >= 0),
        ("network.drop_path must lie in 0..1, below 1", 0 <= recipe.network.drop_path < 1),
        ("head.out_dim and patch_out_dim must be at least 2", min(head.out_dim, head.patch_out_dim) >= 2),
        ("head.hidden_dim and bottleneck_dim must be above 0", min(head.hidden_dim, head.bottleneck_dim) > 0),
        ("loss.cls_weight and patch_weight cannot be negative", min(loss.cls_weight, loss.patch_weight) >= 0),
        ("loss.sinkhorn_iterations must be at least 1", loss.sinkhorn_iterations >= 1),
        ("augmentation.std must be above 0", min(change.std) > 0),
        ("probabilities of augmentation must lie in 0..1", all(0 <= p <= 1 for p in chances)),
        ("data.batch must be at least 2", data.batch >= 2),
        ("data.side must be at least crops.global_size", data.side >= crops.global_size),
        ("data.tile and window cannot be negative", min(data.tile, data.window) >= 0),
        ("data.min_tissue must lie in 0..1", 0 <= data.min_tissue <= 1),
        ("running.seed and readers cannot be negative", min(running.seed, running.readers) >= 0),
        ("data.share must lie above 0 and at most at 1", 0 < data.share <= 1),
        ("data.balance must lie in 0..1", 0 <= data.balance <= 1),
        ("data.near_duplicates must lie in 0..32", 0 <= data.near_duplicates <= 32),
        (
            "running.checkpoint_steps, log_steps and knn_steps must be at least 1",
            min(running.checkpoint_steps, running.log_steps, running.knn_steps) >= 1,
        ),
        (
            "augmentation.blur_sigma must rise from above 0",
            0 < recipe.augmentation.blur_sigma[0] <= recipe.augmentation.blur_sigma[1],
        ),
    ]
    for sentence, kept in rules:
        if not kept:
            raise UsageError(f"This recipe cannot be trained: {sentence}.")
    return recipe


def _fitting(wanted: Any, value: Any, *, where: str) -> Any:
    """Return `value` as the type `wanted`; raises UsageError."""
    origin = get_origin(wanted)
    if origin is Literal:
        if value in get_args(wanted):
            return value
        raise UsageError(f"{where} must be one of {', '.join(map(str, get_args(wanted)))}, not {value!r}.")
    if origin is tuple:
        return _fitting_tuple(get_args(wanted), value, where=where)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if isinstance(value, Mapping):
            return dict(value)
        raise UsageError(f"{where} must be a table, not {value!r}.")
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted in (int, str) and type(value) is wanted:
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text in quotes"}
    raise UsageError(f"{where} must be {names.get(wanted, wanted)}, not {value!r}.")


def _fitting_tuple(parts: tuple[Any, ...], value: Any, *, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} must be a list, not {value!r}.")
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        raise UsageError(f"{where} must hold {len(parts)} values, not {len(value)}.")
    return tuple(_fitting(part, one, where=where) for part, one in zip(parts, value, strict=True))
