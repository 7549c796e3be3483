"""Running an encoder on prepared batches: fixed size, back-off when memory runs out, results checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import EncoderError
from cytobench.features.shards import Features

if TYPE_CHECKING:
    from cytobench.encoders import Encoder

_CPU_BATCH, _GPU_BATCH = 32, 128
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def default_batch_size(encoders: Sequence[Encoder]) -> int:
    """Return a batch size that keeps the device busy; larger ones gain nothing measurable."""
    on_gpu = any(getattr(getattr(one, "device", None), "type", "cpu") == "cuda" for one in encoders)
    return _GPU_BATCH if on_gpu else _CPU_BATCH


@dataclass
class Runner:
    """One encoder and the number of images it is given at once, which halves when memory runs out."""

    encoder: Encoder
    batch_size: int
    warn: Callable[[str], None]

    def run(self, batch: npt.NDArray[Any], name: Callable[[int], str]) -> Features:
        """Encode prepared inputs [b, …]: float32 [b, dim]; `name` calls the images, for messages.

        Raises EncoderError where one image alone does not fit into memory, or the result is unusable.
        """
        parts: list[Features] = []
        done = 0
        while done < len(batch):
            chunk = batch[done : done + self.batch_size]
            try:
                parts.append(self._checked(chunk, partial(_shifted, name, done)))
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._back_off(len(chunk), error)
                continue
            done += len(chunk)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _padded(self, chunk: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Repeat the last image where a compiled network wants all batches equal."""
        lacking = self.batch_size - len(chunk)
        if not lacking or not self.encoder.static_batch:
            return chunk
        return np.concatenate([chunk, np.repeat(chunk[-1:], lacking, axis=0)])

    def _checked(self, chunk: npt.NDArray[Any], name: Callable[[int], str]) -> Features:
        padded = self._padded(chunk)
        try:
            features = np.asarray(self.encoder.encode(padded), np.float32)
        except EncoderError as error:
            raise EncoderError(f"{str(error).rstrip('.')} ({self._culprit(chunk, name)}).") from error
        if features.shape != (len(padded), self.encoder.dim):
            raise EncoderError(
                f"{self.encoder.name} returned features of shape {list(features.shape)} for {len(padded)} "
                f"images where {[len(padded), self.encoder.dim]} was promised: correct `dim` in its card."
            )
        return features[: len(chunk)]

    def _culprit(self, chunk: npt.NDArray[Any], name: Callable[[int], str]) -> str:
        """Find the first image that the encoder refuses alone."""
        for at in range(len(chunk)):
            try:
                self.encoder.encode(chunk[at : at + 1])
            except EncoderError:
                return f"first met at {name(at)}"
        return f"somewhere from {name(0)} to {name(len(chunk) - 1)}"

    def _back_off(self, tried: int, error: BaseException) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if tried <= 1:
            raise EncoderError(
                f"{self.encoder.name} does not fit into memory even with one image at a time: use a smaller "
                'backbone, precision = "bf16" in its card (?precision=bf16 after a name like timm:NAME) or '
                "another --device."
            ) from error
        self.batch_size = max(1, min(self.batch_size, tried) // 2)
        self.warn(
            f"{self.encoder.name} ran out of memory with {tried} images at a time; continuing with "
            f"{self.batch_size}."
        )


def _shifted(name: Callable[[int], str], by: int, at: int) -> str:
    return name(by + at)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _OUT_OF_MEMORY)
