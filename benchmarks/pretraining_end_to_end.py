"""Pretraining from encoded files: pack them, then run the real engine; images a second, waiting, MFU, memory.

    python benchmarks/pretraining_end_to_end.py --reference CHECKOUT        # ViT-S/16 and ViT-B/16 on a GPU
    python benchmarks/pretraining_end_to_end.py --images DIR --presets cytofm-vits16 --batch 256
    python benchmarks/pretraining_end_to_end.py --small --device cpu        # a rehearsal of a minute

JPEG files that the script makes itself, or those below DIR, are packed once, as `cytobench pretrain` does;
then the engine trains for some steps: reading, cropping and colouring, 2 + 10 crops, network, losses, update.
The first steps (compilation) are not counted. The step alone is timed on ready crops, and so is, with
CHECKOUT (github.com/bytedance/ibot at da316d8), the published one: in float16 on a GPU, as its script trains,
with the largest batch that fits; its reading and augmentation on the CPU would come on top. Needs torch,
timm, Pillow and numpy, nothing else of CytoBench's dependencies.
"""

from __future__ import annotations

import argparse
import gc
import math
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from extraction import write_pictures
from ibot_steps import CytoBenchStep, ReferenceStep, Step, alone, make_batch

from cytobench.errors import PretrainingError
from cytobench.pretraining.build import make_model, make_timetable
from cytobench.pretraining.engine import LOG, Run, device_name, train
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.log import read_rows
from cytobench.pretraining.pack import pack
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Data, Recipe, check, override, preset
from cytobench.pretraining.sources import list_folder
from cytobench.progress import SilentReporter

QUIET = SilentReporter()
TARGETS = {"cytofm-vits16": "1,600 (2,300)", "cytofm-vitb16": "520 (700)"}
NEVER = 10**9
STEPS_ALONE = (3, 10)  # not counted, counted
SMALL: Mapping[str, Mapping[str, Any]] = {
    "network": {
        "arch": "vit_tiny_patch16_224",
        "options": {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    },
    "head": {"out_dim": 64, "patch_out_dim": 64, "hidden_dim": 64, "bottleneck_dim": 16},
    "crops": {"global_size": 32, "local_size": 16},
    "data": {"batch": 8, "side": 40},
}


@dataclass(frozen=True)
class Speed:
    """What a run of the engine came to; gib: largest memory of the device (on a CPU: of the process)."""

    images_per_second: float
    waited: float
    mfu: float
    gib: float


def recipe_of(name: str, options: argparse.Namespace) -> Recipe:
    """Return a preset as it is to be measured: with 2 + 10 crops, and without checkpoints."""
    small = SMALL if options.small else {}
    settings: dict[str, dict[str, Any]] = {key: dict(value) for key, value in small.items()}
    settings.setdefault("crops", {})["local_count"] = 10
    data = settings.setdefault("data", {})
    data["near_duplicates"] = 0
    if options.batch:
        data["batch"] = options.batch
    settings["running"] = {
        "precision": options.precision,
        "compile": options.compile,
        "log_steps": options.log_steps,
        "checkpoint_steps": NEVER,
        "knn_steps": NEVER,
        "readers": options.readers,
    }
    return check(override(preset(name), settings, where="options"))


def pack_files(files: Path, data: Data, folder: Path) -> tuple[Pool, float]:
    """Return the pool of a folder of images and how many files a second went into it."""
    began = time.perf_counter()
    pool = pack([list_folder(files, data)], data, folder, closed={}, facts={}, reporter=QUIET)
    return pool, len(pool) / (time.perf_counter() - began)


def run_engine(name: str, recipe: Recipe, pool: Pool, options: argparse.Namespace) -> tuple[Recipe, Speed]:
    """Train for `options.steps` steps, with half the batch again and again until a step fits in memory.

    Return the recipe with the batch that did. Raises PretrainingError when none does.
    """
    while True:
        try:
            return recipe, _train(name, recipe, pool, options)
        except PretrainingError as error:
            if recipe.data.batch < 8:
                raise
            print(f"{name}: {error}", file=sys.stderr, flush=True)
        recipe = replace(recipe, data=replace(recipe.data, batch=recipe.data.batch // 2))


def _train(name: str, recipe: Recipe, pool: Pool, options: argparse.Namespace) -> Speed:
    device = torch.device(options.device)
    _forget(device)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, pool, Path(folder), device, preset=name, stop_after=options.steps)
        train(run, QUIET)
        rows = [row for row in read_rows(Path(folder) / LOG) if float(row["step"]) > options.warmup]

    def median(column: str) -> float:
        return statistics.median(float(row[column]) for row in rows)

    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return Speed(median("images_per_second"), median("waited"), median("mfu"), peak / 2**30)


def steps_alone(recipe: Recipe, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[IBOT], Step]]]:
    """Yield whose step is timed on ready crops, and what makes it; the published one in its process group."""
    device, low = torch.device(options.device), options.precision == "bf16"
    compiled = options.compile == "yes"
    yield "the step alone, ready crops", lambda _: CytoBenchStep(recipe, device, low=low, compiled=compiled)
    if options.reference:
        half = device.type == "cuda"
        with alone(device):
            yield (
                "bytedance/ibot's step alone",
                lambda model: ReferenceStep(model, recipe, device, options.reference, half=half),
            )


def time_step(make: Callable[[IBOT], Step], recipe: Recipe, device: torch.device) -> tuple[int, float]:
    """Return the batch and images a second of a step; the batch is halved until it fits."""
    images = recipe.data.batch
    while True:
        _forget(device)
        try:
            return images, _rate(make, recipe, images, device)
        except torch.OutOfMemoryError:
            if images < 4:
                raise
        images //= 2


def _rate(make: Callable[[IBOT], Step], recipe: Recipe, images: int, device: torch.device) -> float:
    model = make_model(recipe)
    step = make(model)
    batch = make_batch(recipe, grid=model.student.backbone.grid, images=images, seed=0, device=device)
    rates = make_timetable(recipe, recipe.data.batch).at(0)
    first, counted = STEPS_ALONE
    for number in range(first + counted):
        if number == first:
            _wait_for(device)
            began = time.perf_counter()
        step(batch, rates)
    _wait_for(device)
    return images * counted / (time.perf_counter() - began)


def _forget(device: torch.device) -> None:
    """Let go of compiled graphs, which would fill the cache of the next network's, and of memory."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, files: Path, scratch: Path, options: argparse.Namespace) -> None:
    """Print the table's lines for one preset, each as soon as it is known."""
    recipe = recipe_of(name, options)
    pool, packed = pack_files(files, recipe.data, scratch / name)
    print(f"{name}: {len(pool):,} files packed at {packed:,.0f} a second", file=sys.stderr, flush=True)
    recipe, speed = run_engine(name, recipe, pool, options)
    whole, target = speed.images_per_second, TARGETS.get(name, "")
    mfu = "" if math.isnan(speed.mfu) else f"{speed.mfu:.1%}"
    line = _line(f"{name}, end to end", recipe.data.batch, whole, target)
    print(f"{line} 1 | {speed.waited:.1%} | {mfu} | {speed.gib:.1f} |", flush=True)
    for label, step in steps_alone(recipe, options):
        images, rate = time_step(step, recipe, torch.device(options.device))
        print(f"{_line(f'… {label}', images, rate, '')} {whole / rate:.2f} | | | |", flush=True)


def _line(name: str, batch: int, rate: float, target: str) -> str:
    return f"| {name} | {batch} | {rate:,.0f} | {target} |"


def print_header(options: argparse.Namespace) -> None:
    print(
        f"\n{device_name(torch.device(options.device))}, {options.precision}, compile: {options.compile}, "
        f"2 + 10 crops, medians over {options.steps - options.warmup} steps after {options.warmup} that are "
        f"not counted; torch {torch.__version__}\n"
    )
    print("| preset | batch | images/s | target (aim) | end to end is faster | waited | MFU | peak, GiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--presets", nargs="+", default=list(TARGETS))
    parser.add_argument("--images", type=Path, help="a folder of encoded images; default: made here")
    parser.add_argument("--count", type=int, default=2048, help="images to make")
    parser.add_argument("--batch", type=int, default=0, help="0: the preset's")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--warmup", type=int, default=60, help="first steps that are not counted")
    parser.add_argument("--log-steps", type=int, default=20)
    parser.add_argument("--readers", type=int, default=0, help="threads that read the pool; 0: as usual")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--compile", choices=["yes", "no"], default="yes")
    parser.add_argument("--reference", type=Path, help="a checkout of bytedance/ibot")
    parser.add_argument("--small", action="store_true", help="a rehearsal with a toy network")
    options = parser.parse_args()
    if options.small:
        options.count, options.steps, options.warmup, options.log_steps = 64, 12, 4, 2
    return options


def main() -> None:
    """Measure preset after preset and print the table."""
    warnings.simplefilter("ignore")  # the others' deprecations
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = options.images or scratch / "pictures"
        if options.images is None:
            write_pictures(files, options.count)
        print_header(options)
        for one in options.presets:
            measure(one, files, scratch, options)


if __name__ == "__main__":
    main()
