"""Two coordinates for every row of a feature table, for looking at: PCA, UMAP or t-SNE with a fixed seed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError, UsageError

Method = Literal["pca", "umap", "tsne"]
Table = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

TITLES: dict[str, str] = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
FEWEST = 4
"""Rows below which there is nothing to lay out."""
_COMPONENTS = 50
_FLAT = 1e-12
_SPECTRAL_FROM = 50


@dataclass(frozen=True)
class Projection:
    """Coordinates float64 [n, 2], what the axes are called, and how they came about, in a sentence."""

    points: Points
    axes: tuple[str, str]
    made: str


def project(unit: Table, method: Method, *, seed: int = 0) -> Projection:
    """Lay rows out in the plane; the same rows, method and seed give the same coordinates.

    PCA has its signs fixed (the largest loading of an axis is positive). UMAP (McInnes et al. 2018) and
    t-SNE (van der Maaten & Hinton 2008) start from the first 50 principal components and use one thread,
    without which a seed settles nothing.

    Args:
        unit: rows centred and scaled to unit length, float32 [n, d].
        method: "pca", "umap" or "tsne".
        seed: of UMAP and t-SNE; PCA draws nothing.

    Raises:
        DataError: fewer than four rows, or all of them alike.
        UsageError: UMAP is not installed.
    """
    if len(unit) < FEWEST:
        raise DataError(f"{len(unit)} points are too few for a map; it takes {FEWEST} at least.")
    if float(np.ptp(unit, axis=0).max(initial=0.0)) < _FLAT:
        raise DataError("All features are the same for every point, so there is nothing to map.")
    if method == "pca":
        points, shares = principal_components(unit, 2)
        return Projection(points, (_axis(1, shares), _axis(2, shares)), "PCA")
    start, _ = principal_components(unit, max(2, min(_COMPONENTS, *unit.shape)))
    made = _umap(start, seed) if method == "umap" else _tsne(start, seed)
    if not np.isfinite(made.points).all():
        raise DataError(f"{TITLES[method]} gave coordinates that are no numbers; choose another method.")
    return made


def principal_components(unit: Table, count: int) -> tuple[Points, Points]:
    """Return the first principal components, float64 [n, count], and their shares of the variance [count].

    Components beyond the rank of the table are zero.
    """
    from sklearn.decomposition import PCA

    rows = unit.astype(np.float64)
    kept = min(count, *rows.shape)
    solver = "covariance_eigh" if rows.shape[1] <= len(rows) else "full"
    fitted = PCA(kept, svd_solver=solver).fit(rows)
    axes = fitted.components_
    signs = np.sign(axes[np.arange(kept), np.abs(axes).argmax(axis=1)])
    points, shares = np.zeros((len(rows), count)), np.zeros(count)
    points[:, :kept] = (rows - fitted.mean_) @ (axes * np.where(signs == 0, 1.0, signs)[:, None]).T
    shares[:kept] = fitted.explained_variance_ratio_
    return points, shares


def require(method: Method) -> None:
    """Raise UsageError when a method's library is not installed: before features are computed."""
    if method == "umap":
        from importlib.util import find_spec

        if find_spec("umap") is None:
            raise UsageError(
                "UMAP is not installed here: add it with `pip install umap-learn` (the extra 'umap'), or "
                "choose another method (pca, tsne)."
            )


def _axis(number: int, shares: Points) -> str:
    return f"PC {number} ({100 * shares[number - 1]:.0f} %)"


def _umap(start: Points, seed: int) -> Projection:
    require("umap")
    around = min(15, len(start) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads and small sets: both are dealt with here
        import umap

        reducer: Any = umap.UMAP(
            n_neighbors=around,
            init="spectral" if len(start) >= _SPECTRAL_FROM else "random",
            random_state=seed,
            n_jobs=1,
        )
        points = np.asarray(reducer.fit_transform(start), np.float64)
    said = f"UMAP ({around} neighbours, minimal distance 0.1, seed {seed})"
    return Projection(points, ("UMAP 1", "UMAP 2"), said)


def _tsne(start: Points, seed: int) -> Projection:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    perplexity = min(30.0, (len(start) - 1) / 3)
    with threadpool_limits(1):
        layout: Any = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        points = np.asarray(layout.fit_transform(start), np.float64)
    return Projection(points, ("t-SNE 1", "t-SNE 2"), f"t-SNE (perplexity {perplexity:g}, seed {seed})")
