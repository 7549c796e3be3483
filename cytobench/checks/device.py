"""torch and what it computes on: tried with a real matrix product, not believed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cytobench.checks.packages import import_problem, nvidia_here
from cytobench.findings import Finding

if TYPE_CHECKING:
    import torch

_SIDE = 256


def torch_and_devices() -> list[Finding]:
    """Import torch and compute on every device it sees; the first finding fails when it is unusable."""
    why = import_problem("torch")
    if why:
        return [
            Finding(
                "torch",
                "fail",
                f"It cannot be imported: {why}.",
                "Install it as pytorch.org says for this machine; only handcrafted backbones do without.",
            )
        ]
    return [_build(), *_devices(), _threads()]


@dataclass(frozen=True)
class TorchFacts:
    """What torch says of itself: `cuda`, `rocm`: versions it is built for, None for none of them.

    `usable`: it can compute on a GPU of CUDA or ROCm; `nvidia`: the machine has an NVIDIA GPU, whatever
    torch says.
    """

    version: str
    cuda: str | None
    rocm: str | None
    usable: bool
    nvidia: bool


def _build() -> Finding:
    import torch

    versions = torch.__version__, torch.version.cuda, torch.version.hip
    return judge_torch(TorchFacts(*versions, usable=torch.cuda.is_available(), nvidia=nvidia_here()))


def judge_torch(facts: TorchFacts) -> Finding:
    """Say whether this torch fits this machine's GPU."""
    built = f"built for CUDA {facts.cuda}" if facts.cuda else "built for processors"
    if facts.rocm:
        built = f"built for ROCm {facts.rocm}"
    said = f"{facts.version}, {built}"
    if facts.nvidia and not facts.usable:
        cure = (
            "Install a torch that is built for CUDA (pytorch.org)."
            if facts.cuda is None
            else f"Update the NVIDIA driver to one that knows CUDA {facts.cuda}, or install an older torch; "
            "in a container, hand the GPU in."
        )
        return Finding(
            "torch", "warn", f"{said}; this machine has an NVIDIA GPU that torch cannot use.", cure
        )
    unused = facts.cuda is not None and not facts.usable
    return Finding("torch", "pass", f"{said}{', and no GPU is here: the processor computes' * unused}.")


def _devices() -> list[Finding]:
    import torch

    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [_product(torch.device(name)) for name in names]


def _product(device: torch.device) -> Finding:
    """Multiply two matrices on the device; entries are small whole numbers, so that the product is exact."""
    import torch

    question = f"device {device}"
    values = torch.arange(_SIDE * _SIDE, dtype=torch.float32).remainder(7.0).view(_SIDE, _SIDE)
    expected = values.double() @ values.double()
    try:
        found = (values.to(device) @ values.to(device)).cpu().double()
    except Exception as error:  # a kernel that does not exist for this GPU, memory, drivers
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding(
            question,
            "fail",
            f"A matrix product failed: {first}",
            "Install a torch that is built for this device, or use --device cpu.",
        )
    if not torch.equal(found, expected):
        return Finding(question, "fail", "A matrix product is wrong.", "Do not use this device.")
    return Finding(question, "pass", f"{_described(device)}: a matrix product of {_SIDE} x {_SIDE} is right.")


def _described(device: torch.device) -> str:
    import platform

    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
    if device.type == "mps":
        return "Apple's GPU, used with --device mps"
    return platform.machine() or "processor"


def _threads() -> Finding:
    import torch

    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return judge_threads(torch.get_num_threads(), here, os.environ.get("OMP_NUM_THREADS", ""))


def judge_threads(used: int, here: int, asked: str) -> Finding:
    """Compare torch's threads with the cores here; `asked`: OMP_NUM_THREADS, "" where it is not set."""
    said = f"torch computes with {used} of {here} cores" + (f" (OMP_NUM_THREADS={asked})" if asked else "")
    if used > here:
        return Finding(
            "threads",
            "warn",
            f"{said}: more threads than cores wait for each other.",
            f"Set OMP_NUM_THREADS={here}.",
        )
    if used == 1 and here > 1:
        return Finding("threads", "warn", f"{said}.", "Unset OMP_NUM_THREADS where nothing else runs here.")
    return Finding("threads", "pass", f"{said}.")
