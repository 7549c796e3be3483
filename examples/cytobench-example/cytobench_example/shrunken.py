"""A probe: nearest shrunken centroids (Tibshirani et al., PNAS 2002).

Class means are drawn towards the mean of all, feature by feature; features in which no class stands out fall
away. `amount` is how far, from 0 (nearest mean) to 1 (nothing is left but the class frequencies).
"""

from __future__ import annotations

import numpy as np

from cytobench.probes.custom import Features, TrainingPart

VERSION = "1"
GRID = {"amount": [0.8, 0.6, 0.4, 0.2, 0.0]}  # of two that score the same the first is taken: the simpler one


def fit_and_predict(training: TrainingPart, test: Features, *, amount: float = 0.3) -> np.ndarray:
    """Return probabilities, float [m, n_classes], of the rows of `test`, float32 [m, d]."""
    known, labels = np.asarray(training.features, dtype=float), training.labels
    classes = range(training.n_classes)
    counts = np.bincount(labels, minlength=training.n_classes)
    overall = known.mean(axis=0)
    means = np.stack([known[labels == k].mean(axis=0) if counts[k] else overall for k in classes])
    within = np.sqrt(((known - means[labels]) ** 2).sum(axis=0) / max(len(known) - training.n_classes, 1))
    spread = within + np.median(within) + 1e-12
    scale = np.sqrt(1 / np.maximum(counts, 1) - 1 / len(known))[:, None] + 1e-12
    standing = (means - overall) / (scale * spread)
    threshold = amount * np.abs(standing).max()
    shrunken = overall + scale * spread * np.sign(standing) * np.maximum(np.abs(standing) - threshold, 0)
    distances = (((np.asarray(test, dtype=float)[:, None] - shrunken) / spread) ** 2).sum(axis=2)
    logits = np.log(np.maximum(counts, 0.5) / len(known)) - distances / 2
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
