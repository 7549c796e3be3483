"""Handcrafted descriptors as encoders: everything happens in `prepare`, on the processor."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import numpy.typing as npt

from cytobench.cards import BackboneCard
from cytobench.encoders.encoder import JSON
from cytobench.errors import EncoderError

_MODULES = {
    "colour-statistics": "cytobench.encoders.handcrafted.colour",
    "imprint": "cytobench.encoders.handcrafted.imprint",
    "morphology": "cytobench.encoders.handcrafted.morphology",
}


class HandcraftedEncoder:
    """A set of descriptors as an `Encoder`: everything happens in `prepare`, `encode` only checks."""

    static_batch = False
    prefers_processes = True  # descriptors hold Python's lock, so threads would queue up behind each other

    def __init__(self, card: BackboneCard, identity: Mapping[str, JSON]) -> None:
        described = descriptors(card)
        self.name = card.name
        self.identity = identity
        self.feature_names: tuple[str, ...] = tuple(described.FEATURE_NAMES)
        self.dim = len(self.feature_names)
        self.prepare_key = f"handcrafted/{card.arch}/{described.VERSION}"
        self._describe = described.describe
        if card.dim != self.dim:
            raise EncoderError(
                f"{card.name}: the card says dim = {card.dim}, but {card.arch} has {self.dim} descriptors; "
                "correct dim in the card."
            )

    def prepare(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the descriptors of one crop (uint8 [h, w, 3]), float32 [dim]."""
        return np.asarray(self._describe(crop), dtype=np.float32)

    def encode(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return `batch` (float32 [b, dim]) itself; raises EncoderError where a descriptor is not finite."""
        bad = np.flatnonzero(~np.isfinite(batch).all(axis=0))
        if bad.size:
            raise EncoderError(
                f"{self.name}: the descriptor {self.feature_names[int(bad[0])]} is not finite for some crop; "
                "please report it with the image."
            )
        return np.asarray(batch, dtype=np.float32)


def descriptors(card: BackboneCard) -> ModuleType:
    """Return the module that computes the card's descriptors; raises EncoderError for an unknown `arch`."""
    if card.arch not in _MODULES:
        raise EncoderError(
            f"{card.name}: there are no handcrafted descriptors '{card.arch}'; choose "
            f"{' or '.join(sorted(_MODULES))}."
        )
    return importlib.import_module(_MODULES[card.arch])


def identity(card: BackboneCard) -> dict[str, JSON]:
    """Return what decides the descriptors' values: their set, version and names."""
    described = descriptors(card)
    names = json.dumps(list(described.FEATURE_NAMES)).encode()
    return {
        "loader": "handcrafted",
        "arch": card.arch,
        "version": int(described.VERSION),
        "features": hashlib.sha256(names).hexdigest(),
    }
