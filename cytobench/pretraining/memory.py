"""Whether a step fits: what it will need, measured on two small batches, against what there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cytobench.errors import PretrainingError, counted
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.masked_vit import Crops
from cytobench.pretraining.recipe import Recipe

_STATES = 4  # copies of the student's weights: itself, its gradient, two moments of AdamW
_SLACK = 0.92  # of the memory there is


@dataclass(frozen=True)
class Need:
    """Bytes whatever the batch, and bytes more for each image of this process's batch."""

    fixed: float
    per_image: float

    def total(self, images: int) -> float:
        """Return the bytes that a step over `images` needs."""
        return self.fixed + images * self.per_image

    def largest(self, available: float) -> int:
        """Return how many images fit, 0 for none."""
        return max(0, int((available - self.fixed) / self.per_image))


def estimate(model: IBOT, recipe: Recipe, *, low_precision: bool) -> Need:
    """Return what a step needs.

    Activations are what autograd keeps for the student's backward pass over one image's crops, scaled up,
    and the widest tables of the heads; measured, not looked up, so any architecture is right.
    """
    kept = _activations(model, recipe, low_precision=low_precision)
    crops, head = recipe.crops, recipe.head
    patches = (crops.global_size // model.student.backbone.patch_size) ** 2
    masked = 0.15 * patches * crops.global_count if recipe.loss.patch_weight else 0.0
    rows = 2 * crops.global_count + crops.local_count + 2 * masked
    tables = 4 * 3 * rows * max(head.out_dim, head.patch_prototypes)
    teacher_mlp = 4 * 3 * crops.global_count * patches * head.hidden_dim
    pixels = 4 * 4 * 3 * (crops.global_count * crops.global_size**2 + crops.local_count * crops.local_size**2)
    student = sum(p.numel() * p.element_size() for p in model.student.parameters())
    teacher = sum(p.numel() * p.element_size() for p in model.teacher.parameters())
    return Need(_STATES * student + teacher, kept + tables + teacher_mlp + pixels)


def available(device: torch.device) -> float:
    """Return the bytes that are free on a device; inf where it cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free)
    if device.type == "cpu":
        return min(_free_ram(), _cgroup_room())
    return float("inf")


def require(need: Need, room: float, images: int, *, processes: int) -> None:
    """Raise PretrainingError, which says the largest batch that fits, when a step does not."""
    if need.total(images) <= room * _SLACK:
        return
    most = need.largest(room * _SLACK) // 2 * 2 * processes
    what = (
        f"data.batch = {most} would fit"
        if most >= 2
        else "not even a batch of 2 would: choose a smaller network or smaller crops"
    )
    each = f" on each of {processes} devices" if processes > 1 else ""
    raise PretrainingError(
        f"A step over {counted(images, 'image needs', 'images needs')} about "
        f"{need.total(images) / 2**30:.1f} GiB{each}, and {room / 2**30:.1f} GiB are free: {what}."
    )


def _activations(model: IBOT, recipe: Recipe, *, low_precision: bool) -> float:
    """Return the bytes that autograd keeps for one image, weights left out."""
    crops = recipe.crops
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in weights:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    device = model.centres.center.device
    groups = [
        Crops(torch.zeros(2 * crops.global_count, 3, crops.global_size, crops.global_size, device=device))
    ]
    if crops.local_count:
        size = crops.local_size
        groups.append(Crops(torch.zeros(2 * crops.local_count, 3, size, size, device=device)))
    state = torch.get_rng_state()
    with (
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=low_precision),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
    ):
        model.student.backbone.select(groups, None)
    torch.set_rng_state(state)
    return sum(kept.values()) / 2


def _free_ram() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return float(kib) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def _cgroup_room() -> float:
    """Return what a container's limit leaves, inf without one."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        if limit == "max":
            return float("inf")
        lines = Path("/sys/fs/cgroup/memory.stat").read_text(encoding="ascii").splitlines()
        # what files left in memory is given back when it is needed
        cached = sum(float(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return float(limit) - float(used) + cached
    except (OSError, ValueError):
        return float("inf")
