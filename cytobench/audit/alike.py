"""From which cosine on pictures are more alike to a backbone than nearest neighbours usually are."""

from __future__ import annotations

import numpy as np

from cytobench.checks.near import Floats

_ASKED = 2000  # rows whose nearest neighbours make the null distribution
_BEYOND = 5.0  # robust standard deviations above the median nearest neighbour
_LEAST = 0.8
_BLOCK = 256


def threshold(unit: Floats, *, seed: int = 0) -> float:
    """Return the cosine above which two pictures are more alike than neighbours are.

    Nearest neighbours of up to 2,000 rows are looked up among all n; the threshold lies five robust standard
    deviations above their median on Fisher's scale (arctanh), on which cosines have nearly constant spread,
    and at 0.8 at least. A set full of copies raises its own threshold no more than half of its rows can.
    """
    rows = np.random.default_rng(seed).permutation(len(unit))[:_ASKED]
    nearest = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), _BLOCK):
        mine = rows[start : start + _BLOCK]
        cosine = unit[mine] @ unit.T
        cosine[np.arange(len(mine)), mine] = -1.0
        nearest[start : start + len(mine)] = cosine.max(axis=1)
    scale = np.arctanh(np.clip(nearest, -0.999999, 0.999999))
    middle = float(np.median(scale))
    spread = 1.4826 * float(np.median(np.abs(scale - middle)))
    return max(_LEAST, float(np.tanh(middle + _BEYOND * max(spread, 1e-3))))
