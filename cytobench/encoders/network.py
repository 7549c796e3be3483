"""Networks as encoders: normalise on the device, run, check what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cytobench.cards import Preprocess
from cytobench.encoders.encoder import JSON
from cytobench.errors import EncoderError

_AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}
Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Built:
    """What a loader makes of a card: a module from pixels to features, and its own `prepare` if it has one.

    `module` maps normalised pixels, float [b, 3, size, size], to features [b, dim]; with a `prepare` of its
    own it is handed the stacked results of that, as they are. `dim` is 0 where only a run would tell it.
    """

    module: nn.Module
    dim: int = 0
    prepare: Prepare | None = None


def pool_tokens(tokens: torch.Tensor, prefix: int, pooling: str) -> torch.Tensor:
    """Pool tokens [b, n, d] whose first `prefix` ones are the class token and registers.

    `cls` [b, d] is the first token, `mean` [b, d] the mean of the patch tokens alone, `cls+mean` [b, 2d]
    both.
    """
    if pooling == "cls":
        return tokens[:, 0]
    mean = tokens[:, prefix:].mean(dim=1)
    return mean if pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=1)


def choose_device(device: str) -> torch.device:
    """Return the device named `auto`, `cpu`, `cuda` or `cuda:N`; raises EncoderError when it is not here.

    Under `torchrun` (LOCAL_RANK) `auto` and `cuda` mean the process's own device.
    """
    own = f"cuda:{os.environ['LOCAL_RANK']}" if os.environ.get("LOCAL_RANK") else "cuda"
    if device == "auto":
        return torch.device(own if torch.cuda.is_available() else "cpu")
    device = own if device == "cuda" else device
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise EncoderError(f"There is no device '{device}'; choose auto, cpu or cuda.") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise EncoderError(f"No CUDA device answers to '{device}' on this machine; use --device cpu or auto.")
    return chosen


class NetworkEncoder:
    """A torch module as an `Encoder`; see the protocol for what its methods promise.

    `own_prepare`: whether a plugin prepares its own crops, which need not be pictures then.
    """

    def __init__(
        self,
        built: Built,
        *,
        name: str,
        dim: int,
        identity: Mapping[str, JSON],
        prepare: Prepare,
        prepare_key: str,
        preprocess: Preprocess | None,
        precision: str,
        device: torch.device,
    ) -> None:
        self.name, self.dim, self.identity, self.prepare_key = name, dim, identity, prepare_key
        self.device, self.precision = device, precision
        self.static_batch = device.type == "cuda"
        self.own_prepare = built.prepare is not None
        self._prepare = prepare
        self._input_size = preprocess.size if preprocess is not None and built.prepare is None else None
        module = built.module.eval().requires_grad_(False)
        self._module = module.to(device).to(memory_format=torch.channels_last)
        self._shift, self._scale = _normalisation(preprocess, device)

    @property
    def module(self) -> nn.Module:
        """The network itself, on its device; not to be changed."""
        return self._module

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the network's input, uint8 [size, size, 3], unless a plugin prepares its own."""
        return self._prepare(crop)

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return features, float32 [b, dim]; raises EncoderError for a wrong length or a value not finite."""
        features = self.forward(batch)
        if not isinstance(features, torch.Tensor) or features.shape != (len(batch), self.dim):
            shape = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise EncoderError(
                f"{self.name} returned {shape} for {len(batch)} images, but its card says dim = "
                f"{self.dim}; correct dim or pooling in the card."
            )
        with torch.inference_mode():
            result: npt.NDArray[np.float32] = features.float().cpu().numpy()
        bad = int((~np.isfinite(result)).any(axis=1).sum())
        if bad:
            raise EncoderError(
                f"{self.name} returned NaN or infinity for {bad} of {len(batch)} images at precision "
                f"{self.precision}; use precision fp32 or check the weights."
            )
        return result

    def forward(self, batch: npt.NDArray[Any]) -> Any:
        """Return what the network makes of prepared crops, as it is: for those who examine it."""
        with torch.inference_mode(), self._arithmetic():
            return self._module(self._to_device(batch))

    def _to_device(self, batch: npt.NDArray[Any]) -> torch.Tensor:
        if self._input_size is None:
            return torch.from_numpy(np.array(batch)).to(self.device)
        expected = (self._input_size, self._input_size, 3)
        if batch.dtype != np.uint8 or batch.shape[1:] != expected:
            raise EncoderError(
                f"{self.name} takes prepared crops, uint8 [b, {self._input_size}, {self._input_size}, 3] "
                f"with values 0..255, not {batch.dtype} {list(batch.shape)}; pass them through prepare() "
                "first."
            )
        pixels = torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(
            self.device, non_blocking=True
        )
        # [b, s, s, 3] seen as [b, 3, s, s] is channels-last already; (x / 255 - mean) / std in one pass over
        # it
        return pixels.permute(0, 3, 1, 2).float().sub_(self._shift).mul_(self._scale)

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Compute at the card's precision: autocast for half precisions, true fp32 (no TF32) otherwise."""
        with ExitStack() as stack:
            if self.precision in _AUTOCAST:
                stack.enter_context(torch.autocast(self.device.type, _AUTOCAST[self.precision]))
            elif self.device.type == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            yield


def _normalisation(preprocess: Preprocess | None, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """`shift` and `scale`, [1, 3, 1, 1], with (x - shift) * scale = (x / 255 - mean) / std."""
    mean, std = (preprocess.mean, preprocess.std) if preprocess is not None else ((0.0,) * 3, (1.0,) * 3)
    shift = torch.tensor(mean, dtype=torch.float64) * 255.0
    scale = 1.0 / (torch.tensor(std, dtype=torch.float64) * 255.0)
    shape = (1, 3, 1, 1)
    return shift.float().view(shape).to(device), scale.float().view(shape).to(device)
