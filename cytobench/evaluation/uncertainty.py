"""How sure the scores of a run are: its predictions, its groups, and the intervals that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from cytobench.evaluation.hierarchy import (
    DISTANCE,
    LEVEL_METRICS,
    Hierarchy,
    at_level,
    distances_of,
    wider_arrays,
)
from cytobench.evaluation.metrics import Floats, Ints, Predictions
from cytobench.evaluation.results import IntervalResult, number_or_none, predictions_of
from cytobench.statistics.intervals import intervals
from cytobench.statistics.weighted import CALIBRATION_METRICS, LABEL_METRICS, RANKING_METRICS, Scored

MEASURED = (*LABEL_METRICS, *CALIBRATION_METRICS, *RANKING_METRICS)
"""The metrics of every run that have intervals; those of single examples' scores have them too."""


def scored_of(table: pl.DataFrame, *, pooled_ranking: bool) -> Scored:
    """Return a stored table of predictions as arrays with group codes; raises StoreError if damaged."""
    return with_groups(predictions_of(table, pooled_ranking=pooled_ranking), table["group"].to_list())


def with_groups(predictions: Predictions, groups: list[str]) -> Scored:
    """Return predictions with the codes of their groups."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    return Scored(
        predictions.labels,
        predictions.probabilities,
        predictions.fold.astype(np.int64),
        codes.astype(np.int64),
        len(names),
        predictions.pooled_ranking,
        predictions.scores,
    )


def interval_results(
    scored: Scored, metrics: Mapping[str, float], tree: Hierarchy | None = None
) -> dict[str, IntervalResult]:
    """Return the interval of every metric of a run that has one; `tree`: of its classes, if they form one."""
    names = [name for name in (*MEASURED, *scored.scores) if name in metrics]
    found = intervals(names, scored)
    if tree is not None:
        found |= {
            name: intervals([plain], seen)[plain]
            for name, (plain, seen) in tree_views(scored, tree).items()
            if name in metrics
        }
    return {
        name: IntervalResult(
            low=number_or_none(one.low),
            high=number_or_none(one.high),
            se=number_or_none(one.se),
            method=one.method,
            groups=scored.n_groups,
        )
        for name, one in found.items()
    }


def tree_views(scored: Scored, tree: Hierarchy) -> dict[str, tuple[str, Scored]]:
    """Return every metric of a tree of classes as a plain metric of the same rows seen otherwise, by name.

    At a wider level these are the rows with that level's labels and summed probabilities; the distance is a
    score of single rows that all count alike, as if they were of one class.
    """
    found: dict[str, tuple[str, Scored]] = {}
    for level in tree.wider_levels:
        seen = _relabelled(scored, *wider_arrays(scored.labels, scored.probabilities, tree, level))
        found |= {at_level(name, level): (name, seen) for name in LEVEL_METRICS}
    alike = _relabelled(scored, np.zeros_like(scored.labels), np.ones((len(scored.labels), 1)))
    rows = distances_of(scored.labels, scored.probabilities, tree)
    return found | {DISTANCE: (DISTANCE, replace(alike, scores={DISTANCE: rows}))}


def _relabelled(scored: Scored, labels: Ints, probabilities: Floats) -> Scored:
    return replace(scored, labels=labels, probabilities=probabilities, scores={})
