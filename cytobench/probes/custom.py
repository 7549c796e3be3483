"""What a probe of one's own is given and must return: arrays in, probabilities out.

A probe is a function `fit_and_predict(training, test, **parameters)` in a module of a plugin:

* `training`, a `TrainingPart`: the features, labels and groups of the training part of one fold, and a seeded
  random generator. Nothing of the test part is in it but its features, which are
* `test`: float32 [m, d], or m `Bags`. All arrays are read-only: change a copy.
* It returns probabilities, float [m, n_classes], finite, no less than 0, each row adding up to 1.

Its module may declare

* `UNIT`: `"cell"` (the default) or `"bag"`: what it scores;
* `GRID`: the values to try of each keyword parameter, `{"shrinkage": [0.0, 0.5, 0.9]}`. All combinations are
  fitted on inner grouped folds of the training part, as those of the probes of CytoBench; the best is the
  *tuned* column, and of two that score the same the earlier one is taken. Untuned, the defaults of the
  function's own signature are used, or the first value where it has none. Without a grid both columns are the
  same;
* `VERSION`: a string that is raised by hand when the function computes something else.

A run's identity holds the function's name, its version and its grid, but not its code, of which nobody can
tell what it depends on: results made before a change that `VERSION` does not tell are taken for results of
the changed function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cytobench.errors import ProbeError
from cytobench.probes.bags import Bags

Features = npt.NDArray[np.float32] | Bags
_Array = TypeVar("_Array", npt.NDArray[np.float32], npt.NDArray[np.int64])
SLACK = 1e-3
"""So far may a row of probabilities be from adding up to 1: single precision is enough."""


@dataclass(frozen=True)
class TrainingPart:
    """All that a probe may learn from.

    `features`: float32 [n, d], or n bags; `labels`: int64 [n], 0 to n_classes - 1; `groups`: int64 [n], the
    patient, slide or smear that each example is from; `rng`: the source of every random draw, the same each
    time the same run is made.
    """

    features: Features
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    n_classes: int
    rng: np.random.Generator


def read_only(features: Features) -> Features:
    """Return a view that cannot be written to, so that no probe changes what the next one is given."""
    if isinstance(features, Bags):
        return Bags(_locked(features.features), _locked(features.offsets))
    return _locked(features)


def training_part(
    features: Features,
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    n_classes: int,
    rng: np.random.Generator,
) -> TrainingPart:
    """Return the training part handed to a probe, its arrays read-only."""
    return TrainingPart(read_only(features), _locked(labels), _locked(groups), n_classes, rng)


def require_probabilities(made: object, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return what a probe made as float64 `shape`, rows adding up to exactly 1.

    Raises ProbeError, whose sentence goes on after the name of the function.
    """
    try:
        table = np.asarray(made, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProbeError(f"returned {type(made).__name__}, not an array of numbers") from error
    if table.shape != shape:
        raise ProbeError(f"returned an array of shape {list(table.shape)}, not {list(shape)} (rows, classes)")
    if not np.isfinite(table).all():
        raise ProbeError(f"returned {int((~np.isfinite(table)).sum())} numbers that are not finite")
    sums = table.sum(axis=1)
    if table.min(initial=0.0) < 0 or (np.abs(sums - 1) > SLACK).any():
        row = int(np.argmax(np.abs(sums - 1))) if table.min(initial=0.0) >= 0 else int(table.min(1).argmin())
        values = np.array2string(table[row], precision=3, threshold=6)
        raise ProbeError(
            f"returned rows that are no probabilities (row {row}: {values}): they must be no less than 0 and "
            "add up to 1"
        )
    normalised: npt.NDArray[np.float64] = table / sums[:, None]
    return normalised


def _locked(array: _Array) -> _Array:
    view = array.view()
    view.flags.writeable = False
    return view
