"""Models of bags as a recipe: early stopping and search on inner folds, a refit on all training bags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cytobench.errors import ProtocolError
from cytobench.evaluation.cores import available, one_core, side_by_side
from cytobench.evaluation.examples import Ints
from cytobench.evaluation.folds import generator
from cytobench.evaluation.metrics import Predictions, score
from cytobench.evaluation.recipes import Features, InnerFolds, Params, Prediction, Range, Training, Tried
from cytobench.evaluation.studies import GENERATION
from cytobench.probes.bags import ATTENTION, HIDDEN, Bags

if TYPE_CHECKING:
    from cytobench.probes.stacked import Fitting, StackedFit

EPOCHS, PATIENCE, BAGS_PER_STEP = 60, 8, 4
"""Longest training, epochs without a better validation loss before it ends, bags behind one update."""
UNTUNED_EPOCHS = 20
"""Epochs where a training part has too few groups for inner folds."""
DEFAULT: Mapping[str, float] = MappingProxyType({"lr": 1e-3, "weight_decay": 1e-2, "instance_dropout": 0.25})
SEARCH: Mapping[str, Range] = MappingProxyType(
    {
        "lr": Range(1e-4, 1e-2, log=True),
        "weight_decay": Range(1e-4, 1.0, log=True),
        "instance_dropout": Range(0.0, 0.75),
    }
)
"""The search space of all models of bags."""
_ROWS_IN_MEMORY = 200_000
"""Instances times models of one step: about 0.5 GB with their gradients."""
RUNGS = (3, 6, 12)
"""Numbers of epochs after which hopeless trials are given up."""


@dataclass(frozen=True)
class Mil:
    """A model of bags by its name in `cytobench.probes.aggregators.AGGREGATORS`.

    `wanted`: the device to fit on: "cpu", "cuda", or "auto" for a GPU where there is one.
    """

    aggregator: str
    wanted: str = "cpu"
    searched: Literal[True] = True

    @property
    def device(self) -> str:
        """The device that fits."""
        if self.wanted == "cpu":
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def default_rule(self) -> dict[str, Any]:
        """Return the default setting and the rule that ends training."""
        return {**DEFAULT, **self._rule()}

    def start(self) -> Params:
        """Return the default setting."""
        return dict(DEFAULT)

    def ranges(self) -> Mapping[str, Range]:
        """Return what is searched."""
        return SEARCH

    def space(self) -> dict[str, Any]:
        """Return what is searched, and the rules that end trainings."""
        searched = {name: asdict(one) for name, one in SEARCH.items()}
        search = {"rungs": list(RUNGS), "first": dict(DEFAULT), "generation": GENERATION}
        return {**searched, **self._rule(), **search}

    def _rule(self) -> dict[str, Any]:
        ends = {"epochs": EPOCHS, "patience": PATIENCE, "untuned_epochs": UNTUNED_EPOCHS}
        return {**ends, "bags_per_step": BAGS_PER_STEP, "model": [HIDDEN, ATTENTION]}

    def default(self, training: Training, folds: InnerFolds | None) -> Params:
        """Return the default setting and the median best epoch of the inner folds under it."""
        if folds is None:
            return {**DEFAULT, "epochs": UNTUNED_EPOCHS}
        (tried,) = self.try_out(training, folds, [self.start()], "balanced_accuracy", {})
        return {**DEFAULT, "epochs": tried.epochs}

    def try_out(
        self,
        training: Training,
        folds: InnerFolds,
        settings: Sequence[Params],
        metric: str,
        limits: Mapping[int, float],
    ) -> list[Tried]:
        """Fit all settings on all inner folds and stop each where it stops learning.

        A setting whose mean best validation loss exceeds `limits` after so many epochs is given up. On a CPU
        each core takes its share of the settings, so that none waits for another; a single one has its inner
        folds side by side. Where bags are very large the settings are fitted a few at a time. What each
        learns is the same.
        """
        cores = available() if self.device == "cpu" else 1
        most = min(_models_at_once(_bags(training.features)), -(-len(settings) // cores))
        shares = [settings[first : first + most] for first in range(0, len(settings), most)]

        def fitted(share: Sequence[Params]) -> list[Tried]:
            workers = max(1, cores // len(shares))
            return self._stacked(training, folds, share, metric, limits, workers)

        return [tried for share in side_by_side(fitted, shares, cores) for tried in share]

    def _stacked(
        self,
        training: Training,
        folds: InnerFolds,
        settings: Sequence[Params],
        metric: str,
        limits: Mapping[int, float],
        workers: int,
    ) -> list[Tried]:
        numbers = [int(k) for k in np.unique(folds)]
        fits = [self._inner_fit(training, folds, k, settings) for k in numbers]
        reports: list[dict[int, float]] = [{} for _ in settings]
        pruned: set[int] = set()
        with _fitting_threads(self.device, min(workers, len(fits))) as each:
            for rung in (*RUNGS, EPOCHS):
                each(fits, lambda fit, until=rung: _train(fit, until))
                for model in range(len(settings)):
                    if rung == EPOCHS or model in pruned or not any(model in fit.active for fit in fits):
                        continue
                    reports[model][rung] = float(np.mean([fit.best[model].loss for fit in fits]))
                    if reports[model][rung] > limits.get(rung, np.inf):
                        pruned.add(model)
                for fit in fits:
                    fit.keep([model for model in fit.active if model not in pruned])
        return [
            _tried(training, folds, numbers, fits, model, metric, reports[model], pruned=model in pruned)
            for model in range(len(settings))
        ]

    def predict(self, training: Training, params: Params, test: Features, test_groups: Ints) -> Prediction:
        """Fit on all training bags for the given number of epochs; attention comes with the probabilities."""
        fit = self._fit(training, [params], seed=_seed(training, "refit"))
        with _fitting_threads(self.device, 1) as each:
            each([fit], lambda one: [one.epoch() for _ in range(int(params["epochs"]))])
            probabilities, attention = fit.models()[0].predict(_bags(test))
        return Prediction(probabilities, {}, attention)

    def _inner_fit(
        self, training: Training, folds: InnerFolds, k: int, settings: Sequence[Params]
    ) -> StackedFit:
        held = training.take(np.flatnonzero(folds == k))
        fitted = training.take(np.flatnonzero(folds != k))
        return self._fit(
            fitted, settings, seed=_seed(training, "inner", k), validation=(_bags(held.features), held.labels)
        )

    def _fit(
        self,
        training: Training,
        settings: Sequence[Params],
        *,
        seed: int,
        validation: tuple[Bags, Ints] | None = None,
    ) -> StackedFit:
        from cytobench.probes.aggregators import AGGREGATORS
        from cytobench.probes.stacked import StackedFit

        return StackedFit(
            _bags(training.features),
            training.labels,
            n_classes=training.n_classes,
            aggregator=AGGREGATORS[self.aggregator],
            fittings=[_fitting(one) for one in settings],
            seed=seed,
            validation=validation,
            bags_per_step=BAGS_PER_STEP,
            device=self.device,
        )


def _models_at_once(bags: Bags) -> int:
    """Return how many models of a step's largest bags fit into a few hundred MB of activations."""
    rows = int(np.sort(bags.sizes)[-BAGS_PER_STEP:].sum())
    return max(1, _ROWS_IN_MEMORY // max(1, rows))


def _train(fit: StackedFit, until: int) -> None:
    """Train to an epoch; models that have not improved for some epochs leave the stack."""
    while fit.active and fit.epochs < until:
        fit.epoch()
        fit.keep([model for model in fit.active if fit.epochs - fit.best[model].epoch < PATIENCE])


def _tried(
    training: Training,
    folds: InnerFolds,
    numbers: Sequence[int],
    fits: Sequence[StackedFit],
    model: int,
    metric: str,
    reports: Mapping[int, float],
    *,
    pruned: bool,
) -> Tried:
    values, last_class = [], np.full(len(folds), np.nan)
    for k, fit in zip(numbers, fits, strict=True):
        rows = np.flatnonzero(folds == k)
        probabilities = fit.best[model].probabilities
        if probabilities is None:
            values.append(float("nan"))
            continue
        last_class[rows] = probabilities[:, -1]
        predictions = Predictions(training.labels[rows], probabilities, np.zeros(len(rows), dtype=np.int64))
        values.append(score(metric, predictions))
    loss = float(np.mean([fit.best[model].loss for fit in fits]))
    epochs = max(1, round(float(np.median([fit.best[model].epoch for fit in fits]))))
    return Tried(tuple(values), loss, epochs, reports, pruned, last_class)


def _fitting(params: Params) -> Fitting:
    from cytobench.probes.stacked import Fitting

    return Fitting(
        lr=float(params["lr"]),
        weight_decay=float(params["weight_decay"]),
        instance_dropout=float(params["instance_dropout"]),
    )


def _seed(training: Training, *what: Any) -> int:
    return int(generator(*training.key, "bags", *what).integers(2**31))


def _bags(features: Features) -> Bags:
    if not isinstance(features, Bags):
        raise ProtocolError("Models of bags were given single rows: use a probe of cells, or a bag task.")
    return features


@contextmanager
def _fitting_threads(device: str, workers: int) -> Iterator[Callable[..., object]]:
    """Yield a function that applies another to fits: on a CPU by so many threads, at one core each.

    The many small products of these models gain nothing from several threads each.
    """

    def one(fit: StackedFit, work: Callable[[StackedFit], Any]) -> None:
        with one_core() if device == "cpu" else nullcontext():
            work(fit)

    with ThreadPoolExecutor(workers) as pool:
        yield lambda fits, work: list(pool.map(lambda fit: one(fit, work), fits))
