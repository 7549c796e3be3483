"""How sure the scores of a run are: its predictions, its groups, and the intervals that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from cytobench.evaluation.metrics import Predictions
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


def interval_results(scored: Scored, metrics: Mapping[str, float]) -> dict[str, IntervalResult]:
    """Return the interval of every metric of a run that has one."""
    names = [name for name in (*MEASURED, *scored.scores) if name in metrics]
    found = intervals(names, scored)
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
