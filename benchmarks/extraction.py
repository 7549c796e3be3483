"""Extraction from JPEG files to stored features, against the bare network on tensors that are ready.

    python benchmarks/extraction.py                    # both networks, then memory
    python benchmarks/extraction.py --images 128 --repeats 3 --models vit_tiny_patch16_224 --skip-memory

Each repeat times the bare network and the whole extraction (digests, decoding, resizing, normalising, the
network, writing shards) one after the other, so that a busy machine slows both; medians of the repeats'
ratios are printed as Markdown. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TARGETS = {"vit_tiny_patch16_224": 0.88, "vit_small_patch16_224": 0.95}
DIMS = {"vit_tiny_patch16_224": 192, "vit_small_patch16_224": 384}
WIDTH, HEIGHT, QUALITY = 360, 363, 92  # PBC's size; quality as in ordinary microscope exports


@dataclass(frozen=True)
class Repeat:
    """Seconds of one repeat, per image: wall and processor time of the bare network and of the extraction."""

    bare: float
    whole: float
    bare_cpu: float
    whole_cpu: float
    waited: float
    reading: float


def write_pictures(folder: Path, n: int, seed: int = 0) -> list[Path]:
    """Write `n` smooth random JPEG files of 360 x 363 pixels."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    paths = [folder / f"{number:05d}.jpg" for number in range(n)]
    for path in paths:
        coarse = Image.fromarray(noise.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        grain = noise.normal(0, 3, smooth.shape).astype(np.float32)
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return paths


def encoder_of(arch: str, home: Path):  # type: ignore[no-untyped-def]
    """Load the network the way a user's card would, with random weights."""
    from cytobench.cards import BackboneCard, Preprocess
    from cytobench.digests import FileDigests
    from cytobench.encoders import load

    preprocess = Preprocess(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    card = BackboneCard(
        name=arch.replace("_", "-"), title=arch, loader="timm", arch=arch, weights="random", dim=DIMS[arch],
        pooling="cls", preprocess=preprocess, domain="none", licence="none", citation="none",
    )  # fmt: skip
    return load(card, home=home, digests=FileDigests(home), device="cpu")


def extract_once(paths: list[Path], encoder, home: Path, batch: int, workers: int | None):  # type: ignore[no-untyped-def]
    """Do what `cytobench extract` does after reading the manifest, into an empty home."""
    import polars as pl

    from cytobench.cards import View
    from cytobench.digests import FileDigests
    from cytobench.features.extract import extract
    from cytobench.features.items import items_of
    from cytobench.features.store import FeatureStore

    table = pl.DataFrame({"image": [str(path) for path in paths]})
    items = items_of(table, View(kind="window", size=360), FileDigests(home))
    return extract([items], [encoder], FeatureStore(home / "features"), batch_size=batch, workers=workers)


def measure(arch: str, paths: list[Path], options: argparse.Namespace, scratch: Path) -> list[Repeat]:
    """Time the bare network and the extraction alternately."""
    import timm
    import torch

    network = (
        timm.create_model(arch, pretrained=False, num_classes=0).eval().requires_grad_(requires_grad=False)
    )
    encoder = encoder_of(arch, scratch / "home")
    ready = torch.randn(options.batch, 3, 224, 224)
    batches = len(paths) // options.batch
    repeats = []
    with torch.inference_mode():
        network(ready)
        encoder.encode(np.zeros((options.batch, 224, 224, 3), np.uint8))
        for number in range(options.repeats):
            cpu, began = time.process_time(), time.perf_counter()
            for _ in range(batches):
                network(ready)
            bare, bare_cpu = time.perf_counter() - began, time.process_time() - cpu
            home = scratch / f"{arch}-{number}"
            cpu, began = time.process_time(), time.perf_counter()
            report = extract_once(paths, encoder, home, options.batch, options.workers)
            whole, whole_cpu = time.perf_counter() - began, time.process_time() - cpu
            assert report.computed == len(paths)
            shutil.rmtree(home)
            figures = (bare, whole, bare_cpu, whole_cpu, report.waited, report.reading)
            repeats.append(Repeat(*(figure / len(paths) for figure in figures)))
    return repeats


def print_speed(rows: dict[str, list[Repeat]], options: argparse.Namespace) -> None:
    """Print one line per network."""
    import torch

    print(
        f"\n{options.images} JPEG of {WIDTH} x {HEIGHT}, batch {options.batch}, fp32, "
        f"{torch.get_num_threads()} threads, medians of {options.repeats} interleaved repeats\n"
    )
    print("| network | bare, images/s | files to store, images/s | ratio | in CPU time | target | waited |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for arch, repeats in rows.items():
        ratio = statistics.median(one.bare / one.whole for one in repeats)
        cpu = statistics.median(one.bare_cpu / one.whole_cpu for one in repeats)
        bare = 1 / statistics.median(one.bare for one in repeats)
        whole = 1 / statistics.median(one.whole for one in repeats)
        waited = statistics.median(one.waited / one.whole for one in repeats)
        print(
            f"| {arch} | {bare:.1f} | {whole:.1f} | **{ratio:.3f}** | {cpu:.3f} | {TARGETS[arch]:.2f} | "
            f"{waited:.1%} |"
        )


def peak_memory(folder: Path, n: int, batch: int) -> float:
    """Extract the first `n` images in a process of its own and return its largest resident size in MiB."""
    command = [sys.executable, __file__, "--child", str(folder), "--images", str(n), "--batch", str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def child(folder: Path, n: int, batch: int) -> None:
    """Extract and report the peak; run by `peak_memory`."""
    with tempfile.TemporaryDirectory() as home:
        encoder = encoder_of("vit_tiny_patch16_224", Path(home))
        extract_once(sorted(folder.glob("*.jpg"))[:n], encoder, Path(home), batch, None)
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def print_memory(folder: Path, n: int, batch: int) -> None:
    """Print the peak for `n` and four times as many images."""
    write_pictures(folder, 4 * n, seed=1)
    few, many = peak_memory(folder, n, batch), peak_memory(folder, 4 * n, batch)
    print("\n| images | largest resident memory, MiB |\n| ---: | ---: |")
    print(f"| {n} | {few:.0f} |\n| {4 * n} | {many:.0f} |\n\nratio {many / few:.3f} (vit_tiny_patch16_224)")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--models", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.images, options.batch)
        return
    options.images -= options.images % options.batch
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        paths = write_pictures(scratch / "pictures", options.images)
        print_speed({arch: measure(arch, paths, options, scratch) for arch in options.models}, options)
        if not options.skip_memory:
            print_memory(scratch / "more", options.images, options.batch)


if __name__ == "__main__":
    main()
