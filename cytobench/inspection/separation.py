"""How far classes stand apart in a feature space, and how well batches are mixed: figures, not looks.

All figures are of the whole feature space, of rows centred and scaled to unit length as the kNN probe sees
them (`cytobench.probes.neighbours.directions`), never of a picture of it. A *batch* is whatever must not
matter: a slide, a site, a stain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cytobench.probes.neighbours import Neighbours, nearest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.float32]

NEIGHBOURS = 20
"""Neighbours looked at, as many as the kNN probe asks by default; fewer in a class of few cells."""
PERPLEXITY = 30.0
"""Effective size of the neighbourhoods of iLISI, as its authors set it."""
_SMALLEST_CLASS = 4
_SHUFFLES = 10
_STEPS, _TOLERANCE = 60, 1e-6


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed within classes; every mean is over `cells`, those of classes in several batches.

    `same`: mean share of the own batch among the nearest cells of the own class; `expected`: that share if
    batches were dealt out at random within each class; `attainable`: the share if every cell had as many
    neighbours of its own batch as there are; `score` = (attainable - same) / (attainable - expected): 1 mixed
    as by chance, 0 batches wholly apart. `ilisi` and `ilisi_random`: effective number of batches around a
    cell, and its mean when batches are shuffled within classes.
    """

    same: float
    expected: float
    attainable: float
    score: float
    ilisi: float
    ilisi_random: float
    cells: int
    neighbours: int


def silhouettes(unit: Table, codes: Ints) -> Floats | None:
    """Return each row's silhouette under cosine distance, float64 [n], or None with fewer than two clusters.

    s = (b - a) / max(a, b), with a the mean distance to the rest of the own cluster and b the smallest mean
    distance to another one (Rousseeuw 1987, J. Comput. Appl. Math. 20:53); a row alone in its cluster has 0.
    The mean of 1 - x.y over a cluster needs only the cluster's sum, so no n x n table is ever made.

    Args:
        unit: rows of unit length (or zero), float32 [n, d].
        codes: cluster of each row, int64 [n].
    """
    clusters, member = np.unique(codes, return_inverse=True)
    if len(clusters) < 2:
        return None
    rows = unit.astype(np.float64)
    sizes = np.bincount(member)
    sums = np.zeros((len(clusters), rows.shape[1]))
    np.add.at(sums, member, rows)
    totals = sizes - rows @ sums.T
    everyone = np.arange(len(rows))
    own = totals[everyone, member] - (1.0 - np.einsum("ij,ij->i", rows, rows))
    a = own / np.maximum(sizes[member] - 1, 1)
    means = totals / sizes
    means[everyone, member] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    spread = np.where(larger > 1e-12, (b - a) / np.where(larger > 1e-12, larger, 1.0), 0.0)
    return np.where(sizes[member] > 1, spread, 0.0)


def mixing(
    unit: Table, classes: Ints, batches: Ints, *, neighbours: int = NEIGHBOURS, seed: int = 0
) -> Mixing | None:
    """Return how batches are mixed among the nearest neighbours within each class.

    Looking within classes keeps a confounded class, one that a single batch holds, from being blamed on the
    backbone: it is left out. A class of n cells is looked at with at most (n - 1) / 2 neighbours. None where
    no class of four or more cells lies in several batches with two cells or more in one of them.

    iLISI follows Korsunsky et al. 2019 (Nat. Methods 16:1289): 1 / sum over batches of p^2, with p the
    batches' shares of Gaussian-like weights exp(-beta d) over the nearest 3 x perplexity cells, d their
    Euclidean distance and beta such that the weights' entropy is the logarithm of the perplexity.

    Args:
        unit: rows of unit length, float32 [n, d].
        classes: class of each row, int64 [n].
        batches: batch of each row, int64 [n].
        neighbours: k, how many of the nearest are looked at.
        seed: of the shuffles behind `ilisi_random`.
    """
    random = np.random.default_rng(seed)
    parts = []
    for one in np.unique(classes):
        rows = np.flatnonzero(classes == one)
        part = _mixing_of_class(unit[rows], batches[rows], neighbours, random)
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    shares = np.concatenate([part[0] for part in parts], axis=1)
    same, expected, attainable = (float(row.mean()) for row in shares)
    ilisi, ilisi_random = (float(row.mean()) for row in np.concatenate([part[1] for part in parts], axis=1))
    return Mixing(
        same=same,
        expected=expected,
        attainable=attainable,
        score=(attainable - same) / (attainable - expected),
        ilisi=ilisi,
        ilisi_random=ilisi_random,
        cells=shares.shape[1],
        neighbours=neighbours,
    )


def _mixing_of_class(
    unit: Table, batches: Ints, neighbours: int, random: np.random.Generator
) -> tuple[Floats, Floats] | None:
    """Return [3, m] shares (same, expected, attainable) and [2, n] iLISI (seen, shuffled) of one class."""
    n = len(unit)
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    others = sizes[codes] - 1
    telling = others > 0
    if n < _SMALLEST_CLASS or len(sizes) < 2 or not telling.any():
        return None
    k = max(1, min(neighbours, (n - 1) // 2))
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    around = int(3 * perplexity)
    itself = np.arange(n, dtype=np.int64)
    found = nearest(unit, unit, max(k, around), cuts=(k, around), train_groups=itself, test_groups=itself)
    alike = codes[found.index[:, :k]] == codes[:, None]
    shares = np.stack([alike.mean(axis=1), others / (n - 1), np.minimum(others, k) / k])[:, telling]
    weights = neighbour_weights(_distances(found, around), perplexity)
    index = found.index[:, :around]
    shuffled = [_effective(weights, random.permutation(codes)[index], len(sizes)) for _ in range(_SHUFFLES)]
    lisi = np.stack([_effective(weights, codes[index], len(sizes)), np.mean(shuffled, axis=0)])
    return shares, lisi


def _distances(found: Neighbours, around: int) -> Floats:
    """Return Euclidean distances of unit vectors from their cosine, float64 [n, around]."""
    cosine = found.similarity[:, :around].astype(np.float64)
    return np.asarray(np.sqrt(np.clip(2.0 - 2.0 * cosine, 0.0, None)))


def neighbour_weights(distances: Floats, perplexity: float) -> Floats:
    """Return weights exp(-beta d), rows summing to 1, whose entropy is log(perplexity): float64 [n, m].

    beta is found for every row by bisection; where neighbours are all equally far they weigh the same.
    """
    nearer = distances - distances.min(axis=1, keepdims=True)
    low, high = np.zeros(len(nearer)), np.full(len(nearer), np.inf)
    beta = np.ones(len(nearer))
    for _ in range(_STEPS):
        weights = np.exp(-nearer * beta[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.where(weights > 0, weights, 1.0))).sum(axis=1)
        excess = entropy - np.log(perplexity)
        if (np.abs(excess) < _TOLERANCE).all():
            break
        low, high = np.where(excess > 0, beta, low), np.where(excess > 0, high, beta)
        middle = (low + np.where(np.isinf(high), low, high)) / 2
        beta = np.where(np.isinf(high), np.minimum(beta * 2, 1e12), middle)
    return np.asarray(weights)


def _effective(weights: Floats, codes: Ints, n_batches: int) -> Floats:
    """Return the effective number of batches among weighted neighbours, float64 [n]."""
    n = len(weights)
    place = codes + np.arange(n)[:, None] * n_batches
    shares = np.bincount(place.ravel(), weights.ravel(), minlength=n * n_batches).reshape(n, n_batches)
    return np.asarray(1.0 / (shares**2).sum(axis=1))


_STRUCTURE = ((0.0, "interleaved"), (0.25, "hardly apart"), (0.5, "weakly apart"), (0.7, "clearly apart"))


def silhouette_reading(value: float | None) -> str:
    """Return a mean silhouette in words (limits: Kaufman & Rousseeuw 1990, Finding Groups in Data, ch. 2)."""
    if value is None:
        return "one group only"
    return next((words for limit, words in _STRUCTURE if value < limit), "far apart")


_MIXED = ((0.1, "apart"), (0.5, "mostly among their own"), (0.9, "partly mixed"))


def mixing_reading(found: Mixing | None) -> str:
    """Return a mixing score in words."""
    if found is None:
        return "no class lies in several batches"
    return next((words for limit, words in _MIXED if found.score < limit), "mixed or nearly so")
