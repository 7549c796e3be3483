"""Predictions of patients whose truth is known: intervals must cover it, tests must keep their level.

A patient has a difficulty of its own, shared by all its cells and, in part, by two backbones that look at
them. The truth is the score over a very large number of patients. Run it for the table in README.md:

    python benchmarks/simulation.py --replicates 2000

The same functions, with fewer replicates, are tests: tests/statistics/test_truth.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cytobench.statistics.intervals import interval
from cytobench.statistics.paired import compare
from cytobench.statistics.ranks import contest, critical_value, rank_intervals
from cytobench.statistics.weighted import Scored, resamplings, weighted_metric


@dataclass(frozen=True)
class Population:
    """How patients, cells and predictions are drawn.

    cells: mean number of cells of a patient (it varies two-fold); spread: standard deviation between patients
    of the logit that a cell is right; shared: part of it that two backbones have in common; skill: mean logit
    of each backbone; whole: all cells of a patient have its label, as in patient-level diagnoses; bias: the
    logit by which the second backbone leans to class 1 and the first to class 0, at the same balanced
    accuracy.
    """

    cells: int = 15
    spread: float = 1.0
    shared: float = 0.5
    skill: tuple[float, float] = (1.0, 1.0)
    whole: bool = False
    bias: float = 0.0


def draw(population: Population, n_groups: int, rng: np.random.Generator) -> tuple[Scored, Scored]:
    """Return two backbones' predictions of the same cells of `n_groups` patients."""
    sizes = rng.integers(max(1, population.cells // 2), 2 * population.cells, n_groups)
    group = np.repeat(np.arange(n_groups), sizes)
    labels = rng.integers(0, 2, n_groups)[group] if population.whole else rng.integers(0, 2, len(group))
    common = rng.standard_normal(n_groups)
    both = []
    for skill, lean in zip(population.skill, (-population.bias, population.bias), strict=True):
        own = rng.standard_normal(n_groups)
        mixed = np.sqrt(population.shared) * common + np.sqrt(1.0 - population.shared) * own
        margin = skill + population.spread * mixed[group] + rng.logistic(size=len(group))
        margin += np.where(labels == 1, lean, -lean)
        chance = 1.0 / (1.0 + np.exp(-np.where(labels == 1, margin, -margin)))
        both.append(np.stack([1.0 - chance, chance], axis=1))
    fold = group % 5
    return tuple(Scored(labels, one, fold, group, n_groups, pooled_ranking=True) for one in both)  # type: ignore[return-value]


def truth(name: str, population: Population, *, seed: int = 12345) -> float:
    """Return the score over very many patients."""
    one, _ = draw(population, 40_000, np.random.default_rng(seed))
    return float(weighted_metric(name, one, np.ones((1, one.n_groups)))[0])


def plain_bootstrap(name: str, one: Scored, seed: int) -> tuple[float, float]:
    """Return the percentile interval of the cluster bootstrap, as other tools have it."""
    drawn = weighted_metric(name, one, resamplings(one.n_groups, 1_000, np.random.default_rng(seed)))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def cell_bootstrap(name: str, one: Scored, seed: int) -> tuple[float, float]:
    """Return the percentile interval when cells are resampled as if they were patients."""
    alone = Scored(
        one.labels,
        one.probabilities,
        one.fold,
        np.arange(len(one.labels)),
        len(one.labels),
        one.pooled_ranking,
    )
    return plain_bootstrap(name, alone, seed)


def ours(name: str, one: Scored, seed: int) -> tuple[float, float]:
    """Return CytoBench's interval."""
    found = interval(name, one, seed=seed)
    return found.low, found.high


METHODS: dict[str, Callable[[str, Scored, int], tuple[float, float]]] = {
    "CytoBench": ours,
    "cluster bootstrap, percentiles": plain_bootstrap,
    "cell bootstrap, percentiles": cell_bootstrap,
}


def coverage(
    name: str,
    population: Population,
    n_groups: int,
    replicates: int,
    methods: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Return how often the interval of each method holds the truth."""
    true = truth(name, population)
    hits = dict.fromkeys(methods, 0)
    for replicate in range(replicates):
        one, _ = draw(population, n_groups, np.random.default_rng((seed, replicate, n_groups)))
        for method in methods:
            low, high = METHODS[method](name, one, replicate)
            hits[method] += low <= true <= high
    return {method: count / replicates for method, count in hits.items()}


def false_alarms(
    name: str, population: Population, n_groups: int, replicates: int, *, seed: int = 0
) -> float:
    """Return how often the paired test finds a difference at 5 % between backbones of equal skill."""
    found = 0
    for replicate in range(replicates):
        a, b = draw(population, n_groups, np.random.default_rng((seed, replicate, n_groups)))
        found += compare(name, a, b, resamples=50, seed=replicate).p < 0.05
    return found / replicates


def wrong_ranks(p: int, n_groups: int, replicates: int, *, seed: int = 0) -> float:
    """Return how often some rank interval excludes a rank although all `p` backbones are equally good."""
    found = 0
    for replicate in range(replicates):
        rng = np.random.default_rng((seed, replicate, n_groups, p))
        runs = _many(p, n_groups, rng)
        one = contest("balanced_accuracy", runs, resamples=1_000, seed=replicate)
        if one is not None:
            found += rank_intervals(one, critical_value([one])).tolist() != [[1, p]] * p
    return found / replicates


def _many(p: int, n_groups: int, rng: np.random.Generator) -> list[Scored]:
    """Return `p` equally good backbones' predictions of the same cells."""
    sizes = rng.integers(7, 30, n_groups)
    group = np.repeat(np.arange(n_groups), sizes)
    labels = rng.integers(0, 2, len(group))
    common = rng.standard_normal(n_groups)
    made = []
    for _ in range(p):
        mixed = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.standard_normal(n_groups)
        margin = 1.0 + mixed[group] + rng.logistic(size=len(group))
        chance = 1.0 / (1.0 + np.exp(-np.where(labels == 1, margin, -margin)))
        made.append(Scored(labels, np.stack([1.0 - chance, chance], axis=1), group % 5, group, n_groups))
    return made


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--part", choices=["intervals", "tests", "ranks"], nargs="+")
    given = parser.parse_args()
    started = time.perf_counter()
    parts = given.part or ["intervals", "tests", "ranks"]
    if "intervals" in parts:
        _print_intervals(given.groups, given.replicates)
    if "tests" in parts:
        _print_tests(given.groups, given.replicates)
    if "ranks" in parts:
        _print_ranks(given.groups, given.replicates)
    print(f"\n{given.replicates} replicates, {time.perf_counter() - started:.0f} s")


def _print_intervals(groups: Sequence[int], replicates: int) -> None:
    mixed, whole = Population(), Population(whole=True)
    print("| metric | patients | " + " | ".join(METHODS) + " |")
    print("|---|---:|" + "---:|" * len(METHODS))
    for name, population, label in (
        ("balanced_accuracy", mixed, "balanced accuracy"),
        ("balanced_accuracy", whole, "balanced accuracy, one label a patient"),
        ("macro_f1", mixed, "macro F1"),
        ("auroc", mixed, "AUROC"),
    ):
        for count in groups:
            found = coverage(name, population, count, replicates, list(METHODS))
            cells = " | ".join(_percent(one) for one in found.values())
            print(f"| {label} | {count} | {cells} |", flush=True)


def _print_tests(groups: Sequence[int], replicates: int) -> None:
    print("\n| metric | patients | false alarms at 5 % |\n|---|---:|---:|")
    for name, population, label in (
        ("balanced_accuracy", Population(), "balanced accuracy"),
        (
            "balanced_accuracy",
            Population(whole=True, bias=0.8),
            "balanced accuracy, one label, opposite leanings",
        ),
        ("auroc", Population(), "AUROC"),
    ):
        for count in groups:
            share = false_alarms(name, population, count, replicates)
            print(f"| {label} | {count} | {_percent(share)} |", flush=True)


def _print_ranks(groups: Sequence[int], replicates: int) -> None:
    print("\n| equal backbones | patients | some rank wrongly excluded, promised 5 % |\n|---:|---:|---:|")
    for p in (2, 8, 14):
        for count in groups:
            print(f"| {p} | {count} | {_percent(wrong_ranks(p, count, replicates))} |", flush=True)


if __name__ == "__main__":
    main()
