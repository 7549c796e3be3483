"""Synthetic tables that resemble frozen deep features: class means, correlated noise, a decaying spectrum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def deep_features(
    n: int, d: int, n_classes: int, *, decay: float, separation: float, imbalance: float, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return features float32 [n, d] and labels int64 [n].

    decay: the j-th principal variance is j ** -decay. separation: distance of class means in units
    of the noise (3: separable, 0.6: heavy overlap). imbalance: class c has frequency (c + 1) ** -imbalance.
    """
    rng = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** (-decay / 2)
    spread /= np.sqrt((spread**2).mean())
    frequency = np.arange(1.0, n_classes + 1) ** -imbalance
    labels = rng.choice(n_classes, n, p=frequency / frequency.sum())
    means = rng.standard_normal((n_classes, d)) * spread * separation * 3 / np.sqrt(d)
    per_row = np.exp(0.2 * rng.standard_normal((n, 1)))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    features = (means[labels] + rng.standard_normal((n, d)) * spread * per_row) @ rotation.T
    return (features + 0.5 * rng.standard_normal(d)).astype(np.float32), labels
