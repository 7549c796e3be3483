"""The training loop: one that can be read, stopped at any moment and gone on with.

The step itself is `ibot`, plain PyTorch; here are the order of things, the devices, and what is told.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cytobench.errors import PretrainingError, UsageError
from cytobench.pretraining import checkpoint, memory, optim
from cytobench.pretraining.augment import EAGER, Operations, make_crops
from cytobench.pretraining.build import Rates, Timetable, make_model, make_optimizer, make_timetable
from cytobench.pretraining.checkpoint import Position
from cytobench.pretraining.distributed import Process, wait_for_all
from cytobench.pretraining.export import Facts, card_name, export
from cytobench.pretraining.ibot import IBOT, Losses, Masks
from cytobench.pretraining.loader import Batch, Batches, Loader, Share
from cytobench.pretraining.log import Log, Row, draw_curves
from cytobench.pretraining.meter import FlopCount, Meter
from cytobench.pretraining.neighbours import Labelled, embed, knn_accuracy
from cytobench.pretraining.pool import Pool
from cytobench.pretraining.recipe import Recipe, as_dict
from cytobench.pretraining.start import whiten_head
from cytobench.pretraining.watch import collapse
from cytobench.progress import Reporter

LOG, CURVES = "log.csv", "curves.png"
_MEASURED = 256  # images that the head is whitened by, on each device
_LONG = 500  # steps from which compiling pays on a CPU
_TOLD = ("total", "cls", "patch", "teacher_entropy", "marginal_entropy")


@dataclass(frozen=True)
class Run:
    """What a training run is given: a recipe, pictures, a folder, devices, labelled cells to watch it by.

    preset: the recipe's name, for the card; prepare: called with the fresh model, to bring in weights;
    stop_after: steps of this call after which to stop as if interrupted, 0 for none.
    """

    recipe: Recipe
    pool: Pool
    folder: Path
    device: torch.device
    process: Process = Process()
    labelled: Sequence[Labelled] = ()
    preset: str = ""
    prepare: Callable[[IBOT], None] | None = None
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
    the processes cannot share, StoreError on a full disk. All processes of `torchrun` call it alike.
    """
    return _Training(run, reporter).run_to_end()


def low_precision(recipe: Recipe, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: when asked, or on "auto" where the device is fast at it."""
    if recipe.running.precision != "auto":
        return recipe.running.precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and has_tiles is not None and bool(has_tiles())


class _Training:
    def __init__(self, run: Run, reporter: Reporter) -> None:
        self.run, self.reporter = run, reporter
        recipe, process = run.recipe, run.process
        if recipe.data.batch % process.world:
            raise UsageError(
                f"data.batch = {recipe.data.batch} cannot be shared by {process.world} processes: choose a "
                "multiple."
            )
        self.images = recipe.data.batch // process.world
        self.table: Timetable = make_timetable(recipe, len(run.pool))
        self.model = make_model(recipe)
        fresh = not self._checkpoint.exists()
        if run.prepare is not None and fresh:
            run.prepare(self.model)
        self.model.to(run.device)
        pin, share = run.device.type == "cuda", Share(process.rank, process.world)
        patch_size = self.model.student.backbone.patch_size
        self.batches = Batches(run.pool, recipe, share, patch_size=patch_size, pin=pin)
        if recipe.start.whiten_head and fresh:
            self._whiten_head()
        self.low = low_precision(recipe, run.device)
        self._require_memory()
        self.optimizer = make_optimizer(self.model, recipe)
        self.position = Position()
        if self._checkpoint.exists():
            self.position = checkpoint.load(self._checkpoint, self.model, self.optimizer, rank=process.rank)
        self.operations = EAGER
        if self._compiles:
            self.model.compile_parts(dynamic=False)
            self.operations = Operations.compiled()
        self.stepped: nn.Module = self.model
        if process.world > 1:
            self.stepped = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.flops = 0.0

    @property
    def _checkpoint(self) -> Path:
        return self.run.folder / checkpoint.NAME

    @property
    def _compiles(self) -> bool:
        wanted = self.run.recipe.running.compile
        if wanted != "auto":
            return wanted == "yes"
        if self.run.device.type == "cuda":
            return True
        pays = self.table.steps >= _LONG and any(shutil.which(name) for name in ("c++", "g++", "clang++"))
        if pays:  # a compiler may be there and not work: what cannot be compiled is run as it is
            torch._dynamo.config.suppress_errors = True
        return pays

    def _require_memory(self) -> None:
        need = memory.estimate(self.model, self.run.recipe, low_precision=self.low)
        room = memory.available(self.run.device)
        memory.require(need, room, self.images, processes=self.run.process.world)

    def _whiten_head(self) -> None:
        """Let the head see differences at once, by the images of the first steps."""
        kind, change = self.batches.kinds[0], self.run.recipe.augmentation
        steps = range(-(-_MEASURED // self.images))
        parts = [self.batches.make(step) for step in steps]
        crops = [make_crops(one.pixels.to(self.run.device), one.draws[0], kind, change) for one in parts]
        whiten_head(self.model, torch.cat(crops))

    def run_to_end(self) -> Outcome:
        run, start = self.run, self.position.step
        self.first_step = start
        last = self.table.steps if not run.stop_after else min(self.table.steps, start + run.stop_after)
        loader = Loader(self.batches, range(start, last), readers=run.recipe.running.readers)
        self.log = Log(run.folder / LOG, steps_done=start) if run.process.is_first else None
        self.told: list[Tensor] = []
        self.began, self.warned = time.perf_counter(), False
        self.meter = Meter(run.recipe.data.batch, 0.0, run.device)
        if run.process.is_first and start == 0 and not self._checkpoint.exists():
            self._watch_start()
        with self.reporter.task("pretraining", self.table.steps) as progress:
            progress.advance(start)
            try:
                for batch in loader:
                    self._take(batch)
                    self._after(batch.step + 1, loader.waited, progress)
            except torch.OutOfMemoryError as error:
                raise self._out_of_memory(error) from error
        return self._finish(last)

    def _take(self, batch: Batch) -> None:
        """One step of the optimiser. Nothing here waits for the device."""
        rates = self.table.at(batch.step)
        if batch.step == self.first_step:  # count its operations once
            with FlopCount() as count:
                losses = self._losses(batch, rates)
                torch.autograd.backward(losses["total"])
            self.flops = count.total * self.run.process.world
            self.meter = Meter(self.run.recipe.data.batch, self.flops, self.run.device)
            self.meter.start(batch.step)
        else:
            losses = self._losses(batch, rates)
            torch.autograd.backward(losses["total"])
        norm = self._update(rates)
        told = [
            losses["total"].detach(),
            *(losses["cls"], losses["patch"], losses["teacher_entropy"], losses["marginal_entropy"]),
        ]
        self.told.append(torch.stack([*told, norm]))

    def _losses(self, batch: Batch, rates: Rates) -> Losses:
        device, change = self.run.device, self.run.recipe.augmentation
        pixels = batch.pixels.to(device, non_blocking=True)
        crops = [
            make_crops(pixels, draws, kind, change, self.operations)
            for draws, kind in zip(batch.draws, self.batches.kinds, strict=True)
        ]
        masks = None
        if batch.masks is not None:
            masks = Masks(*(part.to(device, non_blocking=True) for part in batch.masks))
        self.model.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.low):
            found: Losses = self.stepped(
                crops[0], crops[1] if len(crops) > 1 else None, masks, rates.temperatures(crops[0])
            )
        return found

    def _update(self, rates: Rates) -> Tensor:
        """Clip, freeze, step, and let the teacher follow; return the gradients' norm, 0-d."""
        schedule, student = self.run.recipe.schedule, self.model.student
        optim.set_rates(self.optimizer, lr=rates.lr, weight_decay=rates.weight_decay)
        if schedule.clip and schedule.clip_mode == "each":
            norm: Tensor = torch.linalg.vector_norm(optim.clip_each(student.parameters(), schedule.clip))
        else:
            norm = optim.clip_all(student.parameters(), schedule.clip or math.inf)
        optim.freeze_last_layer(student, epoch=rates.epoch, epochs=schedule.freeze_last_layer_epochs)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.ema_update(rates.momentum)
        return norm

    def _after(self, step: int, waited: float, progress: object) -> None:
        """What is due after `step` steps: log, nearest neighbours, checkpoint."""
        running = self.run.recipe.running
        is_last = step == self.table.steps
        due = {
            what: is_last or step % every == 0
            for what, every in (
                ("log", running.log_steps),
                ("knn", running.knn_steps),
                ("checkpoint", running.checkpoint_steps),
            )
        }
        if any(due.values()):
            score = self._score() if due["knn"] else math.nan
            self._tell(step, waited, score, progress)
            if score > self.position.best_score:
                self.position = replace(self.position, best_score=score, best_step=step)
                self._export(step)
        if due["checkpoint"]:
            self._save(step)

    def _tell(self, step: int, waited: float, score: float, progress: object) -> None:
        """Read the losses off the device, stop at broken numbers, write a row of the log."""
        if not self.told:
            return
        told = torch.stack(self.told).cpu()
        first = step - len(told)
        self.told = []
        broken = (~torch.isfinite(told[:, 0])).nonzero().flatten().tolist()
        if broken:
            kept = f"step {self.position.step}" if self._checkpoint.exists() else "the start"
            raise PretrainingError(
                f"The loss of step {first + broken[0] + 1} is no number (NaN or infinite): stopped; the last "
                f"good checkpoint is of {kept}. Start anew in another --out with a lower schedule.lr or "
                'running.precision = "fp32".'
            )
        means = dict(zip((*_TOLD, "norm"), told.double().mean(dim=0).tolist(), strict=True))
        rates, speed = self.table.at(step - 1), self.meter.read(step, waited)
        row = Row(
            step=step,
            epoch=rates.epoch,
            images=step * self.run.recipe.data.batch,
            seconds=round(self._seconds(), 1),
            loss=means["total"],
            cls=means["cls"],
            patch=means["patch"],
            teacher_entropy=means["teacher_entropy"],
            marginal_entropy=means["marginal_entropy"],
            gradient_norm=means["norm"],
            lr=rates.lr,
            weight_decay=rates.weight_decay,
            momentum=rates.momentum,
            temperature=rates.temperature,
            images_per_second=speed.images_per_second,
            waited=speed.waited,
            mfu=speed.mfu,
            knn=score,
        )
        if self.log is not None:
            self.log.add(row)
        self._show(row, len(told), progress)

    def _show(self, row: Row, steps: int, progress: object) -> None:
        mfu = f", MFU {row.mfu:.0%}" if row.mfu == row.mfu and row.mfu else ""
        knn = f", kNN {100 * row.knn:.1f}" if row.knn == row.knn else ""
        note = (
            f"{row.images_per_second:,.0f} images/s, waited {row.waited:.0%}{mfu}, loss {row.cls:.2f} + "
            f"{row.patch:.2f}, entropy {row.teacher_entropy:.2f} / {row.marginal_entropy:.2f}{knn}"
        )
        progress.advance(steps, note)  # type: ignore[attr-defined]
        sentence = collapse(row.teacher_entropy, row.marginal_entropy, self.run.recipe.head.out_dim)
        late = row.epoch >= self.run.recipe.schedule.warmup_epochs
        if sentence and late and not self.warned and self.run.process.is_first:
            self.warned = True
            self.reporter.warn(f"Step {row.step}: {sentence}")
        elif not sentence:
            self.warned = False

    def _score(self) -> float:
        """Return the mean balanced accuracy of nearest neighbours over the labelled sets, nan without any."""
        if not self.run.labelled or not self.run.process.is_first:
            return math.nan
        change, backbone = self.run.recipe.augmentation, self.model.teacher.backbone
        scores = []
        for one in self.run.labelled:
            with torch.autocast(self.run.device.type, dtype=torch.bfloat16, enabled=self.low):
                features = embed(backbone, one.pixels, change.mean, change.std)
            scores.append(knn_accuracy(features, one.labels, one.groups))
        return sum(scores) / len(scores)

    def _watch_start(self) -> None:
        """Say what nearest neighbours find with the fresh weights."""
        score = self._score()
        if score == score:
            self.reporter.say(f"nearest neighbours before the first step: {100 * score:.1f}")

    def _save(self, step: int) -> None:
        self.position = replace(self.position, step=step, seconds=self._seconds())
        self.began = time.perf_counter()
        checkpoint.save(self._checkpoint, self.model, self.optimizer, self.position, as_dict(self.run.recipe))
        if self.run.process.is_first:
            if not self.run.labelled:
                self._export(step)
            prototypes = self.run.recipe.head.out_dim
            title = f"{self.run.preset}, {len(self.run.pool):,} pictures"
            draw_curves(self.run.folder / LOG, self.run.folder / CURVES, prototypes=prototypes, title=title)
        wait_for_all()

    def _export(self, step: int) -> None:
        if not self.run.process.is_first:
            return
        name = card_name(self.run.folder)
        facts = Facts(
            name=name,
            title=f"{name} ({self.run.recipe.network.arch}, {len(self.run.pool):,} pictures, step {step:,})",
            preset=self.run.preset or "of its own",
            device=device_name(self.run.device),
            hours=self._seconds() / 3600,
            step=step,
            steps=self.table.steps,
        )
        recipe = self.run.recipe
        export(self.model, recipe, self.run.pool, facts, self.run.folder, dtype=recipe.running.weights)

    def _finish(self, last: int) -> Outcome:
        if self.position.step != last and last == self.table.steps:
            self._save(last)
        return Outcome(
            step=last,
            steps=self.table.steps,
            card=self.run.folder / "card.toml",
            best_score=self.position.best_score,
            best_step=self.position.best_step,
        )

    def _seconds(self) -> float:
        return self.position.seconds + time.perf_counter() - self.began

    def _out_of_memory(self, error: Exception) -> PretrainingError:
        half = max(2, self.images // 2 // 2 * 2) * self.run.process.world
        return PretrainingError(
            f"The device ran out of memory in a step over {self.images} images "
            f"({str(error).splitlines()[0]}); "
            f"data.batch = {half} should fit."
        )


def device_name(device: torch.device) -> str:
    """Return what a device is called, for a card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of a CPU" if device.type == "cpu" else device.type
