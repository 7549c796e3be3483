"""Hubness: whether a few cells are everybody's neighbours and many nobody's (Radovanović et al. 2010)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.probes.inputs import check_features
from cytobench.probes.neighbours import directions, nearest

Ints = npt.NDArray[np.int64]

_DROPPED = 400
"""Groups up to this many rows are searched together; few larger ones fit among so many rows."""


@dataclass(frozen=True)
class Hubness:
    """`skewness` of the k-occurrences, NaN if all are alike; `antihubs`: share that is no one's neighbour."""

    skewness: float
    antihubs: float


def occurrences(features: npt.NDArray[np.float32], groups: Ints, k: int) -> Ints:
    """Return N_k: among how many rows' k nearest neighbours each row is, int64 [n].

    Neighbours are those of the retrieval probe (centred, cosine); a row is no neighbour of itself nor of its
    group, as test cells never meet their own group either.

    Args:
        features: float32 [n, d].
        groups: int64 [n].
        k: neighbours of each row.

    Raises:
        DataError: features are not finite.
    """
    rows = check_features(features, len(groups), "training")
    towards = directions(rows, rows[:0])[0]
    own = np.unique(groups, return_counts=True)[1].max()
    # Twice as many as are asked for may be found and dropped, in one search; else every group needs its own.
    wide = max(k, -(-min(int(own), _DROPPED) // 2))
    found = nearest(towards, towards, wide, cuts=[k], train_groups=groups, test_groups=groups).index[:, :k]
    counts: Ints = np.bincount(found[found >= 0], minlength=len(rows)).astype(np.int64)
    return counts


def hubness_of(counts: Ints) -> Hubness:
    """Return skewness E[(N - mean)^3] / sd^3 of k-occurrences int64 [n], and the share of zeros.

    Radovanović, Nanopoulos and Ivanović, J. Mach. Learn. Res. 11:2487 (2010): 0 is even, above 1 a few hubs
    take most places in the lists.
    """
    away = counts - counts.mean()
    spread = float(np.sqrt(np.square(away).mean()))
    skewness = float((away**3).mean() / spread**3) if spread > 0 else float("nan")
    return Hubness(skewness, float((counts == 0).mean()))
