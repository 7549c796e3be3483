"""How few labelled cells a backbone needs: scores after training on 1, 2, 4 … cells of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from cytobench.errors import UsageError
from cytobench.evaluation.custom import Custom
from cytobench.evaluation.examples import Examples, Ints
from cytobench.evaluation.folds import Folds, generator
from cytobench.evaluation.metrics import Predictions, score
from cytobench.evaluation.recipes import Floats, Table, Training

PROBES = ("prototype", "knn", "linear")

Draws = Sequence[Ints]
"""Training rows of each seed, in one outer fold and with one number of shots."""
_Fits = Callable[[str, int, Draws, Ints], Sequence[Floats]]
"""Fold's name, number of shots, rows drawn and rows tested; returns float64 [seeds, m, K] of each probe."""


def few_shot_curves(
    features: Table,
    examples: Examples,
    folds: Folds,
    *,
    shots: Sequence[int],
    seeds: int,
    metric: str,
    key: tuple[Any, ...],
    standardise: bool = False,
    custom: Custom | None = None,
) -> pl.DataFrame:
    """Return the score of each probe after training on a few cells of each class.

    In every outer fold, for every seed, `shots` cells of each class are drawn from the training part: from as
    many different groups as there are, more of a group only when all have given one. The draw of 4 begins
    with the draw of 2. One prediction per tested cell and seed, scored together. Probes: prototypes
    (SimpleShot), nearest neighbours (k = the number of shots, at most 20) and logistic regression with
    C = M*K/100.

    Args:
        features: float32 [n, d] in the order of `examples`.
        examples: labels and groups.
        folds: who is trained and tested on.
        shots: numbers of cells of each class; a class with fewer gives all it has.
        seeds: number of draws.
        metric: what scores the predictions.
        key: names the draws (task and seed: the same for every backbone).
        standardise: whether logistic regression scales its features.
        custom: a plugin's probe, whose curve alone is made then: untuned, fitted on the same draws.

    Returns:
        probe, shots, seed, value.

    Raises:
        UsageError: a number of shots or of seeds below 1.
        ProbeError: the plugin's function fails on so few cells.
    """
    if not shots or min(shots) < 1 or seeds < 1:
        raise UsageError("Few-shot curves need numbers of shots and seeds of at least 1.")
    probes: Sequence[str] = PROBES if custom is None else (custom.name,)
    fits: _Fits = partial(_predict, features, examples, standardise)
    if custom is not None:
        fits = _custom(custom, features, examples, key)
    rows = np.flatnonzero(folds.fold >= 0)
    records = []
    for count in sorted(set(shots)):
        predicted = np.full((len(probes), seeds, len(examples), len(examples.classes)), np.nan)
        for k, name in enumerate(folds.names):
            train, test = folds.train(k), folds.test(k)
            chosen = [
                np.concatenate(_draw(examples, train, count, generator("shots", *key, name, seed)))
                for seed in range(seeds)
            ]
            for probe, made in enumerate(fits(name, count, chosen, test)):
                predicted[probe][:, test] = made
        records += [
            (probe, count, seed, _value(metric, examples, folds, rows, predicted[p, seed]))
            for p, probe in enumerate(probes)
            for seed in range(seeds)
        ]
    table = pl.DataFrame(records, schema=["probe", "shots", "seed", "value"], orient="row")
    order = {name: place for place, name in enumerate(probes)}
    return table.sort(pl.col("probe").replace_strict(order), "shots", "seed")


def _custom(recipe: Custom, features: Table, examples: Examples, key: tuple[Any, ...]) -> _Fits:
    """Return what fits a plugin's probe, untuned, on each draw."""

    def fits(fold: str, count: int, chosen: Draws, test: Ints) -> Sequence[Floats]:
        held, groups = features[test], examples.group_codes[test]
        made = []
        for seed, rows in enumerate(chosen):
            named = (*key, fold, "shots", count, seed)
            labels, codes = examples.labels[rows], examples.group_codes[rows]
            training = Training(features[rows], labels, codes, len(examples.classes), named)
            made.append(recipe.predict(training, recipe.default(training), held, groups).probabilities)
        return [np.stack(made)]

    return fits


def _draw(examples: Examples, train: Ints, most: int, rng: np.random.Generator) -> list[Ints]:
    """Return up to `most` training cells of each class in the order in which they are used."""
    drawn = []
    for code in range(len(examples.classes)):
        rows = rng.permutation(train[examples.labels[train] == code])
        groups = examples.group_codes[rows]
        # The n-th cell of every group comes before the (n + 1)-th of any.
        turn = np.zeros(len(rows), dtype=np.int64)
        for group in np.unique(groups):
            mine = groups == group
            turn[mine] = np.arange(mine.sum())
        drawn.append(rows[np.argsort(turn, kind="stable")][:most])
    return drawn


def _predict(
    features: Table,
    examples: Examples,
    standardise: bool,
    fold: str,
    count: int,
    chosen: Draws,
    test: Ints,
) -> tuple[Floats, Floats, Floats]:
    """Return the probabilities of each of PROBES for all seeds, float64 [seeds, m, K]."""
    from cytobench.probes.knn import knn_probabilities
    from cytobench.probes.linear import default_C, fit_path
    from cytobench.probes.prototype import prototype_probabilities

    n_classes, held = len(examples.classes), features[test]
    nearest, means = [], []
    for rows in chosen:
        seen, labels = features[rows], examples.labels[rows]
        means.append(prototype_probabilities(seen, labels, held, n_classes=n_classes))
        k = min(20, count)
        made = knn_probabilities(seen, labels, held, n_classes=n_classes, ks=[k], weighting=["uniform"])
        nearest.append(made[0, 0])
    used = np.unique(np.concatenate(chosen))
    path = fit_path(
        features[used],
        examples.labels[used],
        n_classes=n_classes,
        Cs=[default_C(features.shape[1], n_classes)],
        train_masks=np.stack([np.isin(used, rows) for rows in chosen]),
        standardise=standardise,
        tolerance=1e-5,
        loss_slack=1e-6,
    )
    linear = [path.probabilities(held, seed, 0) for seed in range(len(chosen))]
    return np.stack(means), np.stack(nearest), np.stack(linear)


def _value(metric: str, examples: Examples, folds: Folds, rows: Ints, probabilities: Floats) -> float:
    return score(
        metric,
        Predictions(examples.labels[rows], probabilities[rows], folds.fold[rows], folds.pooled_ranking),
    )
