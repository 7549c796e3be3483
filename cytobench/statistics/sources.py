"""Where the spread of a score comes from: the folds, the seed, the sample of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Standard deviations of one score by source; NaN where a source was not varied.

    `fold`: of one fold's score around the others; `seed`: of the pooled score over seeds that draw folds and
    searches anew; `sampling`: over samples of groups, the standard error behind the interval.
    """

    fold: float
    seed: float
    sampling: float


def spread_by_source(by_seed: Sequence[Sequence[float]], pooled: Sequence[float], sampling: float) -> Spread:
    """Return the spread of a score by source.

    Args:
        by_seed: for every seed the score of each fold; NaN where a fold cannot be scored.
        pooled: for every seed the score over all folds.
        sampling: standard error over groups.
    """
    within = [np.nanvar(folds, ddof=1) for folds in by_seed if np.isfinite(folds).sum() > 1]
    fold = float(np.sqrt(np.mean(within))) if within else float("nan")
    seed = float(np.std(pooled, ddof=1)) if len(pooled) > 1 else float("nan")
    return Spread(fold, seed, sampling)
