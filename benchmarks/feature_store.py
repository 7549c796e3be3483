"""The feature store against what most harnesses write, one HDF5 dataset an image; and how fast it opens.

    python benchmarks/feature_store.py                           # 100,000 x 768, then a million rows
    python benchmarks/feature_store.py --rows 10000 --open-rows 100000

Both sides are read from the page cache, alternately, in one process; medians are printed as Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cytobench.features import index as indexing
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore, Space
from cytobench.features.writer import FLUSH_ROWS

IDENTITY = {"benchmark": 1}
TARGET_LOAD, TARGET_OPEN = 50.0, 2.0


def seconds(action: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def fill(store: FeatureStore, rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Append `rows` random features in shards of the usual size and return their ids, uint8 [rows, 16]."""
    noise = np.random.default_rng(seed)
    ids = noise.integers(0, 256, (rows, 16), dtype=np.uint8)
    space = open_space(store, dim)
    block = noise.normal(size=(FLUSH_ROWS, dim)).astype(np.float32)
    for start in range(0, rows, FLUSH_ROWS):
        part = ids[start : start + FLUSH_ROWS]
        space.append(part, block[: len(part)])
    return ids


def open_space(store: FeatureStore, dim: int) -> Space:
    """Open the benchmark's space, creating it the first time."""
    return store.space(space_id(IDENTITY), dim=dim, identity=IDENTITY)


def write_hdf5(path: Path, names: list[str], features: np.ndarray) -> None:
    """Write one float32 dataset an image."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, row in zip(names, features, strict=True):
            file.create_dataset(name, data=row)


def read_hdf5(path: Path, names: list[str], dim: int) -> np.ndarray:
    """Read them all into one array, float32 [n, dim]."""
    import h5py

    out = np.empty((len(names), dim), np.float32)
    with h5py.File(path, "r") as file:
        for row, name in enumerate(names):
            file[name].read_direct(out[row])
    return out


def compare_loading(folder: Path, rows: int, dim: int, repeats: int) -> None:
    """Print how long loading all features takes, in the order of writing and in a random one."""
    store = FeatureStore(folder / "load")
    ids = fill(store, rows, dim)
    names = [bytes(one).hex() for one in ids]
    stored = open_space(store, dim).load(ids)
    write_hdf5(folder / "features.h5", names, stored)
    shuffled = ids[np.random.default_rng(1).permutation(rows)]
    times: dict[str, list[float]] = {"hdf5": [], "store": [], "shuffled": []}
    for _ in range(repeats):
        times["hdf5"].append(seconds(lambda: read_hdf5(folder / "features.h5", names, dim)))
        times["store"].append(seconds(lambda: open_space(store, dim).load(ids)))
        times["shuffled"].append(seconds(lambda: open_space(store, dim).load(shuffled)))
    hdf5 = statistics.median(times["hdf5"])
    print(f"\nLoading {rows:,} x {dim} features, medians of {repeats} alternating repeats\n")
    print("| storage | seconds | times as fast |\n| --- | ---: | ---: |")
    print(f"| one HDF5 dataset an image, in order | {hdf5:.2f} | 1 |")
    for key, label in (("store", "CytoBench, in order"), ("shuffled", "CytoBench, random order")):
        ratio = statistics.median(a / b for a, b in zip(times["hdf5"], times[key], strict=True))
        print(
            f"| {label} | {statistics.median(times[key]):.3f} | **{ratio:.0f}** (target {TARGET_LOAD:.0f}) |"
        )


def measure_opening(folder: Path, rows: int, dim: int, repeats: int) -> None:
    """Print how long it takes until a large space answers whether it holds one item."""
    store = FeatureStore(folder / "open")
    ids = fill(store, rows, dim, seed=2)
    space = open_space(store, dim)
    space.save_index()
    cache = space.folder / indexing.CACHE
    saved, rebuilt = [], []

    def ask() -> None:
        assert not open_space(store, dim).missing(ids[:1]).any()

    for _ in range(repeats):
        cache.unlink(missing_ok=True)
        rebuilt.append(seconds(ask))
        saved.append(seconds(ask))
    shards = len(list(space.folder.glob("shard-*")))
    print(f"\nOpening a space of {rows:,} x {dim} features in {shards} shards, medians of {repeats}\n")
    print("| index | seconds | target |\n| --- | ---: | ---: |")
    print(f"| saved | {statistics.median(saved):.3f} | {TARGET_OPEN:.0f} |")
    print(f"| built from the shards, and saved | {statistics.median(rebuilt):.3f} | {TARGET_OPEN:.0f} |")


def main() -> None:
    """Run both comparisons in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--open-rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write (default: a temporary folder)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        compare_loading(Path(name), options.rows, options.dim, options.repeats)
        measure_opening(Path(name), options.open_rows, options.dim, options.repeats)


if __name__ == "__main__":
    main()
