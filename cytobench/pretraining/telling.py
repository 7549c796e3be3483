"""What a run says of itself: a row of its log every few steps, a line of progress, a word of warning."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cytobench.errors import PretrainingError
from cytobench.pretraining.build import Timetable
from cytobench.pretraining.distributed import all_sum, world_size
from cytobench.pretraining.log import Log, Row
from cytobench.pretraining.meter import Meter
from cytobench.pretraining.recipe import Recipe
from cytobench.pretraining.stepper import TOLD
from cytobench.pretraining.watch import collapse
from cytobench.progress import Reporter, Step


@dataclass(frozen=True)
class Clock:
    """Seconds a run has been carried out for, over all interruptions."""

    before: float
    since: float

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return self.before + time.perf_counter() - self.since


class Teller:
    """Collects the steps' numbers on the device and reads them off only when something is due."""

    def __init__(
        self,
        recipe: Recipe,
        table: Timetable,
        meter: Meter,
        clock: Clock,
        reporter: Reporter,
        log: Path | None,
    ) -> None:
        self._recipe, self._table, self._meter, self._clock = recipe, table, meter, clock
        self._reporter = reporter
        self._log = Log(log) if log is not None else None
        self._told: list[Tensor] = []
        self._warned = False

    def take_back(self, steps_done: int) -> None:
        """Forget rows of the log past `steps_done`: the run goes on from there."""
        if self._log is not None:
            self._log.take_back(steps_done)

    def hear(self, told: Tensor) -> None:
        """Keep a step's numbers, on the device."""
        self._told.append(told)

    def tell(self, step: int, *, waited: float, saved_step: int, progress: Step) -> Row | None:
        """Read the numbers since the last time, up to `step`; all processes call it alike.

        Returns the row, not yet in the log. Raises PretrainingError at the first broken number, in every
        process.
        """
        if not self._told:
            return None
        steps = len(self._told)
        # every process must come to the same verdict, and one that broke breaks the sum
        told = all_sum(torch.stack(self._told)).div(world_size()).cpu()
        self._told = []
        speed = self._meter.read(step, waited)
        broken = (~torch.isfinite(told).all(dim=1)).nonzero().flatten().tolist()
        if broken:
            raise PretrainingError(_broken_sentence(step - steps + broken[0] + 1, saved_step))
        means = dict(zip(TOLD, told.double().mean(dim=0).tolist(), strict=True))
        rates = self._table.at(step - 1)
        row = Row(
            step=step,
            epoch=rates.epoch,
            images=step * self._recipe.data.batch,
            seconds=round(self._clock.seconds, 1),
            loss=means["total"],
            cls=means["cls"],
            patch=means["patch"],
            teacher_entropy=means["teacher_entropy"],
            marginal_entropy=means["marginal_entropy"],
            gradient_norm=means["gradient_norm"],
            lr=rates.lr,
            weight_decay=rates.weight_decay,
            momentum=rates.momentum,
            temperature=rates.temperature,
            images_per_second=speed.images_per_second,
            waited=speed.waited,
            mfu=speed.mfu,
        )
        progress.advance(steps, _note(row))
        self._warn_of_collapse(row)
        return row

    def write(self, row: Row) -> None:
        """Append a row to the log; raises StoreError."""
        if self._log is not None:
            self._log.add(row)

    def _warn_of_collapse(self, row: Row) -> None:
        """Say once that the teacher has collapsed; a flat answer is natural while the rate still rises."""
        sentence = collapse(row.teacher_entropy, row.marginal_entropy, self._recipe.head.out_dim)
        early = row.epoch < self._recipe.schedule.warmup_epochs and "flat answer" in sentence
        if sentence and not early and not self._warned:
            self._reporter.warn(f"Step {row.step}: {sentence}")
        self._warned = bool(sentence) and not early


def _note(row: Row) -> str:
    mfu = f", MFU {row.mfu:.0%}" if row.mfu and not math.isnan(row.mfu) else ""
    return (
        f"step {row.step:,}, {row.images_per_second:,.0f} images/s, waited {row.waited:.0%}{mfu}, "
        f"loss {row.cls:.2f} + {row.patch:.2f}, "
        f"entropy {row.teacher_entropy:.2f} / {row.marginal_entropy:.2f}"
    )


def _broken_sentence(step: int, saved_step: int) -> str:
    kept = f"step {saved_step}" if saved_step else "the start"
    return (
        f"The loss or the gradient of step {step} is no number (NaN or infinite): stopped; the last good "
        f"checkpoint is of {kept}. Start anew in another --out with a lower schedule.lr or "
        'running.precision = "fp32".'
    )
