"""The training loop: one that can be read, stopped at any moment and gone on with.

A step is `stepper`, what is said of it `telling`; here is the order of things and what is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import torch

from cytobench.errors import PretrainingError, UsageError
from cytobench.features.durable import TEMPORARY
from cytobench.pretraining import checkpoint, memory
from cytobench.pretraining.build import Timetable, make_model, make_timetable
from cytobench.pretraining.checkpoint import Position
from cytobench.pretraining.distributed import Process, gather_objects, wait_for_all
from cytobench.pretraining.export import CARD, Facts, card_name, export
from cytobench.pretraining.ibot import IBOT
from cytobench.pretraining.loader import Batches, Loader, Share
from cytobench.pretraining.log import draw_curves
from cytobench.pretraining.meter import Meter, flops_per_image
from cytobench.pretraining.neighbours import Labelled, embed, knn_accuracy
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe, as_dict
from cytobench.pretraining.stepper import Stepper, compiles
from cytobench.pretraining.telling import Clock, Teller
from cytobench.progress import Reporter, Step

LOG, CURVES = "log.csv", "curves.png"
_MEASURED = 256  # images that the head is whitened by


@dataclass(frozen=True)
class Run:
    """What a training run is given: a recipe, pictures, a folder, devices, labelled cells to watch it by.

    preset: the recipe's name, for the card; prepare: called with the fresh model, to bring in weights; facts:
    what else the card is to say; stop_after: steps of this call after which to stop as if interrupted, 0 for
    none.
    """

    recipe: Recipe
    pool: Pool
    folder: Path
    device: torch.device
    process: Process = Process()
    labelled: Sequence[Labelled] = ()
    preset: str = ""
    prepare: Callable[[IBOT], None] | None = None
    facts: Facts | None = None
    stop_after: int = 0


@dataclass(frozen=True)
class Outcome:
    """Where a run ended: steps done, of how many, its card, and the best score of nearest neighbours."""

    step: int
    steps: int
    card: Path
    best_score: float
    best_step: int


def train(run: Run, reporter: Reporter) -> Outcome:
    """Train from the folder's checkpoint, or from the start, to the end of the schedule.

    Raises PretrainingError when numbers break (NaN) or memory does not suffice, UsageError for a batch that
    the processes cannot share, a folder another call trains in, or processes that see different runs;
    StoreError on a full disk. All processes of `torchrun` call it alike.
    """
    with _alone(run):
        return _Training(run, reporter).run_to_end()


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Keep a second call out of the folder, and clear away what killed ones left half-written."""
    if not run.process.is_first:
        yield
        return
    lock = filelock.FileLock(run.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UsageError(
            f"Another process trains in {run.folder}: wait for it, or give another --out."
        ) from error
    try:
        for left in run.folder.glob(f".*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
        (run.folder / ".lock").unlink(missing_ok=True)


class _Training:
    def __init__(self, run: Run, reporter: Reporter) -> None:
        self.run, self.reporter = run, reporter
        recipe, process = run.recipe, run.process
        if recipe.data.batch % process.world:
            raise UsageError(
                f"data.batch = {recipe.data.batch} cannot be shared by {process.world} processes: choose a "
                "multiple."
            )
        self.table: Timetable = make_timetable(recipe, len(run.pool))
        model = make_model(recipe)
        fresh = not self._checkpoint.exists()
        if run.prepare is not None and fresh:
            run.prepare(model)
        self.model = model.to(run.device)
        compiled = compiles(recipe, run.device, self.table.steps)
        self.batches = self._batches(Share(process.rank, process.world), padded=compiled)
        self.stepper = Stepper(self.model, recipe, self.batches.kinds, run.device)
        self._require_memory()
        self.position = Position()
        if fresh:
            torch.manual_seed(
                recipe.running.seed + process.rank
            )  # stochastic depth differs between processes
            self._whiten_head()
        else:
            optimizer, digest = self.stepper.optimizer, run.pool.digest
            self.position = checkpoint.load(
                self._checkpoint, self.model, optimizer, rank=process.rank, pool=digest
            )
        self._require_agreement()
        if compiled:
            if recipe.running.compile == "auto" and run.device.type == "cpu":
                torch._dynamo.config.suppress_errors = True  # a compiler may be there and not work
            self.stepper.compile()
        if process.world > 1:
            self.stepper.share()
        flops = flops_per_image(recipe) * recipe.data.batch
        self.meter = Meter(recipe.data.batch, flops, run.device, process.world)
        self.clock = Clock(self.position.seconds, time.perf_counter())
        log = run.folder / LOG if process.is_first else None
        self.teller = Teller(recipe, self.table, self.meter, self.clock, reporter, log)
        self.teller.take_back(self.position.step)

    def run_to_end(self) -> Outcome:
        run, start = self.run, self.position.step
        last = self.table.steps if not run.stop_after else min(self.table.steps, start + run.stop_after)
        loader = Loader(self.batches, range(start, last), readers=run.recipe.running.readers)
        if start == 0:
            self._say_first_score()
        label = f"pretraining from step {start:,}" if start else "pretraining"
        with self.reporter.task(label, self.table.steps - start) as progress:
            try:
                for batch in loader:
                    if batch.step == start:
                        self.meter.start(start, loader.waited)
                    self.teller.hear(self.stepper.take(batch, self.table.at(batch.step)))
                    self._after(batch.step + 1, loader, progress)
            except torch.OutOfMemoryError as error:
                raise self._out_of_memory(error) from error
        self._complete()
        card = self.run.folder / CARD
        return Outcome(last, self.table.steps, card, self.position.best_score, self.position.best_step)

    def _after(self, step: int, loader: Loader, progress: Step) -> None:
        """What is due after `step` steps: log, nearest neighbours, checkpoint."""
        running, is_last = self.run.recipe.running, step == self.table.steps
        log, knn, save = (
            is_last or step % every == 0
            for every in (running.log_steps, running.knn_steps, running.checkpoint_steps)
        )
        if not (log or knn or save):
            return
        row = self.teller.tell(step, waited=loader.waited, saved_step=self.position.step, progress=progress)
        score = self._score() if knn else math.nan
        if row is not None:
            self.teller.write(replace(row, knn=score))
        if score > self.position.best_score:
            self.position = replace(self.position, best_score=score, best_step=step)
            self._export(step)
        if save:
            self._save(step)
        self.meter.start(step, loader.waited)

    def _save(self, step: int) -> None:
        """Write the card's weights, then the checkpoint: after a kill in between the step is taken again."""
        self.position = replace(self.position, step=step, seconds=self.clock.seconds)
        if self.position.best_step < 0:
            self._export(step)
        recipe = as_dict(self.run.recipe)
        checkpoint.save(
            self._checkpoint,
            self.model,
            self.stepper.optimizer,
            self.position,
            recipe=recipe,
            pool=self.run.pool.digest,
        )
        if self.run.process.is_first:
            prototypes = self.run.recipe.head.out_dim
            title = f"{self.run.preset}, {len(self.run.pool):,} pictures"
            folder = self.run.folder
            draw_curves(folder / LOG, folder / CURVES, prototypes=prototypes, title=title)
        wait_for_all()

    def _complete(self) -> None:
        """Make up for a card that an earlier call did not come to write."""
        if self.position.step and not (self.run.folder / CARD).exists():
            self._export(self.position.step)

    def _export(self, step: int) -> None:
        if not self.run.process.is_first:
            return
        run, name = self.run, card_name(self.run.folder)
        facts = replace(
            run.facts or Facts(name=name),
            title=f"{name} ({run.recipe.network.arch}, {len(run.pool):,} pictures, step {step:,})",
            preset=run.preset or "of its own",
            device=device_name(run.device),
            hours=self.clock.seconds / 3600,
            step=step,
            steps=self.table.steps,
        )
        export(self.model, run.recipe, run.pool, facts, run.folder, dtype=run.recipe.running.weights)

    def _score(self) -> float:
        """Return the mean balanced accuracy of nearest neighbours over the labelled sets, nan without any."""
        if not self.run.labelled or not self.run.process.is_first:
            return math.nan
        change, backbone = self.run.recipe.augmentation, self.model.teacher.backbone
        scores = []
        for one in self.run.labelled:
            with self.stepper.autocast(), torch.compiler.set_stance("force_eager"):
                features = embed(backbone, one.pixels, change.mean, change.std)
            scores.append(knn_accuracy(features, one.labels, one.groups))
        return sum(scores) / len(scores)

    def _say_first_score(self) -> None:
        score = self._score()
        if not math.isnan(score):
            self.reporter.say(f"nearest neighbours before the first step: {100 * score:.1f}")

    def _whiten_head(self) -> None:
        """Measure the same images in every process, so that all begin alike."""
        if not self.run.recipe.start.whiten_head:
            return
        whole = self._batches(Share(), padded=False)
        steps = -(-_MEASURED // self.run.recipe.data.batch)
        self.stepper.whiten_head([whole.make(step) for step in range(steps)])

    def _batches(self, share: Share, *, padded: bool) -> Batches:
        patch_size = self.model.student.backbone.patch_size
        pin = self.run.device.type == "cuda"
        return Batches(self.run.pool, self.run.recipe, share, patch_size=patch_size, pin=pin, padded=padded)

    def _require_memory(self) -> None:
        run = self.run
        need = memory.estimate(self.model, run.recipe, low_precision=self.stepper.low_precision)
        sharing = run.process.local_world if run.device.type == "cpu" else 1
        images = run.recipe.data.batch // run.process.world
        memory.require(need, memory.available(run.device) / sharing, images, processes=run.process.world)

    def _require_agreement(self) -> None:
        """Raise UsageError unless all processes have the same pictures and the same checkpoint."""
        seen = gather_objects((self.run.pool.digest, self.position.step))
        if len(set(seen)) > 1:
            raise UsageError(
                f"The processes see different pools or checkpoints in {self.run.folder}: give --out a folder "
                "that all machines share, and --images a pool packed once."
            )

    def _out_of_memory(self, error: Exception) -> PretrainingError:
        images = self.run.recipe.data.batch
        half = max(2, images // 2 // 2 * 2)
        return PretrainingError(
            f"The device ran out of memory in a step over {images} images "
            f"({str(error).splitlines()[0]}); data.batch = {half} should fit."
        )

    @property
    def _checkpoint(self) -> Path:
        return self.run.folder / checkpoint.NAME


def device_name(device: torch.device) -> str:
    """Return what a device is called, for a card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of a CPU" if device.type == "cpu" else device.type
