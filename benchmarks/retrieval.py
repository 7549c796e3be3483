"""Looking up neighbours: CytoBench's indexes beside faiss's own calls, exact and approximate.

python benchmarks/retrieval.py [--exact] [--large] [--real HOME]
python benchmarks/retrieval.py --command QUERY DATASET --data DIR --home HOME

--exact: 100,000 x 768, 1,000 queries, k = 50, against `faiss.IndexFlatIP.search`.
--large: a million rows of 384 in clusters: the inverted file beside an exact index, its recall, its memory.
--real HOME: recall on the features stored under HOME, each space scaled up to 200,000 rows by points between
rows and one of their ten nearest.
--command: `cytobench search QUERY --backbone cytofm --dataset DATASET` on a built index, beside importing
torch and timm, and one query in a running process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import psutil

from cytobench.features.store import FeatureStore
from cytobench.registry import Registry
from cytobench.retrieval import Searcher
from cytobench.retrieval.vectors import Vectors, build, centring_of

Floats = npt.NDArray[np.float32]
_REPEATS = 5


def clustered(n: int, d: int, clusters: int, seed: int) -> Floats:
    """Return n unit rows in Gaussian clusters whose axes have falling variances, as features have."""
    rng = np.random.default_rng(seed)
    axes = (np.arange(1, d + 1) ** -0.5).astype(np.float32)
    centres = rng.normal(size=(clusters, d)).astype(np.float32) * axes
    rows = np.empty((n, d), np.float32)
    for start in range(0, n, 50_000):
        part = slice(start, min(n, start + 50_000))
        size = part.stop - part.start
        rows[part] = centres[rng.integers(clusters, size=size)]
        rows[part] += 0.7 * rng.normal(size=(size, d)).astype(np.float32) * axes
    faiss.normalize_L2(rows)
    return rows


def seconds(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Return the median wall time of `work`."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def exact() -> None:
    """Print a table of exact searches."""
    rows, queries = clustered(100_000, 768, 300, 0), clustered(1000, 768, 300, 1)
    plain = faiss.IndexFlatIP(768)
    plain.add(rows)
    vectors = build(rows)
    ratios, mine, theirs = [], [], []
    for _ in range(_REPEATS):  # in turn, so that a slow minute slows both
        theirs.append(seconds(lambda: plain.search(queries, 50), 1))
        mine.append(seconds(lambda: vectors.search(queries, 50), 1))
        ratios.append(mine[-1] / theirs[-1])
    found, _ = vectors.search(queries, 50)
    values = queries.astype(np.float64) @ rows.T.astype(np.float64)
    truth = np.argsort(-values, axis=1, kind="stable")[:, :50]
    print("100,000 x 768, 1,000 queries, k = 50, 2 threads, median of", _REPEATS)
    print("\n| what | seconds | ratio: median (least) |\n|---|---|---|")
    print(f"| faiss: IndexFlatIP.search | {statistics.median(theirs):.2f} | 1.00 |")
    print(
        f"| CytoBench: the same, order settled in float64 | {statistics.median(mine):.2f} | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}) |"
    )
    print(f"\nQueries whose 50 neighbours equal numpy's in float64: {(found == truth).all(1).sum()} of 1,000")


def recall(vectors: Vectors, rows: Floats, queries: Floats) -> float:
    """Return recall@10 of the index on queries that are not among its rows."""
    truth = faiss.knn(queries, rows, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found, _ = vectors.search(queries, 10)
    return float(
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth.tolist(), found.tolist(), strict=True)])
    )


def large() -> None:
    """Print how a million rows are searched."""
    rows, queries = clustered(1_000_001, 384, 3000, 0), clustered(500, 384, 3000, 0)
    plain = faiss.IndexFlatIP(384)
    plain.add(rows)
    whole = Vectors(plain)
    one = [queries[at : at + 1] for at in range(len(queries))]
    exact_ms = 1000 * seconds(lambda: whole.search(one[0], 12), 20)
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    vectors = build(rows)
    built = time.perf_counter() - began
    grew = (psutil.Process().memory_info().rss - before) / 2**30
    vectors.search(one[0], 12)
    times = [seconds(lambda at=at: vectors.search(one[at], 12), 1) for at in range(200)]  # type: ignore[misc]
    print(f"1,000,001 x 384 in 3,000 clusters, 2 threads: {vectors.lists} of 1,024 lists are read")
    print("\n| what | |\n|---|---|")
    print(f"| exact search, one query | {exact_ms:.0f} ms |")
    print(f"| inverted file: built (trained, filled, recall measured) | {built:.0f} s |")
    print(
        f"| inverted file: one query, median (95 %) | {1000 * statistics.median(times):.1f} "
        f"({1000 * float(np.quantile(times, 0.95)):.1f}) ms |"
    )
    print(f"| recall@10 on rows of its own, as it says | {vectors.recall:.3f} |")
    print(f"| recall@10 on 500 other queries | {recall(vectors, rows, queries):.3f} |")
    print(f"| memory of the inverted file | {grew:.2f} GiB |")


def scaled_up(features: Floats, n: int, seed: int) -> Floats:
    """Return n rows: the features themselves and points between each and one of its ten nearest."""
    rng = np.random.default_rng(seed)
    rows = centring_of(features, standardise=False).directions(features)
    near = faiss.knn(rows, rows, 11, metric=faiss.METRIC_INNER_PRODUCT)[1]
    base = rng.integers(len(rows), size=n - len(rows))
    other = near[base, rng.integers(1, 11, size=len(base))]
    share = rng.random((len(base), 1)).astype(np.float32)
    mixed = np.concatenate([rows, share * rows[base] + (1 - share) * rows[other]])
    mixed += 0.02 * rng.normal(size=mixed.shape).astype(np.float32) / np.sqrt(mixed.shape[1])
    faiss.normalize_L2(mixed)
    return mixed


def real(home: Path) -> None:
    """Print recall on real features that were scaled up."""
    store = FeatureStore(home / "features")
    print("| features | d | rows | scaled up to | lists read | says | recall@10 on 500 rows held out |")
    print("|---|---|---|---|---|---|---|")
    for summary in store.ls():
        space = store.space(summary.id)
        index = space.refresh()
        features = space.load(index.ids()[:30_000])
        rows = scaled_up(features, 200_500, 0)
        order = np.random.default_rng(1).permutation(len(rows))
        rows, queries = rows[order[500:]], rows[order[:500]]
        vectors = build(rows, exact_up_to=100_000)
        name = summary.identity.get("arch") or summary.identity.get("loader")
        print(
            f"| {name} {summary.id[:8]} | {summary.dim} | {len(features):,} | {len(rows):,} | "
            f"{vectors.lists} | {vectors.recall:.3f} | {recall(vectors, rows, queries):.3f} |"
        )


def command(query: str, dataset: str, data: Path, home: Path) -> None:
    """Print what one query costs from the command line and in a running process."""
    places = ["--data", str(data), "--home", str(home)]
    asked = [sys.executable, "-m", "cytobench", "search", query, "-b", "cytofm", "-d", dataset, *places]
    works = {
        "python -c 'import torch, timm'": [sys.executable, "-c", "import torch, timm"],
        "cytobench search QUERY": asked,
    }
    subprocess.run(asked, check=True, capture_output=True)  # builds the index, fills the disk cache
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(_REPEATS):
        for name, work in works.items():
            times[name].append(
                seconds(lambda work=work: subprocess.run(work, check=True, capture_output=True), 1)  # type: ignore[misc]
            )
    searcher = Searcher.open(dataset, "cytofm", registry=Registry.load(), home=home, data_dirs=[data])
    searcher.search_file(Path(query))
    inside = seconds(lambda: searcher.search_file(Path(query)), 50)
    print(f"{searcher.size:,} cells of {searcher.collection.name}, cytofm, median of {_REPEATS}\n")
    print("| what | |\n|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} s |")
    print(f"| one query in a running process: read, cut, encode, search | {1000 * inside:.0f} ms |")


def main() -> None:
    """Run what was asked for, or both synthetic tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--real", type=Path, metavar="HOME")
    parser.add_argument("--command", nargs=2, metavar=("QUERY", "DATASET"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    everything = not (asked.exact or asked.large or asked.real or asked.command)
    if asked.exact or everything:
        exact()
    if asked.large or everything:
        large()
    if asked.real:
        real(asked.real)
    if asked.command:
        command(*asked.command, asked.data, asked.home)


if __name__ == "__main__":
    main()
