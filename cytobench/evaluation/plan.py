"""What a benchmark is about to do: tasks and backbones made ready, or the reason why one cannot be."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import polars as pl

from cytobench.cards import BackboneCard, ProbeCard, TaskCard
from cytobench.datasets.task import TaskData, load_task
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError, MissingDataError, WeightsError, WrongWeightsError
from cytobench.evaluation.custom import card_of_probe, custom_recipe
from cytobench.evaluation.examples import Examples, examples_of
from cytobench.evaluation.folds import Folds, outer_folds
from cytobench.evaluation.recipes import Recipe, recipe_of, why_not
from cytobench.evaluation.results import RunKey
from cytobench.features.items import Items, items_of
from cytobench.progress import Reporter

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
DIGESTED = ("label", "group", "bag", "split")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to compare and how.

    `probes`: None takes those of each task's card; `custom`: the cards of probes that plugins bring, by the
    names they are asked for; `folds` replaces the number of grouped folds of a card and
    `seed` is added to its split's seed; `trials`: budget of the probes that are searched (fixed grids ignore
    it); `storage`: address of the Optuna storage that holds the studies (None: a journal file per run under
    `home`); `tuned`: which of the two columns to compute; `force` recomputes results, never features;
    `rehash` believes no remembered file digest; `download` allows fetching weights.
    """

    tasks: Sequence[TaskCard]
    backbones: Sequence[BackboneCard]
    home: Path
    probes: Sequence[str] | None = None
    custom: Mapping[str, ProbeCard] = field(default_factory=dict)
    folds: int | None = None
    trials: int = 20
    storage: str | None = None
    seed: int = 0
    device: str = "auto"
    data_dirs: Sequence[Path] = ()
    tuned: tuple[bool, ...] = (False, True)
    force: bool = False
    rehash: bool = False
    download: bool = True
    batch_size: int | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Problem:
    """Why something cannot be run, as one sentence, and how tables call that."""

    status: Literal["failed", "not run"]
    reason: str


@dataclass(frozen=True)
class TaskPlan:
    """A task with its examples and folds; `items` follow the rows of `data.table`."""

    card: TaskCard
    data: TaskData
    items: Items
    examples: Examples
    folds: Folds
    manifest_digest: str
    seed: int


@dataclass(frozen=True)
class BackbonePlan:
    """A backbone and the feature space it fills; a null predictor has neither identity nor space."""

    card: BackboneCard
    identity: Mapping[str, Any] | None = None
    space_id: str | None = None

    @property
    def null(self) -> bool:
        """Whether this is the majority predictor, which sees no image."""
        return self.card.loader == "null"


@dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    task: TaskPlan
    backbone: BackbonePlan
    probe: str
    tuned: bool
    seed: int
    recipe: Recipe = field(repr=False)
    budget: int = 20

    @property
    def trials(self) -> int | None:
        """The budget of a search. Fixed grids have none: a larger one would change nothing."""
        return self.budget if self.tuned and self.recipe.searched else None

    @property
    def key(self) -> RunKey:
        """The run's identity."""
        return RunKey(
            task=self.task.card.semantics(),
            manifest_digest=self.task.manifest_digest,
            split_digest=self.task.folds.digest,
            space_id=self.backbone.space_id,
            probe=self.probe,
            tuned=self.tuned,
            search_space=self.recipe.space() if self.tuned else self.recipe.default_rule(),
            trials=self.trials,
            seed=self.seed,
        )


def attempt(make: Callable[[], T]) -> T | Problem:
    """Return what `make` returns, or the problem it raised; data or weights that are not here mean 'not run'.

    The traceback of an error nobody expected goes to the log at level DEBUG.
    """
    try:
        return make()
    except CytoBenchError as error:
        absent = isinstance(error, MissingDataError | WeightsError) and not isinstance(
            error, WrongWeightsError
        )
        return Problem("not run" if absent else "failed", str(error))
    except Exception as error:  # one broken run must not take the others with it
        _LOG.debug("unexpected error", exc_info=True)
        return Problem("failed", f"{type(error).__name__}: {error}".rstrip(": "))


def plan_task(card: TaskCard, request: RunRequest, digests: FileDigests, reporter: Reporter) -> TaskPlan:
    """Read a task's data, digest its images and draw its folds.

    Raises DataError or ProtocolError.
    """
    data = load_task(card, data_dirs=request.data_dirs, home=request.home, reporter=reporter)
    items = items_of(data.table, card.view, digests)
    examples = examples_of(data.table, data.classes, card.unit)
    if request.folds is not None and card.split.kind != "grouped-kfold":
        reporter.warn(
            f"{card.name}: its split is '{card.split.kind}', so --folds {request.folds} has no effect."
        )
    folds = outer_folds(
        examples,
        card.split,
        folds=request.folds,
        seed=request.seed,
        card_dir=card.source.parent if card.source else None,
    )
    digest = manifest_digest(data.table, items, data.classes)
    return TaskPlan(card, data, items, examples, folds, digest, request.seed)


def plan_backbone(
    card: BackboneCard, request: RunRequest, digests: FileDigests, reporter: Reporter
) -> BackbonePlan:
    """Find out which feature space a backbone fills, without loading it.

    Raises WeightsError when its weights are not at hand and EncoderError when the card cannot be built.
    """
    if card.loader == "null":
        return BackbonePlan(card)
    from cytobench.encoders import identify
    from cytobench.features.space import space_id

    identity = identify(
        card, home=request.home, digests=digests, download=request.download, reporter=reporter
    )
    return BackbonePlan(card, identity, space_id(identity))


def impossible(probe: str, task: TaskCard, request: RunRequest) -> Problem | None:
    """Return why `probe` cannot be run on a task: of another unit, unknown, or a plugin's that is broken."""
    card = attempt(partial(card_of_probe, probe, request.custom, task.source))
    if isinstance(card, Problem):
        return card
    reason = why_not(probe, task.unit, card.unit if card else None)
    return Problem("not run", reason) if reason else None


def plan_run(task: TaskPlan, backbone: BackbonePlan, probe: str, request: RunRequest, *, tuned: bool) -> Run:
    """Return one cell of the grid; raises CardError or ProbeError when a plugin's probe cannot be used."""
    recipe = recipe_for(probe, task.card, backbone.card, request.custom, device=request.device)
    return Run(task, backbone, probe, tuned, task.seed, recipe, request.trials)


def recipe_for(
    probe: str,
    task: TaskCard,
    backbone: BackboneCard,
    custom: Mapping[str, ProbeCard],
    *,
    device: str = "auto",
) -> Recipe:
    """Return how a probe, one of ours or of a plugin's, is fitted on a task's features of a backbone.

    `custom`: the cards of plugins' probes by name. Raises CardError or ProbeError when such a probe cannot be
    used.
    """
    null = backbone.loader == "null"
    card = card_of_probe(probe, custom, task.source)
    if card is not None and not null:
        return custom_recipe(card)
    return recipe_of(
        probe,
        null=null,
        standardise=backbone.standardise,
        exclude_own_group=not task.same_group_neighbours,
        device=device,
    )


def manifest_digest(table: pl.DataFrame, items: Items, classes: Sequence[str]) -> str:
    """Return the SHA-256 of what is evaluated: sample ids, item ids (content), labels, groups, bags, splits.

    Neither paths nor the order of rows enter it.
    """
    columns = [table[name].to_list() if name in table.columns else [None] * len(table) for name in DIGESTED]
    ids = [row.tobytes().hex() for row in items.ids]
    rows = sorted(zip(table["sample"].to_list(), ids, *columns, strict=True), key=lambda row: row[0])
    canonical = json.dumps([list(classes), rows], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
