"""What a backbone costs here: crops a second, and memory."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cytobench.checks.specimens import Crop
from cytobench.findings import Finding

if TYPE_CHECKING:
    from cytobench.encoders import Encoder

_SECONDS = 0.5
_ROUNDS = 50


def speed(encoder: Encoder, crops: list[Crop]) -> Finding:
    """Time preparing and encoding of `crops` in one batch, each for about half a second."""
    prepared = _rate(lambda: [encoder.prepare(crop) for crop in crops], len(crops))
    if getattr(encoder, "module", None) is None:
        return Finding("speed", "pass", f"{_readable(prepared)} crops/s described by one thread.")
    batch = np.stack([np.asarray(encoder.prepare(crop)) for crop in crops])
    encoder.encode(batch)  # the first call of a network takes longer than any other
    encoded = _rate(lambda: encoder.encode(batch), len(crops))
    return Finding(
        "speed",
        "pass",
        f"{_readable(encoded)} crops/s in batches of {len(crops)} on {_where(encoder)}; "
        f"{_readable(prepared)} crops/s prepared by one thread.",
    )


def memory(encoder: Encoder) -> Finding:
    """Count the network's parameters and what this process, or the device, has needed at most."""
    peak = _peak()
    module: Any = getattr(encoder, "module", None)
    if module is None:
        return Finding("memory", "pass", f"No network; this process needed {peak} at most.")
    parameters = sum(int(one.numel()) for one in module.parameters())
    size = sum(one.numel() * one.element_size() for one in module.parameters())
    return Finding(
        "memory",
        "pass",
        f"{parameters / 1e6:,.1f} million parameters ({size / 1e6:,.0f} MB); {_on_device(encoder)}this "
        f"process needed {peak} at most.",
    )


def _readable(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10.0 else f"{rate:.2g}"


def _rate(work: Any, count: int) -> float:
    began, rounds = time.perf_counter(), 0
    while rounds < _ROUNDS and (rounds == 0 or time.perf_counter() - began < _SECONDS):
        work()
        rounds += 1
    return count * rounds / max(time.perf_counter() - began, 1e-9)


def _where(encoder: Encoder) -> str:
    device: Any = getattr(encoder, "device", None)
    if device is not None and device.type == "cuda":
        import torch

        return str(torch.cuda.get_device_name(device))
    threads = 1
    if device is not None:
        import torch

        threads = torch.get_num_threads()
    return f"the processor ({threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()} cores)"


def _on_device(encoder: Encoder) -> str:
    device: Any = getattr(encoder, "device", None)
    if device is None or device.type != "cuda":
        return ""
    import torch

    return f"{torch.cuda.max_memory_allocated(device) / 1e9:.2g} GB on the device; "


def _peak() -> str:
    """Return the largest resident memory of this process so far, in words."""
    if sys.platform == "win32":
        return "an unknown amount of memory"
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{used * (1 if sys.platform == 'darwin' else 1024) / 1e9:.2g} GB of memory"
