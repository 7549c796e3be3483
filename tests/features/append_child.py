"""One of many writers of one space: appends overlapping items in small shards.

Usage: python -m tests.features.append_child STORE SEED
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.features.items import Ids
from cytobench.features.shards import Features
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore

IDENTITY = {"toy": "shared by writers"}
DIM, ITEMS = 6, 400


def all_ids() -> Ids:
    return np.random.default_rng(0).integers(0, 256, (ITEMS, 16), dtype=np.uint8)


def features_of(ids: Ids) -> Features:
    """A feature that tells whose it is, exact in half precision."""
    return ids[:, :DIM].astype(np.float32) / 256


def main(store: Path, seed: int) -> None:
    noise = np.random.default_rng(seed)
    space = FeatureStore(store).space(space_id(IDENTITY), dim=DIM, identity=IDENTITY)
    ids = all_ids()
    for _ in range(12):
        mine: npt.NDArray[np.int64] = noise.choice(ITEMS, size=int(noise.integers(1, 60)), replace=False)
        space.append(ids[mine], features_of(ids[mine]))
        np.testing.assert_array_equal(space.load(ids[mine]), features_of(ids[mine]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
