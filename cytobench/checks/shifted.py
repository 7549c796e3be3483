"""One place in two pictures, a little apart: a cell cut out twice, two fields that overlap.

Three steps, each for what the one before has left: the magnitudes of the thumbnails' spectra, which a shift
hardly changes; the thumbnails laid over each other; the pictures themselves, at 64 px, laid over each other.
The limits were chosen on planted views of PBC and of Chula RBC-12, shifted by up to a tenth of the side and
saved as JPEG 80; that of fine structure also on patches of the oral set ds1, where different patches reach
0.90. Pairs of Chula, BCCD and PBC that were seen to be right differ by up to 8.6 levels of 255, noisy copies
that were resampled between pixels by up to 9.6, smooth drawn cells that only look alike by 11.7 or more. The
limits were not tried on sets of their own: every finding is shown for a look with one's own eyes. A copy that
is both turned and shifted is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from cytobench.checks.near import Pairs, unit_rows
from cytobench.checks.registration import Registered, fading, fine_likeness, registered
from cytobench.images import RGB
from cytobench.progress import Reporter

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Reader = Callable[[Sequence[int]], Sequence[RGB]]

SPECTRUM, THUMBNAIL, PICTURE, FINE = 0.65, 0.75, 0.85, 0.92
LEVELS = 10.5  # of 255
_SIDE = 64  # px
_MOST, _CLOSEST = 100_000, 5_000  # pairs of thumbnails, and of pictures, that may be laid over each other
_ASKED, _BLOCK, _AT_ONCE, _TILE = 1000, 250, 4096, 2048
_AXES, _SAMPLE = 64, 20_000


def spectra(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """Return the roots of the magnitudes of thumbnails' spectra, float32 [n, 432] of uint8 [n, 768]."""
    found = np.empty((len(thumbnails), 16 * 9 * 3), np.float32)
    faded = fading(16)
    for start in range(0, len(thumbnails), _AT_ONCE):
        some = as_pictures(thumbnails[start : start + _AT_ONCE])
        some -= (some * faded).sum(axis=(1, 2), keepdims=True) / faded.sum()
        magnitude = np.abs(np.fft.fft2(some * faded, axes=(1, 2))[:, :, :9])
        found[start : start + len(some)] = np.sqrt(magnitude).reshape(len(some), -1)
    return found


def as_pictures(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """Return thumbnails as float32 [n, 16, 16, 3]."""
    return thumbnails.reshape(-1, 16, 16, 3).astype(np.float32)


def overlapping_thumbnails(
    mine: npt.NDArray[np.uint8],
    others: npt.NDArray[np.uint8] | None,
    keep: Callable[[Ints, Ints], npt.NDArray[np.bool_]],
    reporter: Reporter,
) -> Pairs:
    """Return the pairs whose thumbnails show one place: within `mine`, or with `others`.

    keep: which pairs are asked about at all. Where more than 100,000 pairs are alike by their spectra,
    as in very large sets of one kind of cell, only those most alike are laid over each other.
    """
    unit, other = _condensed(spectra(mine), None if others is None else spectra(others))
    least = _least(unit, other, reporter)
    pairs = _alike(unit, other, least, reporter)
    pairs = pairs.where(keep(pairs.left, pairs.right))
    theirs = mine if others is None else others
    fit = np.zeros(len(pairs), np.float32)
    for at in range(0, len(pairs), _AT_ONCE):
        left, right = pairs.left[at : at + _AT_ONCE], pairs.right[at : at + _AT_ONCE]
        laid = registered(as_pictures(mine[left]), as_pictures(theirs[right]))
        fit[at : at + _AT_ONCE] = laid.cosine
    return pairs.where(_closest(fit, reporter))


def overlapping(
    pairs: Pairs, first: Reader, second: Reader | None, reporter: Reporter
) -> tuple[Pairs, Registered]:
    """Return the pairs whose pictures show one place, and how they fit at 64 px.

    first: gives the pictures of rows of `left`; second: of `right` (None: the same set).
    """
    rows = [pairs.left, pairs.right]
    if second is None:
        small = _small(np.concatenate(rows), first, reporter)
        stacks = (small, small)
    else:
        stacks = (_small(rows[0], first, reporter), _small(rows[1], second, reporter))
    shift, cosine, rms, fine = [], [], [], []
    for at in range(0, len(pairs), _BLOCK):
        both = [
            np.stack([stack[row] for row in side[at : at + _BLOCK].tolist()]).astype(np.float32)
            for stack, side in zip(stacks, rows, strict=True)
        ]
        laid = registered(both[0], both[1])
        shift.append(laid.shift)
        cosine.append(laid.cosine)
        rms.append(laid.rms)
        fine.append(fine_likeness(both[0], both[1], laid.shift))
    if not shift:
        nothing = np.empty(0, np.float32)
        return pairs, Registered(np.empty((0, 2), np.int64), nothing, nothing)
    laid = Registered(np.concatenate(shift), np.concatenate(cosine), np.concatenate(rms))
    fits = (laid.cosine >= PICTURE) & (np.concatenate(fine) >= FINE) & (laid.rms <= LEVELS)
    return pairs.where(fits), Registered(laid.shift[fits], laid.cosine[fits], laid.rms[fits])


def as_share(shift: Ints) -> Floats:
    """Return shifts in px at 64 px as shares of the side."""
    return (shift / _SIDE).astype(np.float32)


def _condensed(mine: Floats, others: Floats | None) -> tuple[Floats, Floats | None]:
    """Return both on the 64 principal axes of `mine`, as unit rows: all products are soon computed then."""
    centre = mine.mean(axis=0)
    some = mine[:: len(mine) // _SAMPLE + 1] - centre
    turned = np.linalg.eigh((some.T @ some).astype(np.float64))[1]
    axes = np.ascontiguousarray(turned[:, ::-1][:, :_AXES], np.float32)
    return unit_rows((mine - centre) @ axes), None if others is None else unit_rows((others - centre) @ axes)


def _alike(unit: Floats, others: Floats | None, least: float, reporter: Reporter) -> Pairs:
    """Return the pairs from a cosine on that is too low for `near_pairs` to pass most of them by."""
    theirs = unit if others is None else others
    left, right, cosine = [], [], []
    with reporter.task("looking for shifted copies", len(unit)) as step:
        for start in range(0, len(unit), _TILE):
            mine = unit[start : start + _TILE]
            for at in range(start if others is None else 0, len(theirs), _TILE):
                products = mine @ theirs[at : at + _TILE].T
                i, j = np.nonzero(products >= least)
                if others is None and at == start:
                    i, j = i[j > i], j[j > i]
                left.append(i + start)
                right.append(j + at)
                cosine.append(products[i, j])
            step.advance(len(mine))
    if not left:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    return Pairs(np.concatenate(left), np.concatenate(right), np.concatenate(cosine))


def _closest(fit: Floats, reporter: Reporter) -> npt.NDArray[np.bool_]:
    """Return which pairs of thumbnails fit, the closest where they are too many for their pictures."""
    fits: npt.NDArray[np.bool_] = fit >= THUMBNAIL
    if fits.sum() > _CLOSEST:
        fits = fit >= np.partition(fit, len(fit) - _CLOSEST)[len(fit) - _CLOSEST]
        reporter.say(f"Only the {_CLOSEST:,} pairs that fit best were looked at for shifted copies.")
    return fits


def _least(unit: Floats, others: Floats | None, reporter: Reporter) -> float:
    """Return the cosine of spectra above which there are no more pairs than may be laid over each other."""
    rows = np.random.default_rng(0).permutation(len(unit))[:_ASKED]
    theirs = unit if others is None else others
    above = []
    for start in range(0, len(rows), _BLOCK):
        mine = rows[start : start + _BLOCK]
        cosine = unit[mine] @ theirs.T
        if others is None:
            cosine[np.arange(len(mine)), mine] = -1.0
        above.append(cosine[cosine >= SPECTRUM])
    alike = np.concatenate(above) if above else np.empty(0, np.float32)
    met = 2 if others is None else 1  # within a set a pair is met from both ends
    most = max(1, met * _MOST * len(rows) // max(1, len(unit)))
    if len(alike) <= most:
        return SPECTRUM
    least = float(np.partition(alike, len(alike) - most)[len(alike) - most])
    reporter.say(
        f"Shifted copies are looked for among the pictures most alike (spectra from {least:.2f} on, not "
        f"{SPECTRUM}): these pictures are very much alike."
    )
    return least


def _small(rows: Ints, read: Reader, reporter: Reporter) -> dict[int, npt.NDArray[np.uint8]]:
    found: dict[int, npt.NDArray[np.uint8]] = {}
    wanted = np.unique(rows).tolist()
    with reporter.task("laying pictures over each other", len(wanted)) as step:
        for at in range(0, len(wanted), _SIDE):
            some = wanted[at : at + _SIDE]
            for row, picture in zip(some, read(some), strict=True):
                size = (_SIDE, _SIDE)
                found[row] = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
            step.advance(len(some))
    return found
