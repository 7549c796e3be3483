"""Pictures that are one picture: equal pixels, nearly equal ones, turned or mirrored ones, shifted ones.

Two pictures are near copies when their thumbnails, each channel's mean taken off, point the same way
(cosine), differ by no more than traces of recompression (root mean square), and few signs of the differences
between neighbouring pixels differ: in the turn, of eight, in which they fit best. Copies that are shifted are
found by `cytobench.checks.shifted`.

The limits were chosen on planted copies of cells of PBC and of windows of Chula RBC-12: any turn, rescaled to
70 to 100 %, brighter or darker by 8 levels, JPEG 60 to 95. How often different cells are taken for copies was
not measured on sets of their own: every finding is shown for a look with one's own eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.checks.imprints import Imprints
from cytobench.checks.near import Ints, Pairs, near_pairs, unit_rows
from cytobench.checks.shifted import Reader, as_pictures, as_share, overlapping, overlapping_thumbnails
from cytobench.checks.symmetry import TURNS, invariant, turned
from cytobench.progress import Reporter

Floats = npt.NDArray[np.float32]
Thumbnails = npt.NDArray[np.uint8]

COSINE = 0.94
LEVELS = 3.5  # of 255
SIGNS = 60  # of 240
MOST_MOVED = 7_500
"""Pictures up to which turned and shifted copies are looked for: the work grows with their square."""
_AT_ONCE = 4096


@dataclass(frozen=True)
class Sight:
    """How pictures are looked at once more: `read` gives those of some rows, `files` names each row's file.

    Pictures cut from one file may overlap and are no copies for it.
    """

    read: Reader
    files: Sequence[str]


@dataclass(frozen=True)
class Copies:
    """Pairs of rows that show one picture.

    `left`, `right`: int64 [m]; `equal`: bool [m], every pixel the same; `difference`: float32 [m], root mean
    square of what both show, mean brightness aside, in levels of 255; `turn`: int64 [m], which of `TURNS`;
    `shift`: float32 [m, 2], how far the second shows the place lower and more to the right, in sides.
    """

    left: Ints
    right: Ints
    equal: npt.NDArray[np.bool_]
    difference: Floats
    turn: Ints
    shift: Floats

    def __len__(self) -> int:
        return len(self.left)

    def where(self, keep: npt.NDArray[np.bool_]) -> Copies:
        """Return some of the pairs."""
        return self._take(np.flatnonzero(keep))

    @classmethod
    def joined(cls, *parts: Copies) -> Copies:
        """Return the pairs of all parts, in the order of their rows."""
        names = ("left", "right", "equal", "difference", "turn", "shift")
        whole = cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return whole._take(np.lexsort((whole.right, whole.left)))

    def related(self, at: int) -> str:
        """Return how the second picture of a pair is related to the first, in words."""
        if self.equal[at]:
            return "every pixel is equal"
        apart = f"{self.difference[at]:.1f} of 255 levels apart"
        if self.shift[at].any():
            return f"the same place, shifted {_way(self.shift[at])} ({apart} where both show it)"
        if self.turn[at]:
            return f"the same picture, {TURNS[int(self.turn[at])]} ({apart})"
        return f"nearly equal: {apart}"

    def counted(self, bytes_too: int) -> str:
        """Return how many pairs there are of each kind, `bytes_too` of them in files of equal bytes."""
        equal, moved = int(self.equal.sum()), self.shift.any(axis=1)
        turned_, shifted = int((self.turn > 0).sum()), int(moved.sum())
        parts = [f"{equal:,} with equal pixels ({bytes_too:,} in files of equal bytes)"]
        parts += [f"{len(self) - equal - turned_ - shifted:,} nearly equal"]
        parts += [f"{turned_:,} turned or mirrored"] if turned_ else []
        parts += [f"{shifted:,} shifted"] if shifted else []
        return ", ".join([f"{len(self):,}", *parts])

    def _take(self, rows: Ints) -> Copies:
        return Copies(
            self.left[rows],
            self.right[rows],
            self.equal[rows],
            self.difference[rows],
            self.turn[rows],
            self.shift[rows],
        )


def find_copies(
    imprints: Imprints, reporter: Reporter, *, sight: Sight | None = None, label: str = "looking for copies"
) -> Copies:
    """Return the copies among n pictures, each pair once; shifted ones where there is `sight`.

    Turned and shifted ones are looked for among up to `MOST_MOVED` pictures. Of many equal pictures each is
    paired with the first one alone; other copies are looked for among different pictures, blank ones left
    out: empty glass is like empty glass.
    """
    first, again = _firsts(imprints.digests)
    exact = _equal(again[:, 0], again[:, 1])
    rows = first[~imprints.blank[first]]
    small = imprints.thumbnails[rows]
    closely = _is_small(len(imprints), len(imprints), reporter)
    pairs = near_pairs(_rows(small, closely=closely), least=COSINE, reporter=reporter, label=label)
    near = _fitting(small, small, pairs)
    shifted = _none()
    if sight and closely:
        shifted = _shifted(imprints, None, (rows, rows), (sight, None), near, reporter)
    return Copies.joined(exact, _of_rows(near, rows, rows), shifted)


def find_copies_between(
    mine: Imprints,
    others: Imprints,
    reporter: Reporter,
    *,
    sights: tuple[Sight, Sight] | None = None,
    label: str = "looking for copies in the pool",
) -> Copies:
    """Return the copies between two sets; `right` counts the rows of `others`; `sights`: of both sets."""
    place = {digest.tobytes(): row for row, digest in reversed(list(enumerate(mine.digests)))}
    found = [(place[d.tobytes()], row) for row, d in enumerate(others.digests) if d.tobytes() in place]
    exact = np.array(found, np.int64).reshape(-1, 2)
    rows = (np.flatnonzero(~mine.blank), np.flatnonzero(~others.blank))
    small = (mine.thumbnails[rows[0]], others.thumbnails[rows[1]])
    closely = _is_small(len(mine), len(others), reporter)
    units = [_rows(some, closely=closely) for some in small]
    pairs = near_pairs(units[0], units[1], least=COSINE, reporter=reporter, label=label)
    near = _fitting(*small, pairs)
    shifted = _none()
    if sights and closely:
        shifted = _shifted(mine, others, rows, sights, near, reporter)
    alike = Copies.joined(_of_rows(near, *rows), shifted)
    different = (mine.digests[alike.left] != others.digests[alike.right]).any(axis=1)
    return Copies.joined(_equal(exact[:, 0], exact[:, 1]), alike.where(different))


def _is_small(mine: int, others: int, reporter: Reporter) -> bool:
    small = mine * others <= MOST_MOVED**2
    if not small:
        reporter.say(
            f"Turned and shifted copies were not looked for: {mine:,} x {others:,} pictures are too many to "
            "compare so closely."
        )
    return small


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
    n = len(left)
    levels, shift = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
    return Copies(left, right, np.ones(n, bool), levels, np.zeros(n, np.int64), shift)


def _none() -> Copies:
    return _equal(np.empty(0, np.int64), np.empty(0, np.int64))


def _of_rows(found: Copies, left: Ints, right: Ints) -> Copies:
    rows = (left[found.left], right[found.right])
    return Copies(*rows, found.equal, found.difference, found.turn, found.shift)


def _shapes(thumbnails: Thumbnails) -> Floats:
    """Return thumbnails without each channel's mean, float32 [n, 16, 16, 3]."""
    levels = as_pictures(thumbnails)
    levels -= levels.mean(axis=(1, 2), keepdims=True)
    return levels


def _rows(thumbnails: Thumbnails, *, closely: bool) -> Floats:
    """Return unit rows with the thumbnails' cosines, or, `closely`, never below those in any turn."""
    found = []
    for start in range(0, len(thumbnails), _AT_ONCE):
        shapes = _shapes(thumbnails[start : start + _AT_ONCE])
        found.append(unit_rows(invariant(shapes) if closely else shapes.reshape(len(shapes), -1)))
    return np.concatenate(found) if found else np.empty((0, 768), np.float32)


def _fitting(mine: Thumbnails, others: Thumbnails, pairs: Pairs) -> Copies:
    """Return the pairs that are near copies in the turn in which they fit best."""
    turn = np.empty(len(pairs), np.int64)
    difference = np.empty(len(pairs), np.float32)
    keep = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        one, other = _shapes(mine[pairs.left[part]]), _shapes(others[pairs.right[part]])
        products = np.stack([np.einsum("nijk,nijk->n", one, turned(other, k)) for k in range(len(TURNS))])
        turn[part] = best = products.argmax(axis=0)
        lengths = np.sqrt(np.einsum("nijk,nijk->n", one, one) * np.einsum("nijk,nijk->n", other, other))
        cosine = products.max(axis=0) / np.maximum(lengths, 1e-6)
        for k in np.unique(best).tolist():
            other[best == k] = turned(other[best == k], k)
        difference[part] = rms = np.sqrt(np.square(one - other).mean(axis=(1, 2, 3)))
        keep[part] = (cosine >= COSINE) & (rms <= LEVELS) & (_signs_apart(one, other) <= SIGNS)
    unequal, still = np.zeros(len(pairs), bool), np.zeros((len(pairs), 2), np.float32)
    return Copies(pairs.left, pairs.right, unequal, difference, turn, still).where(keep)


def _signs_apart(one: Floats, other: Floats) -> Ints:
    """Return in how many of 240 places one thumbnail grows brighter to the right and the other does not."""
    grows = [np.diff(some.mean(axis=3), axis=2) > 0 for some in (one, other)]
    apart: Ints = (grows[0] != grows[1]).sum(axis=(1, 2))
    return apart


def _shifted(
    mine: Imprints,
    others: Imprints | None,
    rows: tuple[Ints, Ints],
    sights: tuple[Sight, Sight | None],
    known: Copies,
    reporter: Reporter,
) -> Copies:
    """Return the copies that are shifted, by the rows of the imprints; `known`: pairs found already."""
    theirs = mine if others is None else others
    first, second = sights[0], sights[1] or sights[0]
    names: dict[str, int] = {}
    files = [
        np.array([names.setdefault(sight.files[row], len(names)) for row in some], np.int64)
        for sight, some in zip((first, second), rows, strict=True)
    ]
    told = set(zip(known.left.tolist(), known.right.tolist(), strict=True))
    pairs = overlapping_thumbnails(
        mine.thumbnails[rows[0]],
        None if others is None else theirs.thumbnails[rows[1]],
        lambda left, right: files[0][left] != files[1][right],
        reporter,
    )
    new = [pair not in told for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
    left, right = rows[0][pairs.left[new]], rows[1][pairs.right[new]]
    pairs = Pairs(left, right, pairs.cosine[new])
    fitting, laid = overlapping(pairs, first.read, second.read if others is not None else None, reporter)
    unequal, no_turn = np.zeros(len(fitting), bool), np.zeros(len(fitting), np.int64)
    return Copies(fitting.left, fitting.right, unequal, laid.rms, no_turn, as_share(-laid.shift))


def _way(shift: Floats) -> str:
    """Return a shift, down and to the right in sides, in words."""
    down, right = (float(part) for part in shift)
    parts = [
        f"{abs(part):.0%} of the side {ways[part > 0]}"
        for part, ways in ((down, ("up", "down")), (right, ("to the left", "to the right")))
        if abs(part) > 0
    ]
    return " and ".join(parts)
