"""From a table of features to a map and its figures, for one backbone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.inspection.points import Points
from cytobench.inspection.projection import TITLES, Method, Projection, project
from cytobench.inspection.separation import (
    NEIGHBOURS,
    Mixing,
    mixing,
    mixing_reading,
    silhouette_reading,
    silhouettes,
)
from cytobench.probes.inputs import check_features
from cytobench.probes.neighbours import directions

WARNING = (
    "Looks are not evidence. A map keeps little of the space: sizes of clusters and gaps between them mean "
    "nothing in UMAP and t-SNE, and PCA hides all but two directions. The figures are of the whole feature "
    "space (cosine of centred features, as the kNN probe sees them); they describe these points and are no "
    "test. Whether one backbone is better than another, `cytobench compare` tells."
)


@dataclass(frozen=True)
class Map:
    """One backbone's map of the points, and the figures of its whole feature space.

    `by_class`: mean silhouette of the points by class, None with a single class; `of_class`: that mean for
    each class; `by_batch`: by confounder, None where there is none; `mixed`: batches within classes.
    """

    backbone: str
    method: Method
    seed: int
    dim: int
    projection: Projection
    by_class: float | None
    of_class: dict[str, float]
    by_batch: float | None
    mixed: Mixing | None


def map_of(
    backbone: str,
    features: npt.NDArray[np.float32],
    points: Points,
    *,
    method: Method = "pca",
    seed: int = 0,
    neighbours: int = NEIGHBOURS,
) -> Map:
    """Lay the points out by their features, float32 [n, d], and measure how they lie.

    Raises DataError where there is nothing to lay out: too few points, equal or non-finite features.
    """
    checked = check_features(features, len(points), f"{backbone} map")
    unit = directions(checked, checked)[0]
    projection = project(unit, method, seed=seed)
    classes, batches = points.class_codes, points.batch_codes
    widths = silhouettes(unit, classes)
    given = np.flatnonzero(batches >= 0)
    apart = silhouettes(unit[given], batches[given])
    return Map(
        backbone=backbone,
        method=method,
        seed=seed,
        dim=checked.shape[1],
        projection=projection,
        by_class=None if widths is None else float(widths.mean()),
        of_class={}
        if widths is None
        else {points.classes[code]: float(widths[classes == code].mean()) for code in np.unique(classes)},
        by_batch=None if apart is None else float(apart.mean()),
        mixed=mixing(unit[given], classes[given], batches[given], neighbours=neighbours, seed=seed)
        if len(given)
        else None,
    )


def class_lines(one: Map) -> list[str]:
    """Return what stands below the panel coloured by class."""
    return [f"silhouette by class {_signed(one.by_class)}: {silhouette_reading(one.by_class)}"]


def batch_lines(one: Map, confounder: str) -> list[str]:
    """Return what stands below the panel coloured by confounder."""
    lines = [f"silhouette by {confounder} {_signed(one.by_batch)}: {silhouette_reading(one.by_batch)}"]
    found = one.mixed
    if found is None:
        return [*lines, f"mixing within classes: {mixing_reading(found)}"]
    share = f"{100 * found.same:.0f} % (by chance {100 * found.expected:.0f} %)"
    return [
        *lines,
        f"same {confounder} among the {found.neighbours} nearest of the same class: {share}",
        f"mixing {found.score:.2f} (0 apart, 1 as by chance): {mixing_reading(found)}",
        f"effective number around a point (iLISI) {found.ilisi:.1f}, if shuffled {found.ilisi_random:.1f}",
    ]


def as_record(one: Map, task: str, points: Points) -> dict[str, Any]:
    """Return a map's figures as JSON primitives."""
    return {
        "task": task,
        "backbone": one.backbone,
        "method": one.method,
        "made": one.projection.made,
        "axes": list(one.projection.axes),
        "seed": one.seed,
        "dim": one.dim,
        "unit": points.unit,
        "points": len(points),
        "of": points.of,
        "confounder": points.confounder or None,
        "silhouette_by_class": one.by_class,
        "silhouette_of_class": one.of_class,
        "silhouette_by_confounder": one.by_batch,
        "mixing": None if one.mixed is None else asdict(one.mixed),
        "readings": {
            "silhouette_by_class": silhouette_reading(one.by_class),
            "silhouette_by_confounder": silhouette_reading(one.by_batch) if points.confounder else None,
            "mixing": mixing_reading(one.mixed) if points.confounder else None,
        },
    }


def heads(points: Points) -> list[str]:
    """Return the names of the columns that `values` fills."""
    batch = points.confounder
    found = ["dimensions", "silhouette by class"]
    if batch:
        found += [
            f"silhouette by {batch}",
            f"same {batch} nearby",
            "by chance",
            "mixing",
            "",
            "iLISI",
            "shuffled",
        ]
    return found


def values(one: Map, points: Points) -> list[str]:
    """Return a map's figures as text, under `heads`."""
    found = [str(one.dim), f"{_signed(one.by_class)} {silhouette_reading(one.by_class)}"]
    if not points.confounder:
        return found
    found.append(_signed(one.by_batch))
    if one.mixed is None:
        return [*found, "-", "-", "-", mixing_reading(None), "-", "-"]
    share = [f"{100 * part:.0f} %" for part in (one.mixed.same, one.mixed.expected)]
    ilisi = [f"{one.mixed.ilisi:.1f}", f"{one.mixed.ilisi_random:.1f}"]
    return [*found, *share, f"{one.mixed.score:.2f}", mixing_reading(one.mixed), *ilisi]


def coordinates(maps: list[Map], points: Points) -> pl.DataFrame:
    """Return all maps as one table: backbone, sample, label, group, confounder, x, y."""
    parts = [
        points.table.with_columns(
            pl.lit(one.backbone).alias("backbone"),
            pl.Series("x", one.projection.points[:, 0]),
            pl.Series("y", one.projection.points[:, 1]),
        )
        for one in maps
    ]
    return pl.concat(parts).select("backbone", "sample", "label", "group", "confounder", "x", "y")


def said(maps: list[Map], points: Points) -> str:
    """Return in a sentence what was drawn and how."""
    unit = {"cell": "cells", "bag": "bags, each the mean of its instances", "instance": "instances"}
    thinned = f"{points.of:,} thinned to " if len(points) < points.of else ""
    how = f" (drawn class by class, seed {maps[0].seed})" if thinned else ""
    return f"{thinned}{len(points):,} {unit[points.unit]}{how}; {maps[0].projection.made}."


def title(task: str, maps: list[Map]) -> str:
    """Return the heading of a map."""
    return f"{task}: {TITLES[maps[0].method]} of {', '.join(one.backbone for one in maps)}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
