"""From a recipe to the things that train: model, optimiser, tables of rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cytobench.errors import UsageError
from cytobench.pretraining import optim, schedules
from cytobench.pretraining.ibot import IBOT, Temperatures
from cytobench.pretraining.masked_vit import ViTShape
from cytobench.pretraining.recipe import Recipe
from cytobench.pretraining.schedules import Table
from cytobench.pretraining.start import draw_by_fan_in


def make_model(recipe: Recipe) -> IBOT:
    """Return student, teacher and centres with fresh weights from the recipe's seed; raises UsageError."""
    crops, network = recipe.crops, recipe.network
    shape = ViTShape(
        arch=network.arch,
        size=crops.global_size,
        local_sizes=(crops.local_size,) if crops.local_count else (),
        positions=network.positions,
        drop_path=network.drop_path,
        options=network.options,
    )
    torch.manual_seed(recipe.running.seed)
    model = IBOT(shape, recipe.head, replace(recipe.loss, n_global=crops.global_count))
    if recipe.start.weights == "fan-in":
        draw_by_fan_in(model, recipe.running.seed)
    return model


def make_optimizer(model: IBOT, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW over the student's two groups of parameters."""
    schedule = recipe.schedule
    groups = optim.parameter_groups(model.student, schedule.weight_decay)
    return optim.adamw(groups, betas=(schedule.beta1, schedule.beta2))


@dataclass(frozen=True)
class Rates:
    """What one step is taken with."""

    lr: float
    weight_decay: float
    momentum: float
    temperature: float
    patch_temperature: float
    epoch: int

    def temperatures(self, like: torch.Tensor) -> Temperatures:
        """Return the teacher's temperatures on `like`'s device."""
        return Temperatures.of(self.temperature, self.patch_temperature, like)


@dataclass(frozen=True)
class Timetable:
    """The rates of all steps: tables float64 [steps], and of epochs for temperatures."""

    epoch_steps: int
    lr: Table
    weight_decay: Table
    momentum: Table
    temperature: Table
    patch_temperature: Table

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return len(self.lr)

    def at(self, step: int) -> Rates:
        """Return the rates of a step, counted from 0."""
        epoch = step // self.epoch_steps
        return Rates(
            lr=float(self.lr[step]),
            weight_decay=float(self.weight_decay[step]),
            momentum=float(self.momentum[step]),
            temperature=float(self.temperature[epoch]),
            patch_temperature=float(self.patch_temperature[epoch]),
            epoch=epoch,
        )


def make_timetable(recipe: Recipe, images: int) -> Timetable:
    """Return the rates of a run over `images` images; raises UsageError when they do not fill one batch."""
    schedule, batch = recipe.schedule, recipe.data.batch
    epoch_steps = schedule.epoch_steps or images // batch
    if not epoch_steps:
        raise UsageError(
            f"{images:,} images are fewer than one batch of {batch}: give more images, a smaller data.batch, "
            "or schedule.epoch_steps."
        )
    steps = schedule.epochs * epoch_steps
    peak = schedules.scaled_learning_rate(schedule.lr, batch, schedule.lr_rule)
    spans = {"epochs": schedule.epochs, "warmup_epochs": schedule.temperature_epochs}
    return Timetable(
        epoch_steps=epoch_steps,
        lr=schedules.cosine(
            peak, schedule.final_lr, steps=steps, warmup_steps=schedule.warmup_epochs * epoch_steps
        ),
        weight_decay=schedules.cosine(schedule.weight_decay, schedule.final_weight_decay, steps=steps),
        momentum=schedules.cosine(schedule.momentum, schedule.final_momentum, steps=steps),
        temperature=schedules.teacher_temperatures(
            schedule.warmup_temperature, schedule.temperature, **spans
        ),
        patch_temperature=schedules.teacher_temperatures(
            schedule.warmup_patch_temperature, schedule.patch_temperature, **spans
        ),
    )
