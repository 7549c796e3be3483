"""Random weights that stay the same over machines and PyTorch versions: the null of 'pretraining helps'."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

SCHEME = "philox-truncated-normal-1"
_STD = 0.02  # as ViTs are initialised; drawn within two standard deviations
_BOUND = 2.0


def fill(module: nn.Module, seed: int) -> None:
    """Overwrite every parameter of `module` with values that depend on `seed`, its name and its shape only.

    Matrices and kernels: normal with standard deviation 0.02, truncated at two of them. Vectors: zero for a
    bias, one for any other (the scales of norms and of LayerScale). Buffers are left as built.
    """
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = draw(name, tuple(parameter.shape), seed)
            parameter.copy_(torch.from_numpy(values))


def draw(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Return the values of one parameter, float32 of `shape`."""
    from scipy.special import ndtr, ndtri  # only random weights need it, and it takes 0.2 s to import

    if len(shape) < 2:
        return np.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=np.float32)
    key = hashlib.sha256(f"{name}{list(shape)}".encode()).digest()
    sequence = np.random.SeedSequence([seed, *np.frombuffer(key, dtype="<u4").tolist()])
    # uniform numbers are taken from the bit generator because numpy may change how it draws normal ones
    uniform = np.random.Generator(np.random.Philox(sequence)).random(int(np.prod(shape)))
    low = float(ndtr(-_BOUND))
    normal = ndtri(low + uniform * (1.0 - 2.0 * low))
    values: npt.NDArray[np.float32] = (_STD * normal).astype(np.float32).reshape(shape)
    return values
