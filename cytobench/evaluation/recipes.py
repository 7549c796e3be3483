"""How each probe is fitted by default, which candidates it is tuned over, and how it predicts.

A recipe sits between the protocol (folds, groups, budgets) and the array functions in `probes`. It is only
ever handed training rows, and the features of the rows to predict: never their labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.examples import Ints

if TYPE_CHECKING:
    from cytobench.probes.linear import LinearPath

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Weighting = Literal["uniform", "similarity"]
Params = dict[str, int | float | str | bool]

KNN_NEIGHBOURS = (200, 100, 50, 20, 10, 5, 3, 1)
KNN_WEIGHTING: tuple[Weighting, ...] = ("uniform", "similarity")
KNN_DEFAULT: Params = {"k": 20, "weighting": "uniform"}
LINEAR_LOSS_SLACK = 1e-6
LINEAR_TOLERANCE, LINEAR_TUNING_TOLERANCE = 1e-6, 1e-5
"""Relative distance to the optimum of a fit that predicts, and of one that is only compared with others."""
LINEAR_C = tuple(float(value) for value in np.logspace(-6, 5, 45))


_WORTH_THREADS = 1_000_000


@dataclass(frozen=True)
class Training:
    """The training part of one outer fold: all that fitting and tuning may see.

    `features`: float32 [n, d]; `labels`: int64 [n]; `groups`: int64 [n].
    """

    features: Features
    labels: Ints
    groups: Ints
    n_classes: int

    def take(self, rows: Ints) -> Training:
        """Return some of the rows."""
        return Training(self.features[rows], self.labels[rows], self.groups[rows], self.n_classes)


@dataclass(frozen=True)
class Prediction:
    """Probabilities float64 [m, K] and what is worth knowing about the fit that gave them."""

    probabilities: Floats
    diagnostics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InnerFold:
    """Validation rows of one inner fold and every candidate's probabilities there, float64 [c, m, K]."""

    rows: Ints
    probabilities: Floats


class Recipe(Protocol):
    """A probe whose candidates form a fixed grid."""

    def default(self, training: Training) -> Params:
        """Return the untuned parameters."""

    def default_rule(self) -> dict[str, Any]:
        """Return the rule behind `default` as JSON primitives: part of an untuned run's identity."""

    def space(self) -> dict[str, Any]:
        """Return the search space as JSON primitives: part of a tuned run's identity."""

    def candidates(self) -> list[Params]:
        """Return the grid; of two candidates that score the same the earlier one is taken."""

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Fit every candidate on each inner fold's training rows and predict its validation rows."""

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Fit on all of `training` and predict the rows of `test`."""


@dataclass(frozen=True)
class Knn:
    """Nearest neighbours by cosine similarity of centred features; k = 20, uniform votes by default."""

    exclude_own_group: bool = False

    def default(self, training: Training) -> Params:
        """Return UNI's recipe (Chen et al. 2024): 20 neighbours, one vote each."""
        return dict(KNN_DEFAULT)

    def default_rule(self) -> dict[str, Any]:
        """Return the default parameters: they do not depend on the data."""
        return dict(KNN_DEFAULT)

    def space(self) -> dict[str, Any]:
        """Return the numbers of neighbours and the weightings searched."""
        return {"k": list(KNN_NEIGHBOURS), "weighting": list(KNN_WEIGHTING)}

    def candidates(self) -> list[Params]:
        """Return all pairs, more neighbours first, uniform votes first."""
        return [{"k": k, "weighting": w} for k, w in product(KNN_NEIGHBOURS, KNN_WEIGHTING)]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Search once per inner fold: all numbers of neighbours come from one sorted list."""
        for k in np.unique(folds):
            rows = np.flatnonzero(folds == k)
            held = training.take(rows)
            fitted = training.take(np.flatnonzero(folds != k))
            values = self._probabilities(fitted, held.features, held.groups, KNN_NEIGHBOURS, KNN_WEIGHTING)
            yield InnerFold(rows, values.reshape(-1, *values.shape[2:]))

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Vote among the nearest training rows."""
        weighting: Weighting = "similarity" if params["weighting"] == "similarity" else "uniform"
        ks = [int(params["k"])]
        return Prediction(self._probabilities(training, test, test_groups, ks, [weighting])[0, 0])

    def _probabilities(
        self,
        training: Training,
        test: Features,
        groups: Ints,
        ks: Sequence[int],
        weighting: Sequence[Weighting],
    ) -> Floats:
        from cytobench.probes.knn import knn_probabilities

        return knn_probabilities(
            training.features,
            training.labels,
            test,
            n_classes=training.n_classes,
            ks=ks,
            weighting=weighting,
            train_groups=training.groups if self.exclude_own_group else None,
            test_groups=groups if self.exclude_own_group else None,
        )


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression with a squared-L2 penalty; C = M*K/100 by default."""

    standardise: bool = False

    def default(self, training: Training) -> Params:
        """Return DinoBloom's C = M*K/100 (M features, K classes) and the backbone's own standardisation."""
        from cytobench.probes.linear import default_C

        return {
            "C": float(default_C(training.features.shape[1], training.n_classes)),
            "standardise": self.standardise,
        }

    def default_rule(self) -> dict[str, Any]:
        """Return the formula and the backbone's standardisation."""
        return {"C": "M*K/100", "standardise": self.standardise}

    def space(self) -> dict[str, Any]:
        """Return the grid of C and the two scalings searched."""
        return {"C": list(LINEAR_C), "standardise": [False, True]}

    def candidates(self) -> list[Params]:
        """Return all pairs, the stronger penalty first, raw features first."""
        return [{"C": value, "standardise": scaled} for value, scaled in product(LINEAR_C, (False, True))]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Solve all C and all inner folds of one scaling together."""
        numbers = np.unique(folds)
        masks = np.stack([folds != k for k in numbers])
        paths = [
            self._path(training, LINEAR_C, masks, standardise=scaled, tolerance=LINEAR_TUNING_TOLERANCE)
            for scaled in (False, True)
        ]
        for index, k in enumerate(numbers):
            rows = np.flatnonzero(folds == k)
            held = training.features[rows]
            both = np.stack([path.path_probabilities(held, index) for path in paths], axis=1)
            yield InnerFold(rows, both.reshape(-1, *both.shape[2:]))

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Solve to convergence on all training rows at one C."""
        everything = np.ones((1, len(training.labels)), dtype=bool)
        path = self._path(training, [float(params["C"])], everything, standardise=bool(params["standardise"]))
        diagnostics = {
            "objective": float(path.objective[0, 0]),
            "gradient_norm": float(path.gradient_norm[0, 0]),
            "converged": bool(path.converged[0, 0]),
        }
        return Prediction(path.probabilities(test, 0, 0), diagnostics)

    @staticmethod
    def _path(
        training: Training,
        Cs: Sequence[float],
        masks: npt.NDArray[np.bool_],
        *,
        standardise: bool,
        tolerance: float = LINEAR_TOLERANCE,
    ) -> LinearPath:
        from cytobench.probes.linear import fit_path

        with _few_threads_for(masks.size * training.features.shape[1]):
            return fit_path(
                training.features,
                training.labels,
                n_classes=training.n_classes,
                Cs=Cs,
                train_masks=masks,
                standardise=standardise,
                tolerance=tolerance,
                loss_slack=LINEAR_LOSS_SLACK,
            )


@contextmanager
def _few_threads_for(products: int) -> Iterator[None]:
    """Compute with one thread where a product of matrices takes less time than waking the others up."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if products < _WORTH_THREADS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Majority:
    """The null predictor: every row gets the class frequencies of the training part, whatever the probe."""

    def default(self, training: Training) -> Params:
        """Return no parameters: there are none."""
        return {}

    def default_rule(self) -> dict[str, Any]:
        """Return the name of the rule."""
        return {"null": "majority"}

    def space(self) -> dict[str, Any]:
        """Return the name of the rule: nothing is searched."""
        return self.default_rule()

    def candidates(self) -> list[Params]:
        """Return the only candidate."""
        return [{}]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Predict each inner fold from the class frequencies of the others."""
        for k in np.unique(folds):
            rows = np.flatnonzero(folds == k)
            rest = training.take(np.flatnonzero(folds != k))
            yield InnerFold(rows, self.predict(rest, {}, training.features[rows], rows).probabilities[None])

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Repeat the class frequencies."""
        from cytobench.probes.null import majority_probabilities

        return Prediction(
            np.asarray(
                majority_probabilities(training.labels, len(test), training.n_classes), dtype=np.float64
            )
        )


UNIT_OF_PROBE: Mapping[str, str] = MappingProxyType({"knn": "cell", "linear": "cell", "mean-linear": "bag"})
"""The probes of this version and what they score: cells, or bags (here: the mean of a bag's features)."""


def recipe_of(probe: str, *, null: bool, standardise: bool, exclude_own_group: bool) -> Recipe:
    """Return the recipe of a probe named in `UNIT_OF_PROBE`; with `null` the majority predictor instead.

    `standardise`: the backbone's untuned default for linear probes; `exclude_own_group`: neighbours of a
    row's own group do not vote.
    """
    if null:
        return Majority()
    if probe == "knn":
        return Knn(exclude_own_group=exclude_own_group)
    return Linear(standardise=standardise)


def why_not(probe: str, unit: str) -> str | None:
    """Return why `probe` cannot be run on a task of this unit, or None when it can."""
    fitting = " or ".join(name for name, of in UNIT_OF_PROBE.items() if of == unit)
    if probe not in UNIT_OF_PROBE:
        return f"This version has no probe '{probe}'; for a task whose unit is the {unit} it has {fitting}."
    if UNIT_OF_PROBE[probe] != unit:
        scored = UNIT_OF_PROBE[probe]
        return f"The probe '{probe}' scores {scored}s and this task's unit is the {unit}; use {fitting}."
    return None
