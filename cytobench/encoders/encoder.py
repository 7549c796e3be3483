"""What every loaded backbone offers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


class Encoder(Protocol):
    """A frozen backbone that turns crops into feature vectors."""

    @property
    def name(self) -> str:
        """The card's name; for messages and progress only, never part of the identity."""

    @property
    def dim(self) -> int:
        """Length of one feature vector."""

    @property
    def identity(self) -> Mapping[str, JSON]:
        """What decides the features' values, as JSON primitives: the input of `features.space.space_id`."""

    @property
    def prepare_key(self) -> str:
        """Encoders with equal keys share one `prepare` result."""

    @property
    def static_batch(self) -> bool:
        """Whether the last batch should be padded to full size, because a new shape costs time."""

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Turn one crop (uint8 [h, w, 3], RGB) into what `encode` stacks; safe to call in many threads."""

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Turn prepared crops [b, …] into finite features, float32 [b, dim]; raises EncoderError."""
