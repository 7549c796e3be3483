"""Small tables of features that the probes' tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch


class Table(NamedTuple):
    """Features float32 [n, d], labels int64 [n], training masks bool [F, n]."""

    features: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def make_table(
    n: int = 240, d: int = 12, n_classes: int = 4, folds: int = 3, overlap: float = 1.0, seed: int = 0
) -> Table:
    """Class means plus correlated noise, far from the origin, as deep features are."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    spread = np.arange(1, d + 1) ** -0.5
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0]
    means = rng.standard_normal((n_classes, d)) * spread / overlap
    features = (means[labels] + rng.standard_normal((n, d)) * spread) @ mixing + 5.0
    masks = (np.arange(n) % folds) != np.arange(folds)[:, None]
    return Table(features.astype(np.float32), labels, masks)


@pytest.fixture(scope="session")
def table() -> Callable[..., Table]:
    return make_table


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Keep tests that run side by side from fighting over cores."""
    torch.set_num_threads(1)
