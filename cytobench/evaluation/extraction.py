"""Making sure that features exist before they are needed, and fetching them for a task's examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cytobench.digests import FileDigests
from cytobench.errors import EncoderError
from cytobench.evaluation.plan import BackbonePlan, Problem, RunRequest, TaskPlan, attempt
from cytobench.evaluation.recipes import Features
from cytobench.progress import Reporter

if TYPE_CHECKING:
    from cytobench.encoders import Encoder
    from cytobench.features.store import FeatureStore, Space

_NO_IMAGES = "The task has no images, only features that other tools computed: give a backbone of those."
_NO_NETWORK = "The backbone is a folder of precomputed features: it cannot see the images of this task."
Pair = tuple[str, str]
"""Names of a task and of a backbone."""


@dataclass
class Extraction:
    """The features of one benchmark; `problems` says for which task and backbone there are none.

    `rates`: images/s of each encoder that was used, its own time only.
    """

    request: RunRequest
    digests: FileDigests
    reporter: Reporter
    problems: dict[Pair, Problem] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    _encoders: dict[str, Encoder | Problem] = field(default_factory=dict)

    @property
    def store(self) -> FeatureStore:
        """The store under the request's home."""
        from cytobench.features.store import FeatureStore

        return FeatureStore(self.request.home / "features")

    def ensure(self, pairs: Sequence[tuple[TaskPlan, BackbonePlan]]) -> None:
        """Compute what is missing for `pairs`: all that the request asks for, what is stored included.

        Tasks that want the same backbones share one pass, and batches are laid over all of them, complete or
        not: only so does a run that was killed form the same batches again.
        """
        wanted: dict[tuple[str, ...], list[TaskPlan]] = {}
        backbones = {backbone.card.name: backbone for _, backbone in pairs}
        tasks = {task.card.name: task for task, _ in pairs}
        for name, task in tasks.items():
            of_task = {
                one.card.name: None for other, one in pairs if other.card.name == name and not one.null
            }
            wanted.setdefault(tuple(of_task), []).append(task)
        for names, group in wanted.items():
            lacking = [backbones[n] for n in names if any(self._misses(task, backbones[n]) for task in group)]
            if lacking:
                self._extract(group, lacking)
        self._encoders.clear()

    def load(self, task: TaskPlan, backbone: BackbonePlan) -> Features:
        """Return the features of a task's examples: float32 [n, d] or n bags; a null predictor has none."""
        if backbone.null:
            return np.zeros((len(task.examples), 0), dtype=np.float32)
        return task.examples.arrange(self._space(backbone).load(task.items.ids))

    def seconds(self, task: TaskPlan, backbone: BackbonePlan) -> dict[str, float]:
        """Return the network's time for all items of a task, if it was used now, at the rate it had."""
        # Handcrafted descriptors do all their work while images are prepared: their own rate means nothing.
        rate = None if backbone.card.loader == "handcrafted" else self.rates.get(backbone.card.name)
        return {"encode": len(task.items) / rate} if rate else {}

    def _space(self, backbone: BackbonePlan) -> Space:
        if backbone.space_id is None:
            raise EncoderError(f"The backbone {backbone.card.name} has no features; it sees no image.")
        return self.store.space(backbone.space_id, dim=backbone.card.dim)

    def _misses(self, task: TaskPlan, backbone: BackbonePlan) -> bool:
        """Whether some feature is not stored; a space that cannot be opened is for extraction to repair."""
        if backbone.space_id is None:
            return False
        missing = attempt(lambda: bool(self._space(backbone).missing(task.items.ids).any()))
        return True if isinstance(missing, Problem) else missing

    def _extract(self, tasks: Sequence[TaskPlan], backbones: Sequence[BackbonePlan]) -> None:
        """Extract in one pass; where that fails, part by part, until the culprit stands alone."""
        from cytobench.features.extract import extract

        taken_in = [plan for plan in backbones if plan.card.loader == "precomputed"]
        blind = [task for task in tasks if task.card.precomputed]
        self._take_in(tasks, taken_in)
        backbones = [plan for plan in backbones if plan not in taken_in]
        tasks = [task for task in tasks if task not in blind]
        for task, plan in product(blind, backbones):
            self.problems[task.card.name, plan.card.name] = Problem("not run", _NO_IMAGES)
        if not tasks or not backbones:
            return
        encoders = [self._encoder(backbone) for backbone in backbones]
        ready = [
            (plan, one) for plan, one in zip(backbones, encoders, strict=True) if not isinstance(one, Problem)
        ]
        for plan, one in zip(backbones, encoders, strict=True):
            if isinstance(one, Problem):
                self.problems.update({(task.card.name, plan.card.name): one for task in tasks})
        if not ready:
            return
        outcome = attempt(
            lambda: extract(
                [task.items for task in tasks],
                [encoder for _, encoder in ready],
                self.store,
                batch_size=self.request.batch_size,
                workers=self.request.workers,
                reporter=self.reporter,
            )
        )
        if not isinstance(outcome, Problem):
            self.rates |= {
                space.encoder: space.images_per_second for space in outcome.spaces if space.computed
            }
            return
        usable = [plan for plan, _ in ready]
        if len(tasks) > 1:
            for task in tasks:
                self._extract([task], usable)
        elif len(usable) > 1:
            for plan in usable:
                self._extract(tasks, [plan])
        else:
            self.problems[tasks[0].card.name, usable[0].card.name] = outcome

    def _take_in(self, tasks: Sequence[TaskPlan], backbones: Sequence[BackbonePlan]) -> None:
        """Store what other tools computed for the places of these tasks."""
        from cytobench.features.precomputed import take_in

        for task, plan in product(tasks, backbones):
            if not task.card.precomputed:
                self.problems[task.card.name, plan.card.name] = Problem("not run", _NO_NETWORK)
                continue
            table, items = task.data.table, task.items
            outcome = attempt(
                lambda plan=plan, table=table, items=items: take_in(  # type: ignore[misc]
                    plan.card, plan.identity or {}, table, items, self.store, self.reporter
                )
            )
            if isinstance(outcome, Problem):
                self.problems[task.card.name, plan.card.name] = outcome

    def _encoder(self, backbone: BackbonePlan) -> Encoder | Problem:
        name = backbone.card.name
        if name not in self._encoders:
            self._encoders[name] = attempt(lambda: self._load_encoder(backbone))
        return self._encoders[name]

    def _load_encoder(self, backbone: BackbonePlan) -> Encoder:
        from cytobench.encoders import load

        return load(
            backbone.card,
            home=self.request.home,
            digests=self.digests,
            device=self.request.device,
            download=self.request.download,
            reporter=self.reporter,
            known_as=backbone.identity,
        )
