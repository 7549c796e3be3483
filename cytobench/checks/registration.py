"""Two pictures of one place laid over each other: how far one is shifted, and how alike they are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

REACH = 0.2
"""Shifts are looked for up to this share of the side."""


@dataclass(frozen=True)
class Registered:
    """How m pairs of pictures fit.

    `shift`: int64 [m, 2], px that the second must go down and to the right; `cosine`: float32 [m], of both
    where they overlap, each channel's mean taken off; `rms`: float32 [m], their difference there.
    """

    shift: Ints
    cosine: Floats
    rms: Floats


def registered(first: Floats, second: Floats) -> Registered:
    """Return the best shift of each pair: first, second float32 [m, s, s, c].

    By phase correlation (Kuglin and Hines 1975) of pictures faded out towards their border, the spectrum
    whitened by half, since faint fine structure of stained cells is mostly noise.
    """
    side = first.shape[1]
    reach = int(side * REACH)
    faded = fading(side)
    spectra = [np.fft.rfft2(_level(some) * faded, axes=(1, 2)) for some in (first, second)]
    product = spectra[0] * np.conj(spectra[1])
    product /= np.sqrt(np.abs(product)) + 1e-6
    likeness = np.fft.irfft2(product.sum(axis=3), s=(side, side), axes=(1, 2))
    steps = np.arange(-reach, reach + 1)
    near = likeness[:, steps[:, None], steps[None, :]].reshape(len(first), -1)
    best = near.argmax(axis=1)
    shift = np.stack([steps[best // len(steps)], steps[best % len(steps)]], axis=1).astype(np.int64)
    cosine, rms = np.empty(len(first), np.float32), np.empty(len(first), np.float32)
    for (down, right), rows in _by_shift(shift):
        one = _level(first[rows][:, _part(down, side), _part(right, side)])
        other = _level(second[rows][:, _part(-down, side), _part(-right, side)])
        lengths = np.sqrt(np.square(one).sum(axis=(1, 2, 3)) * np.square(other).sum(axis=(1, 2, 3)))
        cosine[rows] = (one * other).sum(axis=(1, 2, 3)) / np.maximum(lengths, 1e-6)
        rms[rows] = np.sqrt(np.square(one - other).mean(axis=(1, 2, 3)))
    return Registered(shift, cosine, rms)


def fine_likeness(first: Floats, second: Floats, shift: Ints) -> Floats:
    """Return how alike the fine structure of each pair is where they overlap, float32 [m]: a cosine.

    Fine: the mean of the channels between blurs of 0.7 and 4 px. Different cells of one kind agree in their
    outline and colours, copies in their chromatin and in the dirt beside them too.
    """
    fine = [_fine(some.mean(axis=3)) for some in (first, second)]
    found = np.empty(len(first), np.float32)
    side = first.shape[1]
    for (down, right), rows in _by_shift(shift):
        one = _level(fine[0][rows][:, _part(down, side), _part(right, side), None])
        other = _level(fine[1][rows][:, _part(-down, side), _part(-right, side), None])
        lengths = np.sqrt(np.square(one).sum(axis=(1, 2, 3)) * np.square(other).sum(axis=(1, 2, 3)))
        found[rows] = (one * other).sum(axis=(1, 2, 3)) / np.maximum(lengths, 1e-6)
    return found


def fading(side: int) -> Floats:
    """Return weights that fall to nearly 0 at the border, the root of Hann's window, float32 [s, s, 1]."""
    hann = np.hanning(side + 2)[1:-1]
    return np.sqrt(np.outer(hann, hann))[..., None].astype(np.float32)


def _fine(grey: Floats) -> Floats:
    sharp, soft = (gaussian_filter(grey, (0, width, width), mode="nearest") for width in (0.7, 4.0))
    fine: Floats = sharp - soft
    return fine


def _level(pictures: Floats) -> Floats:
    levelled: Floats = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return levelled


def _part(shift: int, side: int) -> slice:
    return slice(max(0, shift), side + min(0, shift))


def _by_shift(shift: Ints) -> Iterator[tuple[tuple[int, int], Ints]]:
    distinct, which = np.unique(shift, axis=0, return_inverse=True)
    for at, (down, right) in enumerate(distinct.tolist()):
        yield (down, right), np.flatnonzero(which.reshape(-1) == at)
