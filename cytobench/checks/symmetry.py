"""The eight ways in which a square picture can be turned and mirrored, and what all eight have in common."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Level = TypeVar("Level", np.uint8, np.float32)
Floats = npt.NDArray[np.float32]

_HALF = np.float32(0.5)
TURNS = (
    "",
    "rotated by 90° clockwise",
    "rotated by 180°",
    "rotated by 90° counter-clockwise",
    "mirrored left to right",
    "mirrored across its falling diagonal",
    "mirrored top to bottom",
    "mirrored across its rising diagonal",
)
"""What was done to a picture of which `turned(it, k)` is the first one, as it was."""


def turned(pictures: npt.NDArray[Level], turn: int) -> npt.NDArray[Level]:
    """Return square pictures [..., s, s, c] turned in one of eight ways, undoing what `TURNS[turn]` says.

    From 4 on they are mirrored left to right first, then rotated by `turn % 4` quarters counter-clockwise.
    """
    mirrored = pictures[..., ::-1, :] if turn >= 4 else pictures
    return np.rot90(mirrored, turn % 4, axes=(-3, -2))


def invariant(pictures: Floats) -> Floats:
    """Return what is the same for all turns of a picture: float32 [n, s * s * c] of float32 [n, s, s, c].

    s is even. The distance of two results is never more than that of the pictures in the turn in which they
    fit best, and lengths stay: what is farther apart here cannot be a copy in any turn. The picture is split
    into parts that are even or odd about both axes (an orthonormal change of coordinates); mirroring changes
    signs of the odd ones, and a quarter turn swaps coefficients across the diagonal, so that absolute values,
    and of each swapped pair the greater and the smaller, are left.
    """
    half = pictures.shape[1] // 2
    upper, lower = pictures[:, :half], pictures[:, : half - 1 : -1]
    rows_even, rows_odd = upper + lower, upper - lower
    parts = []
    for rows in (rows_even, rows_odd):
        left, right = rows[:, :, :half], rows[:, :, : half - 1 : -1]
        parts += [(left + right) * _HALF, (left - right) * _HALF]
    even, across, along, odd = parts
    found = [*_about_diagonal(even, signed=True), *_about_diagonal(odd, signed=False)]
    one, other = np.abs(across), np.abs(along.transpose(0, 2, 1, 3))
    found += [np.maximum(one, other), np.minimum(one, other)]
    return np.concatenate([part.reshape(len(pictures), -1) for part in found], axis=1)


def _about_diagonal(part: Floats, *, signed: bool) -> tuple[Floats, Floats]:
    """Return what is even and, as absolute values, what is odd about the diagonal, [n, h, h, c] each."""
    across = part.transpose(0, 2, 1, 3)
    even, odd = (part + across) * _HALF, np.abs(part - across) * _HALF
    return (even if signed else np.abs(even)), odd
