"""The retrieval probe under the protocol: test cells ask, the training part of their fold answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytobench.evaluation.examples import Ints
from cytobench.evaluation.recipes import Features, Prediction, Training
from cytobench.evaluation.results import FOLD_METRICS
from cytobench.probes.retrieval import chance_by_class, names_of, ranked, scores_by_class, vote_shares

if TYPE_CHECKING:
    from cytobench.evaluation.grids import Fixed

K = 10
"""Neighbours looked at, the same for every backbone: about what one looks through on a screen."""
CUTS = (1, 5, K)
"""The numbers of neighbours at which scores are given."""
METRICS = names_of(CUTS)
"""Scores of single queries whose mean within classes, then over classes, is a metric of the run."""

_RULE = {"retrieval": "centred on the gallery, unit length, cosine", "k": K, "cuts": list(CUTS)}


def retrieval(*, exclude_own_group: bool) -> Fixed:
    """Return the recipe: the vote shares of `K` neighbours, every query's scores, the gallery's hubness."""
    from cytobench.evaluation.grids import Fixed, table_of

    def fit(training: Training, test: Features, test_groups: Ints) -> Prediction:
        from cytobench.probes.hubness import hubness_of, occurrences

        gallery = table_of(training.features)
        found = ranked(
            gallery,
            training.labels,
            table_of(test),
            n_classes=training.n_classes,
            k=K,
            gallery_groups=training.groups if exclude_own_group else None,
            query_groups=test_groups if exclude_own_group else None,
        )
        hubs = hubness_of(occurrences(gallery, training.groups, K))
        diagnostics = dict(zip(FOLD_METRICS, (hubs.skewness, hubs.antihubs), strict=True))
        return Prediction(vote_shares(found, K), diagnostics, scores=scores_by_class(found, CUTS))

    return Fixed(_RULE, fit, {"k": K})


def random_order() -> Fixed:
    """Return the null: what a random order of the gallery scores on average; votes as the majority does.

    The order is of the whole gallery, also where a task leaves out neighbours of the query's own group.
    """
    from cytobench.evaluation.grids import Fixed
    from cytobench.probes.null import majority_probabilities

    def fit(training: Training, test: Features, test_groups: Ints) -> Prediction:
        chance = chance_by_class(training.labels, training.n_classes, CUTS)
        shares = np.asarray(majority_probabilities(training.labels, len(test), training.n_classes))
        scores = {name: np.tile(each, (len(test), 1)) for name, each in chance.items()}
        return Prediction(shares, scores=scores)

    return Fixed({"null": "random order", "k": K, "cuts": list(CUTS)}, fit, {"k": K})
