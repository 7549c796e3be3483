"""How fast a run is: images a second, the share of time spent waiting for data, use of the device's units."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

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

    def __init__(self, images_per_step: int, flops_per_step: float, device: torch.device) -> None:
        self._images, self._flops = images_per_step, flops_per_step
        self._peak = peak_flops(device)
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


class FlopCount:
    """Counts the floating-point operations of matrix products inside a `with` block."""

    def __init__(self) -> None:
        self._counter: Any = FlopCounterMode(display=False)

    def __enter__(self) -> FlopCount:
        self._counter.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._counter.__exit__(*problem)

    @property
    def total(self) -> float:
        """FLOPs so far, a multiplication and an addition counted as two."""
        return float(self._counter.get_total_flops())


def peak_flops(device: torch.device) -> float:
    """Return the device's dense bfloat16 peak in FLOP/s, 0 where it is not known."""
    if device.type != "cuda":
        return 0.0
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAKS.items() if key in name), 0.0)
