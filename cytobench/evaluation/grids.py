"""Probes whose candidates form a fixed grid: nearest neighbours, logistic regression, the null predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cytobench.evaluation.cores import available, is_small, side_by_side
from cytobench.evaluation.examples import Ints
from cytobench.evaluation.processes import WORKERS
from cytobench.evaluation.recipes import Features, Floats, InnerFold, Params, Prediction, Table, Training
from cytobench.probes.bags import Bags

if TYPE_CHECKING:
    from cytobench.probes.linear import LinearPath

Weighting = Literal["uniform", "similarity"]
Pooling = Literal["none", "mean", "max"]

KNN_NEIGHBOURS = (200, 100, 50, 20, 10, 5, 3, 1)
KNN_WEIGHTING: tuple[Weighting, ...] = ("uniform", "similarity")
KNN_DEFAULT: Params = {"k": 20, "weighting": "uniform"}
LINEAR_LOSS_SLACK = 1e-6
LINEAR_TOLERANCE, LINEAR_TUNING_TOLERANCE = 1e-6, 1e-5
"""Relative distance to the optimum of a fit that predicts, and of one that is only compared with others."""
_APPROACH = "C/5, C/25, …"  # named in the identity of runs: without it some stopped short of the optimum
LINEAR_C = tuple(float(value) for value in np.logspace(-6, 5, 45))


@dataclass(frozen=True)
class Knn:
    """Nearest neighbours by cosine similarity of centred features; k = 20, uniform votes by default."""

    exclude_own_group: bool = False
    searched: Literal[False] = False

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
            table_of(training.features),
            training.labels,
            table_of(test),
            n_classes=training.n_classes,
            ks=ks,
            weighting=weighting,
            train_groups=training.groups if self.exclude_own_group else None,
            test_groups=groups if self.exclude_own_group else None,
        )


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression with a squared-L2 penalty; C = M*K/100 by default.

    `pooling`: how a bag becomes one row, the mean or the largest value of each feature over its instances.
    """

    standardise: bool = False
    pooling: Pooling = "none"
    searched: Literal[False] = False

    def default(self, training: Training) -> Params:
        """Return DinoBloom's C = M*K/100 (M features, K classes) and the backbone's own standardisation."""
        from cytobench.probes.linear import default_C

        return {
            "C": float(default_C(table_of(training.features, self.pooling).shape[1], training.n_classes)),
            "standardise": self.standardise,
        }

    def default_rule(self) -> dict[str, Any]:
        """Return the formula, the backbone's standardisation, and how a single C is led up to."""
        return {"C": "M*K/100", "standardise": self.standardise, "approach": _APPROACH}

    def space(self) -> dict[str, Any]:
        """Return the grid of C and the two scalings searched, and how the chosen C is led up to."""
        return {"C": list(LINEAR_C), "standardise": [False, True], "approach": _APPROACH}

    def candidates(self) -> list[Params]:
        """Return all pairs, the stronger penalty first, raw features first."""
        return [{"C": value, "standardise": scaled} for value, scaled in product(LINEAR_C, (False, True))]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Solve all C and all inner folds of one scaling together."""
        table = table_of(training.features, self.pooling)
        numbers = np.unique(folds)
        masks = np.stack([folds != k for k in numbers])

        def path(scaled: bool) -> LinearPath:
            return self._path(table, training, LINEAR_C, masks, scaled, LINEAR_TUNING_TOLERANCE)

        paths = side_by_side(path, (False, True), available() if is_small(table.size) else 1)
        for index, k in enumerate(numbers):
            rows = np.flatnonzero(folds == k)
            held = table[rows]
            both = np.stack([path.path_probabilities(held, index) for path in paths], axis=1)
            yield InnerFold(rows, both.reshape(-1, *both.shape[2:]))

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Solve to convergence on all training rows at one C."""
        everything = np.ones((1, len(training.labels)), dtype=bool)
        table, scaled = table_of(training.features, self.pooling), bool(params["standardise"])
        path = self._path(table, training, [float(params["C"])], everything, scaled, LINEAR_TOLERANCE)
        diagnostics = {
            "objective": float(path.objective[0, 0]),
            "gradient_norm": float(path.gradient_norm[0, 0]),
            "converged": bool(path.converged[0, 0]),
        }
        return Prediction(path.probabilities(table_of(test, self.pooling), 0, 0), diagnostics)

    @staticmethod
    def _path(
        table: Table,
        training: Training,
        Cs: Sequence[float],
        masks: npt.NDArray[np.bool_],
        standardise: bool,
        tolerance: float,
    ) -> LinearPath:
        from cytobench.probes.linear import fit_path

        settings: dict[str, Any] = {
            "n_classes": training.n_classes,
            "Cs": Cs,
            "train_masks": masks,
            "standardise": standardise,
            "tolerance": tolerance,
            "loss_slack": LINEAR_LOSS_SLACK,
        }
        if is_small(table.size):
            return WORKERS.compute(fit_path, table, training.labels, **settings)
        return fit_path(table, training.labels, **settings)


def table_of(features: Features, pooling: Pooling = "none") -> Table:
    """Return one row per example: bags are pooled (by their mean unless said otherwise)."""
    if not isinstance(features, Bags):
        return features
    return features.max() if pooling == "max" else features.mean()


@dataclass(frozen=True)
class Fixed:
    """A probe without a choice: `rule` says what it is, `fit` predicts test rows, given their groups too."""

    rule: Mapping[str, Any]
    fit: Callable[[Training, Features, Ints], Prediction]
    params: Mapping[str, int] = field(default_factory=dict)
    searched: Literal[False] = False

    def default(self, training: Training) -> Params:
        """Return the fixed parameters, if any."""
        return dict(self.params)

    def default_rule(self) -> dict[str, Any]:
        """Return the name of the rule."""
        return dict(self.rule)

    def space(self) -> dict[str, Any]:
        """Return the name of the rule: nothing is searched."""
        return dict(self.rule)

    def candidates(self) -> list[Params]:
        """Return the only candidate."""
        return [dict(self.params)]

    def inner(self, training: Training, folds: npt.NDArray[np.int16]) -> Iterator[InnerFold]:
        """Predict each inner fold from the others."""
        for k in np.unique(folds):
            rows = np.flatnonzero(folds == k)
            rest = training.take(np.flatnonzero(folds != k))
            made = self.fit(rest, training.features[rows], training.groups[rows])
            yield InnerFold(rows, made.probabilities[None])

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Predict the rows of `test`."""
        return self.fit(training, test, test_groups)


def majority() -> Fixed:
    """Return the null predictor: class frequencies of the training part for every row, whatever the probe."""

    def fit(training: Training, test: Features, test_groups: Ints) -> Prediction:
        from cytobench.probes.null import majority_probabilities

        return Prediction(majority_probabilities(training.labels, len(test), training.n_classes))

    return Fixed({"null": "majority"}, fit)


def prototypes() -> Fixed:
    """Return the nearest class mean (SimpleShot)."""

    def fit(training: Training, test: Features, test_groups: Ints) -> Prediction:
        from cytobench.probes.prototype import prototype_probabilities

        table, n_classes = table_of(training.features), training.n_classes
        return Prediction(
            prototype_probabilities(table, training.labels, table_of(test), n_classes=n_classes)
        )

    return Fixed({"prototype": "centred, unit length, Euclidean"}, fit)
