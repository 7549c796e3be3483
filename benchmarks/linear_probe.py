"""Compare the linear probe with scikit-learn: seconds for the whole path, and distance to the optimum.

    python benchmarks/linear_probe.py --small                 # a rehearsal of a minute
    python benchmarks/linear_probe.py --sklearn-folds 1       # the real size, scikit-learn on one fold only

No objective can be lower than f - 0.5 ||gradient||^2 at any point with optimal intercepts, because the
penalty makes it 1-strongly convex in the weights. That bound, computed here with numpy at a tightly converged
point, is what all objectives are compared with.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from deep_features import deep_features
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from cytobench.probes.linear import fit_path

TOLERANCES = (1e-4, 1e-6)


def objective_and_gradient(features, hits, C, weights, bias):
    """Return scikit-learn's objective and its gradient in weights and bias, all in float64 numpy."""
    weights = weights.astype(np.float64)
    logits = features @ weights.T + bias
    logits -= (logits * hits).sum(1, keepdims=True)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    others = np.where(hits, -np.inf, logits)
    peak = others.max(1)
    tail = np.exp(others - peak[:, None]).sum(1)
    loss = np.logaddexp(0.0, peak + np.log(tail)).sum()
    residual = np.where(hits, 0.0, odds / odds.sum(1, keepdims=True))
    residual = np.where(hits, -residual.sum(1, keepdims=True), residual)
    value = C * loss + 0.5 * (weights**2).sum()
    return value, C * residual.T @ features + weights, C * residual.sum(0), odds / odds.sum(1, keepdims=True)


def lower_bound(features, hits, C, weights, bias):
    """Return a value no objective can be below: intercepts are made optimal, then strong convexity holds."""
    for _ in range(4):
        value, slope, slope_bias, p = objective_and_gradient(features, hits, C, weights, bias)
        curvature = C * (np.diag(p.sum(0)) - p.T @ p)
        bias = bias - np.linalg.pinv(curvature, rcond=1e-12) @ slope_bias
    return value - 0.5 * (slope**2).sum()


def clock(work: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Return the median seconds and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def scikit_learn(features, labels, masks, Cs, tolerance) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Return seconds over the given folds and the first fold's weights and intercepts per C."""
    fitted = []
    start = time.perf_counter()
    for fold, mask in enumerate(masks):
        train, y = features[mask], labels[mask]
        for C in Cs:
            model = LogisticRegression(C=C, tol=tolerance, max_iter=100_000).fit(train, y)
            if fold == 0:
                fitted.append((model.coef_, model.intercept_))
    return time.perf_counter() - start, fitted


def gap_cells(gaps: np.ndarray, allowed: np.ndarray) -> list[str]:
    return [f"{g:.1e}{'' if g <= a else ' **(over)**'}" for g, a in zip(gaps, allowed, strict=True)]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=45)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--separation", type=float, default=1.5, help="3: separable; 0.6: heavy overlap")
    parser.add_argument("--imbalance", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="repeats of our fit; scikit-learn runs once")
    parser.add_argument("--sklearn-folds", type=int, default=0, help="0: all")
    parser.add_argument("--float64", action="store_true", help="give scikit-learn float64 features")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    options = parser.parse_args()
    if options.small:
        options.n, options.d, options.candidates, options.folds = 1500, 64, 12, 3
    return options


def report_gaps(o, path, exact, features, labels, mask, Cs, runs) -> None:
    """Print how far above the lower bound each solver ended, for every C of the first fold."""
    train, hits = features[mask].astype(np.float64), np.eye(o.classes, dtype=bool)[labels[mask]]
    certain = list(zip(exact.weights[0], exact.bias[0], strict=True))
    bound = np.array([lower_bound(train, hits, C, *point) for C, point in zip(Cs, certain, strict=True)])

    def above(points) -> np.ndarray:
        values = [
            objective_and_gradient(train, hits, C, *point)[0] for C, point in zip(Cs, points, strict=True)
        ]
        return (np.array(values) - bound) / bound

    allowed = np.maximum(1e-5, 1e-6 * Cs * mask.sum() * np.log(o.classes) / bound)
    ours = above(list(zip(path.weights[0], path.bias[0], strict=True)))
    columns = [
        [f"{C:.1e}" for C in Cs],
        [f"{a:.1e}" for a in allowed],
        [f"{c:.0e}" for c in above(certain)],
        gap_cells(ours, allowed),
        *[gap_cells(above(points), allowed) for _, points in runs.values()],
    ]
    print("Objective above the lower bound, relative to it, first fold:\n")
    header = ["C", "allowed", "width of the bound", "CytoBench", *[f"scikit-learn {t:g}" for t in runs]]
    print_table(header, list(zip(*columns, strict=True)))
    print(
        f"CytoBench: at most {ours.max():.1e}; says it converged for {path.converged.mean():.0%} of all fits."
    )


def main() -> None:
    warnings.simplefilter("ignore")
    o = parse()
    torch.set_num_threads(o.threads)
    threadpool_limits(o.threads)
    features, labels = deep_features(
        o.n, o.d, o.classes, decay=o.decay, separation=o.separation, imbalance=o.imbalance
    )
    fold_of = np.random.default_rng(1).integers(0, o.folds, o.n)
    masks = fold_of != np.arange(o.folds)[:, None]
    Cs = np.logspace(-6, 5, o.candidates)
    fit = partial(
        fit_path, features, labels, n_classes=o.classes, Cs=Cs, standardise=False, device=o.device
    )  # fmt: skip
    seconds, path = clock(lambda: fit(train_masks=masks), o.repeats)
    print(
        f"{o.candidates} values of C x {o.folds} folds, n={o.n}, d={o.d}, K={o.classes}, decay {o.decay}, "
        f"separation {o.separation}, imbalance {o.imbalance}, {o.threads} threads, {o.device}\n",
        flush=True,
    )
    count = o.sklearn_folds or o.folds
    given = features.astype(np.float64) if o.float64 else features
    runs = {t: scikit_learn(given, labels, masks[:count], Cs, t) for t in TOLERANCES}
    rows = [["CytoBench", f"{seconds:.1f}", f"{seconds / o.folds:.2f}", "1"]]
    for tolerance, (their_seconds, _) in runs.items():
        each = their_seconds / count
        name = f"scikit-learn lbfgs, tol {tolerance:g} (timed on {count} of {o.folds} folds)"
        ratio = f"{each * o.folds / seconds:.1f}"
        rows.append([name, f"{each * o.folds:.1f}", f"{each:.2f}", ratio])
    print_table(["solver", "s for all folds", "s a fold", "times CytoBench"], rows)
    exact = fit(train_masks=masks[:1], tolerance=1e-15)
    report_gaps(o, path, exact, features, labels, masks[0], Cs, runs)


if __name__ == "__main__":
    main()
