"""One training step of iBOT on a CPU: CytoBench beside the published code and lightly's parts, interleaved.

    python benchmarks/pretraining.py --reference CHECKOUT           # ViT-Ti/16, batch 16, 2 + 4 crops, fp32
    python benchmarks/pretraining.py --reference CHECKOUT --local 10 --bf16 --compile
    python benchmarks/pretraining.py --reference CHECKOUT --small   # a rehearsal of seconds

CHECKOUT: github.com/bytedance/ibot at da316d8. lightly takes part where it can be imported. All start from
the same weights, see the same ready crops and masks (iBOT's: half of the crops whole), and do all that a step
does; drop path is off, because chance would make losses differ. Training goes on from step to step, so losses
that stay equal say that gradients, clipping, optimiser, centres and teacher are equal, too. The script fails
when CytoBench's first loss is further than 1e-4 (relative) from the published code's.

Each has a process of its own and takes its step while the others wait. CytoBench's keeps freed memory, as
`cytobench pretrain` does, the others' are as their users run them; with --kept all keep it, with --returned
none does.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from ibot_steps import CytoBenchStep, LightlyStep, ReferenceStep, Step, alone, make_batch

from cytobench.heap import keep_freed_memory
from cytobench.pretraining.build import make_model, make_timetable
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


@dataclass(frozen=True)
class Kind:
    """Whose step it is, in which precision, compiled or not."""

    whose: str
    low: bool = False
    compiled: bool = False

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.whose}{', bf16' if self.low else ''}{', compiled' if self.compiled else ''}"


@dataclass
class Contender:
    """A step, the process that takes it, and what was measured: wall and processor seconds, losses."""

    kind: Kind
    process: Any
    pipe: Connection
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the tables have it."""
        return self.kind.name


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


def kinds(options: argparse.Namespace) -> list[Kind]:
    """Return who takes part; the first is CytoBench, fp32, not compiled."""
    variants = [(False, False)]
    variants += [(True, False)] * options.bf16 + [(False, True)] * options.compile
    variants += [(True, True)] * (options.bf16 and options.compile)
    found = [Kind(OURS, low, compiled) for low, compiled in variants]
    if options.reference:
        found.append(Kind(REFERENCE))
    if importlib.util.find_spec("lightly"):
        found += [Kind(LIGHTLY), Kind(LIGHTLY, compiled=True)][: 1 + options.compile]
    return found


def make_step(kind: Kind, recipe: Recipe, options: argparse.Namespace) -> Step:
    """Return a step; all start from the same weights, which the recipe's seed draws."""
    if kind.whose == OURS:
        return CytoBenchStep(recipe, CPU, low=kind.low, compiled=kind.compiled)
    start = make_model(recipe)
    if kind.whose == REFERENCE:
        return ReferenceStep(start, recipe, CPU, options.reference)
    return LightlyStep(start, recipe, CPU, compiled=kind.compiled)


def take_steps(kind: Kind, options: argparse.Namespace, pipe: Connection) -> None:
    """Take a step for each lap that is asked for, in a process of its own, and say what it took."""
    warnings.simplefilter("ignore")  # the others' deprecations
    if options.kept or (kind.whose == OURS and not options.returned):
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    recipe = recipe_of(options)
    table = make_timetable(recipe, recipe.data.batch)
    with alone(CPU) if kind.whose == REFERENCE else nullcontext():
        step = make_step(kind, recipe, options)
        watched = isinstance(step, CytoBenchStep) and not kind.compiled
        watch = Stopwatch.of(step) if watched else None  # type: ignore[arg-type]  # just asked
        pipe.send(make_model(recipe).student.backbone.grid)
        while (lap := pipe.recv()) is not None:
            number, batch = lap
            if watch is not None:
                watch.start()
            cpu, began = time.process_time(), time.perf_counter()
            loss = step(batch, table.at(number))
            seconds = time.perf_counter() - began
            pipe.send((seconds, time.process_time() - cpu, loss.item()))
        pipe.send(watch.medians(options.warmup) if watch is not None else {})


def begin(kind: Kind, options: argparse.Namespace) -> Contender:
    """Start the process of a contender."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=take_steps, args=(kind, options, theirs), daemon=True)
    process.start()
    return Contender(kind, process, ours)


def measure(racers: Sequence[Contender], recipe: Recipe, laps: int) -> None:
    """Let everyone take the same steps in turn."""
    grid = max(one.pipe.recv() for one in racers)  # all are ready
    for number in range(laps):
        batch = make_batch(recipe, grid=grid, images=recipe.data.batch, seed=number, device=CPU)
        for one in racers:
            one.pipe.send((number, batch))
            seconds, cpu_seconds, loss = one.pipe.recv()
            one.seconds.append(seconds)
            one.cpu_seconds.append(cpu_seconds)
            one.losses.append(loss)
        print(f"step {number + 1} of {laps}", file=sys.stderr, flush=True)
    for one in racers:
        one.pipe.send(None)
        one.parts = one.pipe.recv()
        one.process.join()


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


def print_parts(racers: Sequence[Contender]) -> None:
    """Print where the time of our steps goes."""
    watched = {one.name: one.parts for one in racers if one.parts}
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
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument("--kept", action="store_true", help="everyone keeps freed memory")
    memory.add_argument("--returned", action="store_true", help="nobody does")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    options = parser.parse_args()
    if options.small:
        small = {"size": 64, "local_size": 32, "batch": 2, "prototypes": 256}
        vars(options).update(small)
    return options


def main() -> None:
    """Measure and print; fail if CytoBench's loss is not the published one."""
    options = parse()
    recipe = recipe_of(options)
    racers = [begin(kind, options) for kind in kinds(options)]
    measure(racers, recipe, options.warmup + options.repeats)
    yardstick = next((one for one in racers if one.kind.whose == REFERENCE), racers[0])
    print_steps(racers, options, yardstick)
    print_parts(racers)
    if apart(racers[0], yardstick)[0] > SAME:
        sys.exit(f"CytoBench's first loss is not {yardstick.name}'s.")


if __name__ == "__main__":
    main()
