"""All pairs of rows that nearly agree, among a hundred thousand in seconds, none missed.

Rows are unit vectors; "nearly" is a least cosine. Vectors are turned onto their principal axes, of which a
few already bound the distance from below: only pairs within reach there are compared in full. Rows are
ordered along the first axis, and blocks too far apart on it are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError
from cytobench.progress import Reporter, SilentReporter

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_AXES = 48
_BLOCK = 2048
_SAMPLE = 20_000  # rows that the axes are found on; any orthonormal axes bound distances from below
_SLACK = 1e-5  # rounding of float32 products
_MOST = 20_000_000  # pairs; beyond them nothing is told apart


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, `left` and `right` int64 [m] (left < right within one set), and their cosine, [m]."""

    left: Ints
    right: Ints
    cosine: Floats

    def __len__(self) -> int:
        return len(self.left)

    def where(self, keep: npt.NDArray[np.bool_]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.left[keep], self.right[keep], self.cosine[keep])


def unit_rows(vectors: npt.NDArray[np.floating]) -> Floats:
    """Return rows scaled to length 1, float32 [n, d]; rows of no length stay 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def near_pairs(
    vectors: Floats,
    others: Floats | None = None,
    *,
    least: float,
    reporter: Reporter | None = None,
    label: str = "comparing pictures",
) -> Pairs:
    """Return all pairs of unit rows whose cosine is at least `least`: within `vectors`, or with `others`.

    vectors: float32 [n, d]; others: float32 [m, d], `right` then counts its rows. Raises DataError when
    more pairs agree than could ever be looked at.
    """
    if not len(vectors) or (others is not None and not len(others)):
        return _joined([], within=others is None)
    axes = _axes(vectors if others is None else np.concatenate([vectors[:_SAMPLE], others[:_SAMPLE]]))
    left = _Side.of(vectors, axes)
    right = left if others is None else _Side.of(others, axes)
    reach = float(np.sqrt(max(0.0, 2.0 - 2.0 * least)) + _SLACK)
    found: list[Pairs] = []
    total = 0
    with (reporter or SilentReporter()).task(label, len(vectors)) as step:
        for start in range(0, len(vectors), _BLOCK):
            stop = min(start + _BLOCK, len(vectors))
            for pairs in _of_block(left, right, start, stop, reach, least, within=others is None):
                found.append(pairs)
                total += len(pairs)
                if total > _MOST:
                    raise DataError(
                        f"More than {_MOST:,} pairs of pictures are nearly alike: the features tell hardly "
                        "anything apart (are most images blank?)."
                    )
            step.advance(stop - start)
    return _joined(found, within=others is None)


@dataclass(frozen=True)
class _Side:
    """Rows ordered along the first axis: their vectors, their places on a few axes, and who they were."""

    vectors: Floats
    places: Floats
    rest: Floats
    row: Ints

    @classmethod
    def of(cls, vectors: Floats, axes: Floats) -> _Side:
        places = vectors @ axes
        order = np.argsort(places[:, 0], kind="stable")
        squares = np.einsum("ij,ij->i", places, places)
        return cls(vectors, places[order], squares[order], order)


def _axes(vectors: Floats) -> Floats:
    """Return the principal axes of centred rows, float32 [d, at most 48]; orthonormal."""
    some = vectors if len(vectors) <= _SAMPLE else vectors[:: len(vectors) // _SAMPLE + 1]
    centred = some - some.mean(axis=0)
    _, turned = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return np.ascontiguousarray(turned[:, ::-1][:, :_AXES], np.float32)


def _of_block(
    left: _Side, right: _Side, start: int, stop: int, reach: float, least: float, *, within: bool
) -> Iterator[Pairs]:
    """Yield the pairs of rows start..stop of the left side, block by block of the right."""
    first = right.places[:, 0]
    low = int(np.searchsorted(first, left.places[start, 0] - reach))
    high = int(np.searchsorted(first, left.places[stop - 1, 0] + reach, side="right"))
    if within:
        low = max(low, start)
    mine, squares = left.places[start:stop], left.rest[start:stop]
    for at in range(low, high, _BLOCK):
        end = min(at + _BLOCK, high)
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab on the axes; what lies off them can only add to it.
        need = mine @ right.places[at:end].T
        need -= 0.5 * right.rest[at:end]
        bound = 0.5 * squares - 0.5 * reach**2
        i, j = np.nonzero(need >= bound[:, None])
        i, j = i + start, j + at
        if within:
            later = j > i
            i, j = i[later], j[later]
        if len(i):
            yield from _confirmed(left, right, left.row[i], right.row[j], least)


def _confirmed(left: _Side, right: _Side, i: Ints, j: Ints, least: float) -> Iterator[Pairs]:
    for at in range(0, len(i), 65_536):
        a, b = i[at : at + 65_536], j[at : at + 65_536]
        cosine = np.einsum("ij,ij->i", left.vectors[a], right.vectors[b])
        near = cosine >= least
        if near.any():
            yield Pairs(a[near], b[near], cosine[near].astype(np.float32))


def _joined(found: list[Pairs], *, within: bool) -> Pairs:
    if not found:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    left = np.concatenate([pairs.left for pairs in found])
    right = np.concatenate([pairs.right for pairs in found])
    cosine = np.concatenate([pairs.cosine for pairs in found])
    if within:
        left, right = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((right, left))
    return Pairs(left[order], right[order], cosine[order])
