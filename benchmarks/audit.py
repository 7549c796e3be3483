"""The audit's search for copies among 100,000 items whose imprints and features exist already.

Perceptual: thumbnails of 100,000 synthetic pictures, 1,000 of them noisy copies. By embedding: 100,000
vectors of 384 dimensions in 3,000 clusters, 1,000 near copies, threshold from the null distribution. Beside
it what one would write first: faiss, an exact flat index, the two nearest neighbours of every row.

    python benchmarks/audit.py --items 100000 [--faiss]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt

from cytobench.audit.alike import threshold
from cytobench.checks.copies import Sight, find_copies
from cytobench.checks.imprints import Imprints
from cytobench.checks.near import near_pairs, unit_rows
from cytobench.progress import SilentReporter

COPIES = 1000
_BLOCK = 10_000


def thumbnails(n: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return smooth pictures of cells on glass, 16 x 16 x 3; the last 1,000 repeat the first."""
    y, x = np.mgrid[:16, :16] / 16
    made = np.full((n, 16, 16, 3), 222.0, np.float32)
    for start in range(0, n, _BLOCK):
        part = made[start : start + _BLOCK]
        for number in range(4):
            centre = rng.uniform(0, 1, (len(part), 2)) if number else rng.normal(0.5, 0.03, (len(part), 2))
            radius = rng.uniform(0.1, 0.35, len(part))
            away = np.hypot(y - centre[:, :1, None], x - centre[:, 1:, None])
            inside = 1 / (1 + np.exp((away - radius[:, None, None]) * 30))
            part -= inside[..., None] * (rng.normal((60, 110, 50), 15, (len(part), 3)))[:, None, None]
    made[-COPIES:] = made[:COPIES] + 9  # brighter
    made += rng.normal(0, 0.7, made.shape).astype(np.float32)
    return np.clip(made, 0, 255).astype(np.uint8).reshape(n, -1)


def imprints(small: npt.NDArray[np.uint8]) -> Imprints:
    """Return imprints with these thumbnails, their own hashes and distinct digests."""
    n = len(small)
    luma = small.reshape(n, 16, 16, 3).mean(axis=3)
    bits = np.diff(luma, axis=2, append=luma[:, :, :1]) > 3
    digests = np.zeros((n, 16), np.uint8)
    digests[:, :8] = np.arange(n, dtype=np.uint64)[:, None].view(np.uint8)
    light = np.full((n, 4), 0.1, np.float32)
    return Imprints(
        digests, np.packbits(bits.reshape(n, -1), axis=1), small, light, np.zeros((n, 15), np.float32)
    )


def enlarged(thumbnail: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a thumbnail as a picture of 64 px: what is decoded of a candidate."""
    return thumbnail.reshape(16, 16, 3).repeat(4, axis=0).repeat(4, axis=1)


def range_names(n: int) -> list[str]:
    """Return a file name for each picture: no two come from one file."""
    return [f"{row}.png" for row in range(n)]


def features(n: int, rng: np.random.Generator, dim: int = 384) -> npt.NDArray[np.float32]:
    """Return clustered vectors of falling variance, as backbones give; the last 1,000 repeat the first."""
    scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = rng.normal(size=(3000, dim)).astype(np.float32) * scale
    found = centres[rng.integers(3000, size=n)] + 0.7 * rng.normal(size=(n, dim)).astype(np.float32) * scale
    found[-COPIES:] = found[:COPIES] + 0.03 * rng.normal(size=(COPIES, dim)).astype(np.float32) * scale
    return found.astype(np.float32)


def main() -> None:
    """Time both searches, and faiss where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument(
        "--faiss", action="store_true", help="also the two nearest neighbours by a flat index"
    )
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    described, vectors = imprints(thumbnails(asked.items, rng)), features(asked.items, rng)
    began = time.perf_counter()
    sight = Sight(
        lambda rows: [enlarged(described.thumbnails[row]) for row in rows], range_names(asked.items)
    )
    copies = find_copies(described, SilentReporter(), sight=sight)
    right = int((copies.right - copies.left == asked.items - COPIES).sum())
    took = time.perf_counter() - began
    print(f"perceptual: {took:.1f} s, {right:,} of {COPIES:,} copies, {len(copies):,} pairs")
    began = time.perf_counter()
    unit = unit_rows(vectors - vectors.mean(axis=0))
    least = threshold(unit)
    pairs = near_pairs(unit, least=least)
    right = int((pairs.right - pairs.left == asked.items - COPIES).sum())
    took = time.perf_counter() - began
    print(
        f"embedding: {took:.1f} s, {right:,} of {COPIES:,} copies, {len(pairs):,} pairs, cosine {least:.3f}"
    )
    if asked.faiss:
        import faiss

        began = time.perf_counter()
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        index.search(unit, 2)
        print(f"faiss, flat, 2 neighbours: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
