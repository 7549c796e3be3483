"""Telling copies and near copies among many pictures, and pictures that show nothing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

BITS = 256
_SIDE = 16
_BLANK = 2.0  # standard deviation of the luma, of 255, below which nothing is shown


def difference_hash(picture: Pixels) -> NDArray[np.uint8]:
    """Return 256 bits as uint8 [32]: whether each of 16 x 16 cells of the luma is brighter than its left one.

    Recompression, slight blur and changes of brightness flip few bits; two different cells differ in about
    half (Krawetz's dHash).
    """
    small = Image.fromarray(picture).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    luma = np.asarray(small, dtype=np.int16)
    return np.packbits(luma[:, 1:] > luma[:, :-1])


def is_blank(picture: Pixels) -> bool:
    """Tell whether a picture, uint8 [s, s, 3], is of one tone: empty glass, a black border."""
    return float(np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32).std()) < _BLANK


class Seen:
    """The pictures met so far, looked up by content: equal pixels, or hashes at most `distance` bits apart.

    Two hashes that differ in `distance` bits agree wholly in one of `distance` + 1 bands, so only pictures
    that share a band are compared: about a constant time a picture, however many there are.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        self._exact: set[bytes] = set()
        self._hashes: list[NDArray[np.uint8]] = []
        edges = np.linspace(0, BITS, distance + 2).astype(int)
        self._bands = [(int(a), int(b)) for a, b in pairwise(edges)]
        self._shelves: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in self._bands]

    def is_copy(self, digest: bytes) -> bool:
        """Tell whether a picture with these very pixels was met; remember it."""
        known = digest in self._exact
        self._exact.add(digest)
        return known

    def is_near_copy(self, bits: NDArray[np.uint8]) -> bool:
        """Tell whether a picture with nearly this hash was met; remember it if not."""
        if not self._distance:
            return False
        keys = self._keys(bits)
        candidates = {at for shelf, key in zip(self._shelves, keys, strict=True) for at in shelf.get(key, ())}
        if candidates:
            others = np.stack([self._hashes[at] for at in candidates])
            if (np.bitwise_count(others ^ bits).sum(axis=1) <= self._distance).any():
                return True
        for shelf, key in zip(self._shelves, keys, strict=True):
            shelf[key].append(len(self._hashes))
        self._hashes.append(bits)
        return False

    def _keys(self, bits: NDArray[np.uint8]) -> list[bytes]:
        flat = np.unpackbits(bits)
        return [np.packbits(flat[a:b]).tobytes() for a, b in self._bands]


def pixel_digest(picture: Pixels) -> bytes:
    """Return 16 bytes that two pictures share only if all their pixels are equal."""
    return hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()
