"""One training step on a device: views, losses, gradients, optimiser, teacher. Nothing here waits for it."""

from __future__ import annotations

import inspect
import math
import shutil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cytobench.pretraining import optim
from cytobench.pretraining.augment import EAGER, Operations, make_crops
from cytobench.pretraining.build import Rates, make_optimizer
from cytobench.pretraining.draws import CropKind
from cytobench.pretraining.ibot import IBOT, Losses, Masks
from cytobench.pretraining.loader import Batch
from cytobench.pretraining.recipe import Recipe
from cytobench.pretraining.start import whiten_head

TOLD = ("total", "cls", "patch", "teacher_entropy", "marginal_entropy", "gradient_norm")
"""What `Stepper.take` returns, in order."""

_LONG = 500  # steps from which compiling pays on a CPU
_CHUNK = 64  # images whose crops are made at once while the head is whitened


class Stepper:
    """Takes training steps with a model that lies on its device."""

    def __init__(
        self, model: IBOT, recipe: Recipe, kinds: tuple[CropKind, ...], device: torch.device
    ) -> None:
        self.model, self.recipe, self.kinds, self.device = model, recipe, kinds, device
        self.low_precision = uses_bfloat16(recipe, device)
        self.optimizer = make_optimizer(model, recipe)
        self._stepped: nn.Module = model
        self._operations = EAGER

    def whiten_head(self, batches: list[Batch]) -> None:
        """Let the head see differences at once, by the images of `batches`."""
        kind, change = self.kinds[0], self.recipe.augmentation
        crops = []
        for batch in batches:
            images = len(batch.pixels)
            for at in range(0, images, _CHUNK):
                some = slice(at, min(at + _CHUNK, images))
                pixels = batch.pixels[some].to(self.device)
                crops.append(make_crops(pixels, batch.draws[0].images(some, kind.count), kind, change))
        with self.autocast():
            whiten_head(self.model, crops)

    def compile(self) -> None:
        """Compile blocks, heads, losses and views, each by itself, for shapes that never change."""
        self.model.compile_parts(dynamic=False)
        self._operations = Operations.compiled()

    def share(self) -> None:
        """Average gradients over all processes from now on; the weights of the first one go to all."""
        name = "forward_sync_buffers"  # as the newer versions of PyTorch call it
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        options: Any = {name if name in known else "broadcast_buffers": False}
        self._stepped = DistributedDataParallel(self.model, **options)

    def take(self, batch: Batch, rates: Rates) -> Tensor:
        """Take one step of the optimiser; return the numbers of `TOLD`, float32 [6], on the device."""
        losses = self._losses(batch, rates)
        torch.autograd.backward(losses["total"])
        norm = self._update(rates)
        told = [losses["total"].detach(), losses["cls"], losses["patch"]]
        return torch.stack([*told, losses["teacher_entropy"], losses["marginal_entropy"], norm]).float()

    def autocast(self) -> torch.autocast:
        """Return the precision in which networks compute."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.low_precision)

    def _losses(self, batch: Batch, rates: Rates) -> Losses:
        change = self.recipe.augmentation
        pixels = batch.pixels.to(self.device, non_blocking=True).to(torch.float32).div_(255.0)
        crops = [
            make_crops(pixels, draws, kind, change, self._operations)
            for draws, kind in zip(batch.draws, self.kinds, strict=True)
        ]
        masks = None
        if batch.masks is not None:
            masks = Masks(*(part.to(self.device, non_blocking=True) for part in batch.masks))
        self.model.train()
        with self.autocast():
            found: Losses = self._stepped(
                crops[0], crops[1] if len(crops) > 1 else None, masks, rates.temperatures(crops[0])
            )
        return found

    def _update(self, rates: Rates) -> Tensor:
        """Clip, freeze, step, and let the teacher follow; return the norm of all gradients, 0-d."""
        schedule, student = self.recipe.schedule, self.model.student
        optim.set_rates(self.optimizer, lr=rates.lr, weight_decay=rates.weight_decay)
        if schedule.clip and schedule.clip_mode == "each":
            norm: Tensor = torch.linalg.vector_norm(optim.clip_each(student.parameters(), schedule.clip))
        else:
            norm = optim.clip_all(student.parameters(), schedule.clip or math.inf)
        optim.freeze_last_layer(student, epoch=rates.epoch, epochs=schedule.freeze_last_layer_epochs)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.ema_update(rates.momentum)
        return norm


def uses_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: when asked, or on "auto" where the device is fast at it."""
    if recipe.running.precision != "auto":
        return recipe.running.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and has_tiles is not None and bool(has_tiles())


def compiles(recipe: Recipe, device: torch.device, steps: int) -> bool:
    """Tell whether to compile: when asked, or on "auto" on CUDA devices and for long runs on a CPU.

    On a CPU a compiler must be there; where it does not work, what it should have compiled runs as it is.
    """
    if recipe.running.compile != "auto":
        return recipe.running.compile == "yes"
    if device.type == "cuda":
        return True
    return steps >= _LONG and any(shutil.which(name) for name in ("c++", "g++", "clang++"))
