"""One training step of iBOT on a CPU: CytoBench beside the published code and lightly's parts, interleaved.

    python benchmarks/pretraining.py --reference CHECKOUT           # ViT-Ti/16, batch 16, 2 + 4 crops, fp32
    python benchmarks/pretraining.py --reference CHECKOUT --local 10 --bf16 --compile
    python benchmarks/pretraining.py --reference CHECKOUT --small   # a rehearsal of seconds

CHECKOUT: github.com/bytedance/ibot at da316d8. lightly takes part where it can be imported. All start from
the same weights, see the same ready crops and masks (iBOT's: half of the crops whole), and do all that a step
does; drop path is off, because chance would make losses differ. Training goes on from step to step, so losses
that stay equal say that gradients, clipping, optimiser, centres and teacher are equal, too. The script fails
when CytoBench's first loss is further than 1e-4 (relative) from the published code's.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from ibot_steps import CytoBenchStep, LightlyStep, ReferenceStep, Step, alone, make_batch

from cytobench.pretraining.build import make_model, make_timetable
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.recipe import Recipe, check, override, preset

OURS, REFERENCE, LIGHTLY = "CytoBench", "bytedance/ibot", "lightly"
TARGETS = {REFERENCE: "2.5", LIGHTLY: "1"}
SAME = 1e-4
CPU = torch.device("cpu")
WHOLE = ("forward", "backward", "update")
PARTS = ("teacher: backbone", "teacher: head", "student: backbone", "student: head")


class Stopwatch:
    """Adds up the seconds spent in parts of a step, lap by lap."""

    def __init__(self) -> None:
        self.laps: list[dict[str, float]] = []

    def around(self, owner: Any, method: str, part: str) -> None:
        """Count the time of `owner.method` as `part` from now on."""
        inner = getattr(owner, method)

        @wraps(inner)
        def timed(*arguments: Any, **keys: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **keys)
            finally:
                self.laps[-1][part] += time.perf_counter() - began

        setattr(owner, method, timed)

    def start(self) -> None:
        """Begin a lap."""
        self.laps.append(defaultdict(float))

    @classmethod
    def of(cls, step: CytoBenchStep) -> Stopwatch:
        """Return a watch on the parts of a step that is not compiled."""
        watch, model = cls(), step.model
        for part in WHOLE:
            watch.around(step, part, part)
        for part, owner, method in (
            ("teacher: backbone", model.teacher.backbone, "forward"),
            ("teacher: head", model.teacher.head, "forward"),
            ("teacher: head", model.teacher.head, "scores"),
            ("student: backbone", model.student.backbone, "select"),
            ("student: head", model.student.head, "forward"),
            ("student: head", model.student.head, "scores"),
        ):
            watch.around(owner, method, part)
        return watch

    def medians(self, skip: int) -> dict[str, float]:
        """Return each part's median seconds over the laps after the first `skip`."""
        laps = self.laps[skip:]
        inside = [sum(lap[part] for part in PARTS) for lap in laps]
        found = {part: statistics.median(lap[part] for lap in laps) for part in PARTS}
        found["losses, centres"] = statistics.median(
            lap["forward"] - known for lap, known in zip(laps, inside, strict=True)
        )
        return found | {part: statistics.median(lap[part] for lap in laps) for part in WHOLE[1:]}


@dataclass
class Contender:
    """A step, its watch if it has one, and what was measured: wall and processor seconds, losses."""

    name: str
    step: Step
    watch: Stopwatch | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the published recipe with the network and sizes asked for; an epoch is one step.

    Without a warm-up and at the full rate, so that the weights move.
    """
    settings = {
        "network": {"arch": options.arch, "drop_path": 0.0},
        "head": {"out_dim": options.prototypes, "patch_out_dim": options.prototypes},
        "crops": {
            "global_size": options.size,
            "local_size": options.local_size,
            "local_count": options.local,
        },
        "schedule": {"epoch_steps": 1, "warmup_epochs": 0, "lr_rule": "none"},
        "data": {"batch": options.batch},
    }
    return check(override(preset("ibot-imagenet-vits16"), settings, where="options"))


def contenders(options: argparse.Namespace, recipe: Recipe, start: IBOT) -> list[Contender]:
    """Return who takes part, all with the weights of `start`; the first is CytoBench, fp32, not compiled."""
    variants = [(False, False)]
    variants += [(True, False)] * options.bf16 + [(False, True)] * options.compile
    variants += [(True, True)] * (options.bf16 and options.compile)
    found = []
    for low, compiled in variants:
        ours = CytoBenchStep(recipe, CPU, low=low, compiled=compiled)
        name = f"{OURS}{', bf16' if low else ''}{', compiled' if compiled else ''}"
        found.append(Contender(name, ours, None if compiled else Stopwatch.of(ours)))
    if options.reference:
        found.append(Contender(REFERENCE, ReferenceStep(start, recipe, CPU, options.reference)))
    if importlib.util.find_spec("lightly"):
        found.append(Contender(LIGHTLY, LightlyStep(start, recipe, CPU)))
        if options.compile:
            found.append(Contender(f"{LIGHTLY}, compiled", LightlyStep(start, recipe, CPU, compiled=True)))
    return found


def measure(racers: Sequence[Contender], recipe: Recipe, *, grid: int, laps: int) -> None:
    """Let everyone take the same steps in turn."""
    table = make_timetable(recipe, recipe.data.batch)
    for number in range(laps):
        batch = make_batch(recipe, grid=grid, images=recipe.data.batch, seed=number, device=CPU)
        for one in racers:
            if one.watch is not None:
                one.watch.start()
            cpu, began = time.process_time(), time.perf_counter()
            loss = one.step(batch, table.at(number))
            one.seconds.append(time.perf_counter() - began)
            one.cpu_seconds.append(time.process_time() - cpu)
            one.losses.append(loss.item())
        print(f"step {number + 1} of {laps}", file=sys.stderr, flush=True)


def apart(one: Contender, other: Contender) -> list[float]:
    """Return how far two contenders' losses lie from each other, relative, step by step."""
    return [abs(a - b) / abs(b) for a, b in zip(one.losses, other.losses, strict=True)]


def times(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Return the median of the ratios of steps taken one after the other."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def print_steps(racers: Sequence[Contender], options: argparse.Namespace, yardstick: Contender) -> None:
    """Print one line per contender."""
    print(
        f"\n{options.arch}, K = {options.prototypes}, batch {options.batch}, 2 crops of {options.size} and "
        f"{options.local} of {options.local_size} px, {options.threads} threads, medians of "
        f"{options.repeats} interleaved steps after {options.warmup} that are not counted, torch "
        f"{torch.__version__}.\nOff by: how far the loss is from that of {yardstick.name}, relative, in the "
        f"first step and at most.\n"
    )
    print(f"| step | seconds | times {OURS} | in CPU time | target | first loss | off by, first | at most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    skip = options.warmup
    for one in racers:
        ratio = times(one.seconds[skip:], racers[0].seconds[skip:])
        cpu = times(one.cpu_seconds[skip:], racers[0].cpu_seconds[skip:])
        distances = apart(one, yardstick)
        print(
            f"| {one.name} | {statistics.median(one.seconds[skip:]):.3f} | **{ratio:.2f}** | {cpu:.2f} | "
            f"{TARGETS.get(one.name, '')} | {one.losses[0]:.5f} | {distances[0]:.1e} | {max(distances):.1e} |"
        )


def print_parts(racers: Sequence[Contender], skip: int) -> None:
    """Print where the time of our steps goes."""
    watched = {one.name: one.watch.medians(skip) for one in racers if one.watch is not None}
    print(f"\n| part | {' | '.join(f'{name}, s | share' for name in watched)} |")
    print("| --- |" + " ---: | ---: |" * len(watched))
    for part in next(iter(watched.values())):
        cells = [f"{found[part]:.3f} | {found[part] / sum(found.values()):.0%}" for found in watched.values()]
        print(f"| {part} | {' | '.join(cells)} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a checkout of bytedance/ibot")
    parser.add_argument("--arch", default="vit_tiny_patch16_224")
    parser.add_argument("--size", type=int, default=224, help="side of global crops, px")
    parser.add_argument("--local-size", type=int, default=96)
    parser.add_argument("--local", type=int, default=4, help="local crops an image")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prototypes", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2, help="first steps that are not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="CytoBench in bfloat16 too")
    parser.add_argument("--compile", action="store_true", help="compiled steps too")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    options = parser.parse_args()
    if options.small:
        small = {"size": 64, "local_size": 32, "batch": 2, "prototypes": 256}
        vars(options).update(small)
    return options


def main() -> None:
    """Measure and print; fail if CytoBench's loss is not the published one."""
    warnings.simplefilter("ignore")  # the others' deprecations
    options = parse()
    torch.set_num_threads(options.threads)
    torch._dynamo.config.recompile_limit = 64  # the contenders' graphs share one cache
    recipe = recipe_of(options)
    with alone(CPU) if options.reference else nullcontext():
        start = make_model(recipe)
        racers = contenders(options, recipe, start)
        grid = start.student.backbone.grid
        measure(racers, recipe, grid=grid, laps=options.warmup + options.repeats)
    yardstick = next((one for one in racers if one.name == REFERENCE), racers[0])
    print_steps(racers, options, yardstick)
    print_parts(racers, options.warmup)
    if apart(racers[0], yardstick)[0] > SAME:
        sys.exit(f"CytoBench's first loss is not {yardstick.name}'s.")


if __name__ == "__main__":
    main()
