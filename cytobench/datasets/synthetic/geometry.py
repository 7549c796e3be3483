"""Outlines of cells and nuclei as level functions: below 1 inside, 1 on the outline, growing outwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

OUTSIDE = np.float32(9.0)
"""Level given to pixels too far from an outline to be worth computing."""

_REACH = 1.9
_FIRST_HARMONIC = 2
_DIRECTIONS = 720


@dataclass(frozen=True)
class Blob:
    """An ellipse, or a sausage bent into a kidney, with a rippled outline; lengths in px, angles in radians.

    `a` and `b` are half the length and half the width; `bend` is the half-angle of the arc that the
    sausage's axis follows (0: an ellipse). `ripple` holds complex Fourier coefficients of the relative
    radius, from the second harmonic on.
    """

    x: float
    y: float
    a: float
    b: float
    angle: float = 0.0
    bend: float = 0.0
    ripple: tuple[complex, ...] = ()

    @property
    def area(self) -> float:
        """Area in px^2, ripples neglected."""
        if self.bend:
            return float(np.pi * self.b**2 + 4.0 * self.b * (self.a - self.b))
        return float(np.pi * self.a * self.b)

    def moved(self, dx: float, dy: float) -> Blob:
        """Return the blob shifted by (dx, dy)."""
        return replace(self, x=self.x + dx, y=self.y + dy)


def ripple(rng: np.random.Generator, roughness: float, harmonics: int = 6) -> tuple[complex, ...]:
    """Draw Fourier coefficients of an irregular outline; `roughness` is the relative radius' spread."""
    order = np.arange(_FIRST_HARMONIC, _FIRST_HARMONIC + harmonics)
    size = roughness * np.sqrt(2.0) * (1.0 / order) / np.sqrt(np.sum(1.0 / order**2))
    phase = rng.uniform(0.0, 2.0 * np.pi, harmonics)
    strength = size * rng.uniform(0.5, 1.4, harmonics)
    return tuple(complex(c) for c in strength * np.exp(1j * phase))


def level(blob: Blob, side: int, reach: float = _REACH) -> Field:
    """Return the level function of `blob` on a `side` x `side` frame, OUTSIDE beyond `reach` radii."""
    out = np.full((side, side), OUTSIDE, dtype=np.float32)
    extent = max(blob.a, blob.b) * reach + 2.0
    x0, x1 = max(0, int(blob.x - extent)), min(side, int(blob.x + extent) + 1)
    y0, y1 = max(0, int(blob.y - extent)), min(side, int(blob.y + extent) + 1)
    if x0 < x1 and y0 < y1:
        x = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(blob.x)
        y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(blob.y)
        out[y0:y1, x0:x1] = _level_at(blob, x, y)
    return out


def _level_at(blob: Blob, x: Field, y: Field) -> Field:
    cos, sin = np.float32(np.cos(blob.angle)), np.float32(np.sin(blob.angle))
    u = cos * x + sin * y
    v = cos * y - sin * x
    if blob.bend:
        u, v, radius = _along_arc(blob, u, v)
    u, v = u / np.float32(blob.a), v / np.float32(blob.b)
    if not blob.bend:
        radius = np.hypot(u, v)
    if not blob.ripple:
        return np.asarray(radius, dtype=np.float32)
    direction = (np.arctan2(v, u) * np.float32(_DIRECTIONS / (2.0 * np.pi))).astype(np.int32)
    return np.asarray(radius / _outline(blob.ripple)[direction], dtype=np.float32)


@lru_cache(maxsize=8)
def _turns(count: int) -> NDArray[np.complex128]:
    order = np.arange(_FIRST_HARMONIC, _FIRST_HARMONIC + count)
    angle = np.arange(_DIRECTIONS) * (2.0 * np.pi / _DIRECTIONS)
    return np.asarray(np.exp(1j * order[:, None] * angle))


def _outline(ripple: tuple[complex, ...]) -> Field:
    """Return the relative radius in `_DIRECTIONS` directions; negative indices are negative angles."""
    radius = 1.0 + (np.array(ripple) @ _turns(len(ripple))).real
    return np.maximum(radius, 0.3).astype(np.float32)


def _along_arc(blob: Blob, u: Field, v: Field) -> tuple[Field, Field, Field]:
    """Return place along the bent axis, place across it, and distance from it in units of half the width."""
    half = blob.a - blob.b
    radius = np.float32(half / abs(blob.bend))
    sag = radius * np.float32(1.0 - np.cos(blob.bend)) / np.float32(2.0)
    v = v * np.float32(np.sign(blob.bend)) + sag
    along = radius * np.arctan2(u, radius - v)
    across = radius - np.hypot(u, radius - v)
    beyond = np.maximum(np.abs(along) - np.float32(half), np.float32(0.0))
    return along, across, np.hypot(beyond, across) / np.float32(blob.b)


def union(blobs: Sequence[Blob], side: int) -> Field:
    """Return the level function of the union of `blobs` (OUTSIDE everywhere for none)."""
    out = np.full((side, side), OUTSIDE, dtype=np.float32)
    for blob in blobs:
        np.minimum(out, level(blob, side), out=out)
    return out


def soft_edge(levels: Field, radius: float, width: float) -> Field:
    """Return coverage in [0, 1]: one inside, zero outside, a smooth step of `width` px on the outline.

    `radius` turns levels into px: the short semi-axis of the outline.
    """
    t = np.clip((np.float32(1.0) - levels) * np.float32(radius / width) + np.float32(0.5), 0.0, 1.0)
    return np.asarray(t * t * (np.float32(3.0) - np.float32(2.0) * t), dtype=np.float32)
