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
_SHUFFLED = np.random.default_rng(0).permutation(BITS)
_CLEARLY = 3  # levels of 255
_ALIKE = 4.0  # root mean square difference of thumbnails, levels of 255
_BLANK = 2.0  # standard deviation of the luma, of 255, below which nothing is shown


def difference_hash(picture: Pixels) -> NDArray[np.uint8]:
    """Return 256 bits as uint8 [32]: whether each of 16 x 16 cells is clearly brighter than its left one.

    Recompression, slight blur and changes of brightness flip few bits (Krawetz's dHash, with a threshold so
    that the noise of an empty background does not count).
    """
    small = Image.fromarray(picture).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    luma = np.asarray(small, dtype=np.int16)
    return np.packbits(luma[:, 1:] - luma[:, :-1] > _CLEARLY)


def is_blank(picture: Pixels) -> bool:
    """Tell whether a picture, uint8 [s, s, 3], is of one tone: empty glass, a black border."""
    return float(np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32).std()) < _BLANK


def thumbnail(picture: Pixels) -> Pixels:
    """Return a picture at 16 x 16 px, uint8 [16, 16, 3]."""
    return np.asarray(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX))


class Seen:
    """The pictures met so far, looked up by content: equal pixels, or nearly equal ones.

    Nearly equal: hashes at most `distance` bits apart, and thumbnails that differ by less than the traces of
    recompression. Hashes alone do not tell two smooth round cells apart.

    Two hashes that differ in `distance` bits agree wholly in one of `distance` + 1 bands, so only pictures
    that share a band are compared; each band's bits lie spread over the picture.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        self._exact: set[bytes] = set()
        self._hashes: list[NDArray[np.uint8]] = []
        self._thumbnails: list[Pixels] = []
        edges = np.linspace(0, BITS, distance + 2).astype(int)
        self._bands = [(int(a), int(b)) for a, b in pairwise(edges)]
        self._shelves: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in self._bands]

    def is_copy(self, digest: bytes) -> bool:
        """Tell whether a picture with these very pixels was met; remember it."""
        known = digest in self._exact
        self._exact.add(digest)
        return known

    def is_near_copy(self, bits: NDArray[np.uint8], small: Pixels) -> bool:
        """Tell whether nearly this picture was met, by hash and thumbnail; remember it if not."""
        if not self._distance:
            return False
        keys = self._keys(bits)
        candidates = {at for shelf, key in zip(self._shelves, keys, strict=True) for at in shelf.get(key, ())}
        if candidates and self._is_among(sorted(candidates), bits, small):
            return True
        for shelf, key in zip(self._shelves, keys, strict=True):
            shelf[key].append(len(self._hashes))
        self._hashes.append(bits)
        self._thumbnails.append(small)
        return False

    def _is_among(self, candidates: list[int], bits: NDArray[np.uint8], small: Pixels) -> bool:
        hashes = np.stack([self._hashes[at] for at in candidates])
        near = np.bitwise_count(hashes ^ bits).sum(axis=1) <= self._distance
        thumbnails = [self._thumbnails[at] for at, one in zip(candidates, near, strict=True) if one]
        return any(float(np.square(one.astype(np.float32) - small).mean()) <= _ALIKE**2 for one in thumbnails)

    def _keys(self, bits: NDArray[np.uint8]) -> list[bytes]:
        flat = np.unpackbits(bits)[_SHUFFLED]  # so that no band holds nothing but background
        return [np.packbits(flat[a:b]).tobytes() for a, b in self._bands]


def pixel_digest(picture: Pixels) -> bytes:
    """Return 16 bytes that two pictures share only if all their pixels are equal."""
    return hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()
