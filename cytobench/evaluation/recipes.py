"""How each probe is fitted by default, what it is tuned over, and how it predicts: the shapes of a recipe.

A recipe sits between the protocol (folds, groups, budgets) and the array functions in `probes`. It is only
ever handed training examples, and the features of the examples to predict: never their labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from cytobench.cards import UNIT_OF_PROBE
from cytobench.evaluation.examples import Ints
from cytobench.probes.bags import Bags

Floats = npt.NDArray[np.float64]
Table = npt.NDArray[np.float32]
Features = Table | Bags
"""What a probe sees of examples: one row each, or one bag each."""
Params = dict[str, int | float | str | bool]
InnerFolds = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Training:
    """The training part of one outer fold: all that fitting and tuning may see.

    `features`: float32 [n, d], or n bags; `labels`: int64 [n]; `groups`: int64 [n]; `key`: strings and
    integers that name every random draw made from it (task, seed, outer fold).
    """

    features: Features
    labels: Ints
    groups: Ints
    n_classes: int
    key: tuple[Any, ...] = ()

    def take(self, rows: Ints) -> Training:
        """Return some of the examples."""
        return Training(self.features[rows], self.labels[rows], self.groups[rows], self.n_classes, self.key)


@dataclass(frozen=True)
class Prediction:
    """Probabilities float64 [m, K] and what is worth knowing about the fit that gave them.

    `attention`: for models of bags, the weight of every instance of the m bags, float32 [instances];
    `scores`: by name what each example scores should it be of each class, float64 [m, K]: the recipe does not
    know which.
    """

    probabilities: Floats
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    attention: Table | None = None
    scores: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class InnerFold:
    """Validation rows of one inner fold and every candidate's probabilities there, float64 [c, m, K]."""

    rows: Ints
    probabilities: Floats


class GridRecipe(Protocol):
    """A probe whose candidates form a fixed grid."""

    @property
    def searched(self) -> Literal[False]:
        """Nothing is searched: all candidates are tried."""

    def default(self, training: Training) -> Params:
        """Return the untuned parameters."""

    def default_rule(self) -> dict[str, Any]:
        """Return the rule behind `default` as JSON primitives: part of an untuned run's identity."""

    def space(self) -> dict[str, Any]:
        """Return the search space as JSON primitives: part of a tuned run's identity."""

    def candidates(self) -> list[Params]:
        """Return the grid; of two candidates that score the same the earlier one is taken."""

    def inner(self, training: Training, folds: InnerFolds) -> Iterator[InnerFold]:
        """Fit every candidate on each inner fold's training rows and predict its validation rows."""

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Fit on all of `training` and predict the rows of `test`."""


@dataclass(frozen=True)
class Range:
    """The numbers a searched parameter may take, drawn evenly or (`log`) evenly in their logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Tried:
    """How one setting did on the inner folds.

    `inner_values`: the metric on each inner fold at its best epoch; `loss`: the mean validation loss there;
    `epochs`: the median best epoch; `reports`: mean best loss so far after some numbers of epochs;
    `pruned`: given up after the last of these; `last_class`: float64 [n], the probability of the last class
    of every training example while it was held out.
    """

    inner_values: tuple[float, ...]
    loss: float
    epochs: int
    reports: Mapping[int, float]
    pruned: bool
    last_class: Floats


class SearchedRecipe(Protocol):
    """A probe whose parameters are searched under a budget of trials."""

    @property
    def device(self) -> str:
        """Where it is fitted."""

    @property
    def searched(self) -> Literal[True]:
        """Settings are drawn by a search."""

    def default(self, training: Training, folds: InnerFolds | None) -> Params:
        """Return the untuned parameters, with the number of epochs that inner folds ask for."""

    def default_rule(self) -> dict[str, Any]:
        """Return the rule behind `default` as JSON primitives: part of an untuned run's identity."""

    def start(self) -> Params:
        """Return the setting that the search tries first."""

    def ranges(self) -> Mapping[str, Range]:
        """Return the search space."""

    def space(self) -> dict[str, Any]:
        """Return the search space as JSON primitives: part of a tuned run's identity."""

    def try_out(
        self,
        training: Training,
        folds: InnerFolds,
        settings: Sequence[Params],
        metric: str,
        limits: Mapping[int, float],
    ) -> list[Tried]:
        """Fit settings on the inner folds; give up those whose loss exceeds `limits` after so many epochs."""

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Fit on all of `training` and predict the examples of `test`."""


Recipe = GridRecipe | SearchedRecipe

SEARCHED_PROBES = ("abmil", "dsmil")
"""Those whose parameters are searched under a budget of trials; the others have fixed grids."""
UNTUNED_PROBES = ("retrieval",)
"""Those that are only run untuned: there is nothing to choose."""
OWN_METRIC: Mapping[str, str] = MappingProxyType({"retrieval": "map_at_10"})
"""The primary metric of probes that are not scored by the task's."""


def primary_metric(probe: str, of_task: str) -> str:
    """Return the name of a run's primary metric: the probe's own, or else the task's."""
    return OWN_METRIC.get(probe, of_task)


def recipe_of(
    probe: str, *, null: bool, standardise: bool, exclude_own_group: bool, device: str = "cpu"
) -> Recipe:
    """Return the recipe of a probe named in `UNIT_OF_PROBE`; with `null` the majority predictor instead.

    `standardise`: the backbone's untuned default for linear probes; `exclude_own_group`: neighbours of a
    row's own group do not vote; `device`: where models of bags are fitted.
    """
    from cytobench.evaluation.grids import Knn, Linear, majority, prototypes

    if probe == "retrieval":
        from cytobench.evaluation.retrieval import random_order, retrieval

        return random_order() if null else retrieval(exclude_own_group=exclude_own_group)
    if null:
        return majority()
    if probe == "knn":
        return Knn(exclude_own_group=exclude_own_group)
    if probe == "prototype":
        return prototypes()
    if probe in SEARCHED_PROBES:
        from cytobench.evaluation.mil import Mil

        return Mil(probe, wanted=device)
    pooling = {"mean-linear": "mean", "max-linear": "max"}.get(probe, "none")
    return Linear(standardise=standardise, pooling=pooling)  # type: ignore[arg-type]


def why_not(probe: str, unit: str, scores: str | None = None) -> str | None:
    """Return why `probe` cannot be run on a task of this unit, or None when it can.

    `scores`: what a plugin's probe scores; None for the probes named in `UNIT_OF_PROBE`.
    """
    fitting = " or ".join(name for name, of in UNIT_OF_PROBE.items() if of == unit)
    scored = scores or UNIT_OF_PROBE.get(probe)
    if scored is None:
        return f"This version has no probe '{probe}'; for a task whose unit is the {unit} it has {fitting}."
    if scored != unit:
        return f"The probe '{probe}' scores {scored}s and this task's unit is the {unit}; use {fitting}."
    return None
