"""Compare the kNN probe, all k and weightings at once, with faiss's own search of max(k) and scikit-learn.

python benchmarks/knn_probe.py --small     # a rehearsal of seconds
python benchmarks/knn_probe.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
from deep_features import deep_features
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from cytobench.probes.knn import knn_probabilities

KS = (1, 3, 5, 10, 20, 50, 100, 200)


def prepare(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = train.mean(axis=0)
    pair = (train - centre, test - centre)
    for table in pair:
        faiss.normalize_L2(table)
    return pair


def search(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    index = faiss.IndexFlatIP(train.shape[1])
    index.add(train)
    return index.search(test, max(KS))[1]


def alternate(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time the competitors in turn, so that a busy minute hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--m", type=int, default=4_000)
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--separation", type=float, default=1.5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    o = parser.parse_args()
    if o.small:
        o.n, o.m, o.d, o.repeats = 2_000, 500, 128, 3
    threadpool_limits(o.threads)
    faiss.omp_set_num_threads(o.threads)
    table, labels = deep_features(
        o.n + o.m, o.d, o.classes, decay=o.decay, separation=o.separation, imbalance=0.7
    )
    train, test, labels = table[: o.n], table[o.n :], labels[: o.n]
    ready = prepare(train, test)

    def ours() -> np.ndarray:
        return knn_probabilities(
            train, labels, test, n_classes=o.classes, ks=KS, weighting=("uniform", "similarity")
        )

    def scikit_learn_all() -> list[np.ndarray]:
        unit, queries = prepare(train, test)
        fits = (KNeighborsClassifier(k, algorithm="brute", n_jobs=o.threads).fit(unit, labels) for k in KS)
        return [model.predict_proba(queries) for model in fits]

    seconds = alternate(
        {
            "faiss: search of max(k) on ready unit vectors": lambda: search(*ready),
            "faiss: centre, normalise, search of max(k)": lambda: search(*prepare(train, test)),
            "CytoBench: all k, both weightings": ours,
        },
        o.repeats,
    )
    seconds |= alternate({"scikit-learn: one fit a k, uniform only": scikit_learn_all}, 1)
    print(f"n={o.n}, m={o.m}, d={o.d}, K={o.classes}, k in {KS}, {o.threads} threads, "
          f"median of {o.repeats} (scikit-learn: 1)\n")  # fmt: skip
    reference = seconds["faiss: centre, normalise, search of max(k)"]
    print("| what | seconds | ratio to faiss with preparation: median (least) |\n|---|---|---|")
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, reference, strict=False)]
        cells = f"{statistics.median(values):.3f} | {statistics.median(ratios):.2f} ({min(ratios):.2f})"
        print(f"| {name} | {cells} |")
    worst = max(np.abs(a - b).max() for a, b in zip(ours()[:, 0], scikit_learn_all(), strict=True))
    print(f"\nLargest difference of a probability from scikit-learn's: {worst:.1e}")


if __name__ == "__main__":
    main()
