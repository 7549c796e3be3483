"""How fast a run is: images a second, the share of time spent waiting for data, use of the device's units."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cytobench.pretraining.build import make_model
from cytobench.pretraining.ibot import Masks, Temperatures
from cytobench.pretraining.masking import Masking, draw, index_masks
from cytobench.pretraining.recipe import Recipe, Start

# Dense bfloat16 peak of NVIDIA's data sheets, FLOP/s.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12}


@dataclass(frozen=True)
class Speed:
    """images_per_second of all devices; waited: share of the time, 0..1; mfu: share of peak, or nan."""

    images_per_second: float
    waited: float
    mfu: float


class Meter:
    """Measures from one reading to the next."""

    def __init__(
        self, images_per_step: int, flops_per_step: float, device: torch.device, devices: int = 1
    ) -> None:
        self._images, self._flops = images_per_step, flops_per_step
        self._peak = peak_flops(device) * devices
        self._since, self._step, self._waited = time.perf_counter(), 0, 0.0

    def start(self, step: int, waited: float = 0.0) -> None:
        """Begin to measure at `step`."""
        self._since, self._step, self._waited = time.perf_counter(), step, waited

    def read(self, step: int, waited: float) -> Speed:
        """Return the speed since the last reading, and measure anew."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        steps = step - self._step
        speed = Speed(
            images_per_second=steps * self._images / seconds,
            waited=min(1.0, (waited - self._waited) / seconds),
            mfu=steps * self._flops / seconds / self._peak if self._peak else float("nan"),
        )
        self.start(step, waited)
        return speed


def flops_per_image(recipe: Recipe) -> float:
    """Return the floating-point operations of matrix products in one step, for one image of the batch.

    Counted on a network without memory, forwards and backwards: a multiplication and an addition are two.
    """
    images = 2
    state = torch.get_rng_state()
    with torch.device("meta"):
        model = make_model(replace(recipe, start=Start()))
    torch.set_rng_state(state)
    crops = recipe.crops
    grid = (crops.global_size // model.student.backbone.patch_size,) * 2
    masks = None
    if recipe.loss.patch_weight:
        drawn = draw(Masking(exact=True), crops.global_count * images, grid, np.random.default_rng(0))
        masks = Masks(*(part.to("meta") for part in Masks.of(index_masks(drawn))))
    views = [
        torch.empty(count * images, 3, size, size, device="meta")
        for count, size in ((crops.global_count, crops.global_size), (crops.local_count, crops.local_size))
        if count
    ]
    temperatures = Temperatures.of(1.0, 1.0, views[0])
    with FlopCounterMode(display=False) as counter:
        losses = model(views[0], views[1] if len(views) > 1 else None, masks, temperatures)
        torch.autograd.backward(losses["total"])
    return float(counter.get_total_flops()) / images


def peak_flops(device: torch.device) -> float:
    """Return the device's dense bfloat16 peak in FLOP/s, 0 where it is not known."""
    if device.type != "cuda":
        return 0.0
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAKS.items() if key in name), 0.0)
