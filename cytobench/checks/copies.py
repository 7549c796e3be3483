"""Pictures that are one picture: equal pixels, or nearly equal ones under another compression or brightness.

Two pictures are near copies when their thumbnails, each channel's mean taken off, point the same way
(cosine), differ by no more than traces of recompression (root mean square), and few bits of their difference
hashes differ. On the real sets that CytoBench knows, true pairs (one cell in two fields of the same place,
one patch saved twice) differ by less than 2.5 levels, and the nearest of different cells by more than 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.checks.imprints import Imprints
from cytobench.checks.near import Ints, near_pairs, unit_rows
from cytobench.progress import Reporter

COSINE = 0.96
LEVELS = 3.5  # of 255
BITS = 40  # of 256


@dataclass(frozen=True)
class Copies:
    """Pairs of rows that show one picture.

    `left`, `right`: int64 [m]; `equal`: bool [m], every pixel the same; `difference`: float32 [m], root mean
    square of the thumbnails, mean brightness aside, in levels of 255.
    """

    left: Ints
    right: Ints
    equal: npt.NDArray[np.bool_]
    difference: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)

    def where(self, keep: npt.NDArray[np.bool_]) -> Copies:
        """Return some of the pairs."""
        return Copies(self.left[keep], self.right[keep], self.equal[keep], self.difference[keep])

    @classmethod
    def joined(cls, *parts: Copies) -> Copies:
        """Return the pairs of all parts, in the order of their rows."""
        left = np.concatenate([part.left for part in parts])
        right = np.concatenate([part.right for part in parts])
        order = np.lexsort((right, left))
        return cls(
            left[order],
            right[order],
            np.concatenate([part.equal for part in parts])[order],
            np.concatenate([part.difference for part in parts])[order],
        )


def find_copies(imprints: Imprints, reporter: Reporter, *, label: str = "looking for copies") -> Copies:
    """Return the copies among n pictures, each pair once.

    Of many equal pictures each is paired with the first one alone; near copies are looked for among
    different pictures, blank ones left out: empty glass is like empty glass.
    """
    first, again = _firsts(imprints.digests)
    exact = _equal(again[:, 0], again[:, 1])
    rows = first[~imprints.blank[first]]
    vectors = _shapes(imprints.thumbnails[rows])
    pairs = near_pairs(unit_rows(vectors), least=COSINE, reporter=reporter, label=label)
    near = _confirmed(imprints, imprints, rows[pairs.left], rows[pairs.right])
    return Copies.joined(exact, near)


def find_copies_between(
    mine: Imprints, others: Imprints, reporter: Reporter, *, label: str = "looking for copies in the pool"
) -> Copies:
    """Return the copies between two sets; `right` counts the rows of `others`."""
    place = {digest.tobytes(): row for row, digest in reversed(list(enumerate(mine.digests)))}
    found = [(place[d.tobytes()], row) for row, d in enumerate(others.digests) if d.tobytes() in place]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    exact = _equal(pairs[:, 0], pairs[:, 1])
    left, right = np.flatnonzero(~mine.blank), np.flatnonzero(~others.blank)
    near = near_pairs(
        unit_rows(_shapes(mine.thumbnails[left])),
        unit_rows(_shapes(others.thumbnails[right])),
        least=COSINE,
        reporter=reporter,
        label=label,
    )
    confirmed = _confirmed(mine, others, left[near.left], right[near.right])
    different = (mine.digests[confirmed.left] != others.digests[confirmed.right]).any(axis=1)
    return Copies.joined(exact, confirmed.where(different))


def _firsts(digests: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Return the first row of each distinct digest, and [m, 2] first and later row of every repetition."""
    seen: dict[bytes, int] = {}
    again = []
    for row, digest in enumerate(digests):
        first = seen.setdefault(digest.tobytes(), row)
        if first != row:
            again.append((first, row))
    return np.array(list(seen.values()), np.int64), np.array(again, np.int64).reshape(-1, 2)


def _equal(left: Ints, right: Ints) -> Copies:
    return Copies(left, right, np.ones(len(left), bool), np.zeros(len(left), np.float32))


def _shapes(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return thumbnails without each channel's mean, float32 [n, 768]."""
    levels = thumbnails.reshape(len(thumbnails), -1, 3).astype(np.float32)
    levels -= levels.mean(axis=1, keepdims=True)
    return levels.reshape(len(thumbnails), -1)


def _confirmed(mine: Imprints, others: Imprints, left: Ints, right: Ints) -> Copies:
    keep, difference = [], []
    for start in range(0, len(left), 16_384):
        a, b = left[start : start + 16_384], right[start : start + 16_384]
        apart = _shapes(mine.thumbnails[a]) - _shapes(others.thumbnails[b])
        rms = np.sqrt(np.square(apart).mean(axis=1))
        bits = np.bitwise_count(mine.hashes[a] ^ others.hashes[b]).sum(axis=1)
        keep.append((rms <= LEVELS) & (bits <= BITS))
        difference.append(rms)
    if not keep:
        return _equal(left, right)
    kept = np.concatenate(keep)
    rms = np.concatenate(difference)[kept].astype(np.float32)
    return Copies(left[kept], right[kept], np.zeros(len(rms), bool), rms)
