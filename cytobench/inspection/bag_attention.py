"""What models of bags attend to: stored weights of instances, beside predictions and, where known, truth.

All of it is of outer test folds: every weight was given by a model that had not seen the bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import StoreError, UsageError, name_some
from cytobench.evaluation.dilution import telling_instances
from cytobench.evaluation.folds import generator
from cytobench.evaluation.metrics import auroc_binary, average_precision_binary
from cytobench.evaluation.plan import TaskPlan
from cytobench.evaluation.results import RunResult
from cytobench.inspection.mistakes import Judged, judged_of
from cytobench.inspection.stored import require_same_data
from cytobench.statistics.intervals import FEW_GROUPS, from_influence

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FILE = "attention-truth.json"
"""The figures of attention against instance truth, in the run's folder."""


@dataclass(frozen=True)
class Weighed:
    """A test bag and its instances, the heaviest first.

    `rows`: int64 [n], rows of the task's table; `weights`: float64 [n], summing to 1; `relative`: weights in
    multiples of an even share, 1/n; `telling`: bool [n], which instances are positive by their truth (None:
    unknown); `fold`: the name of the outer fold that tested it.
    """

    bag: str
    group: str
    label: str
    predicted: str
    confidence: float
    fold: str
    rows: Ints
    weights: Floats
    telling: npt.NDArray[np.bool_] | None = None

    @property
    def relative(self) -> Floats:
        """Weights in multiples of an even share."""
        return self.weights * len(self.weights)

    @property
    def right(self) -> bool:
        """Whether the bag's class was predicted."""
        return self.label == self.predicted

    @property
    def spread(self) -> float:
        """The share of instances that attention is spread over: exp(entropy) / n; 1 is even."""
        positive = self.weights[self.weights > 0]
        return float(np.exp(-(positive * np.log(positive)).sum()) / len(self.weights))

    @property
    def auroc(self) -> float:
        """How well weights tell positive instances from others; NaN unless there are both."""
        return float("nan") if self.telling is None else auroc_binary(self.telling, self.weights)


def weighed_bags(
    task: TaskPlan, run: RunResult, predictions: pl.DataFrame, attention: pl.DataFrame | None
) -> list[Weighed]:
    """Return every test bag of a run, sorted by name.

    Raises UsageError where the run's probe weighs no instances, DataError where the data are others than the
    run's, StoreError where weights are not of these instances.
    """
    if attention is None:
        raise UsageError(
            f"The probe {run.probe} weighs no instances, so it has no attention; choose abmil or dsmil: "
            f"cytobench run -b {run.backbone} -t {run.task} -p abmil"
        )
    require_same_data(task, run)
    table = task.data.table
    judged = judged_of({run.backbone: predictions})
    telling = telling_instances(table, task.data.classes)
    row_of = {sample: row for row, sample in enumerate(table["sample"].to_list())}
    place = {bag: k for k, bag in enumerate(judged.samples)}
    members = dict(zip(*np.unique(table["bag"].to_numpy(), return_counts=True), strict=True))
    found = []
    for (bag,), part in attention.sort("bag", "weight", descending=[False, True]).group_by(
        "bag", maintain_order=True
    ):
        samples = part["sample"].to_list()
        if bag not in place or len(samples) != members.get(bag) or any(one not in row_of for one in samples):
            raise StoreError(
                f"The stored attention of bag {bag} is not of its instances; run again with --force."
            )
        rows = np.array([row_of[one] for one in samples], np.int64)
        weights = part["weight"].to_numpy().astype(np.float64)
        fold = run.folds[int(part["fold"][0])].name
        found.append(_weighed(judged, place[bag], fold, rows, weights, telling))
    return found


def _weighed(
    judged: Judged,
    k: int,
    fold: str,
    rows: Ints,
    weights: Floats,
    telling: npt.NDArray[np.bool_] | None,
) -> Weighed:
    return Weighed(
        judged.samples[k],
        judged.groups[k],
        judged.classes[judged.labels[k]],
        judged.classes[judged.predicted[0, k]],
        float(judged.confidence[0, k]),
        fold,
        rows,
        weights / weights.sum(),
        None if telling is None else telling[rows],
    )


def choose(bags: Sequence[Weighed], named: Sequence[str], most: int, seed: int) -> list[Weighed]:
    """Return the bags `named`, or up to `most`: by turns of each class, right and wrong, drawn by `seed`.

    Raises UsageError for a name that no test bag has.
    """
    by_name = {one.bag: one for one in bags}
    absent = [name for name in named if name not in by_name]
    if absent:
        raise UsageError(
            f"No tested bag is named {name_some(absent)}; there are {name_some(by_name)}: choose by --bag."
        )
    if named:
        return [by_name[name] for name in dict.fromkeys(named)]
    strata: dict[tuple[str, bool], list[Weighed]] = {}
    for k in generator("attend", seed).permutation(len(bags)).tolist():
        strata.setdefault((bags[k].label, bags[k].right), []).append(bags[k])
    order = sorted(strata, key=lambda key: (not key[1], key[0]))
    turns = [strata[key][turn] for turn in range(len(bags)) for key in order if turn < len(strata[key])]
    return sorted(turns[:most], key=lambda one: (one.label, not one.right, one.bag))


@dataclass(frozen=True)
class TruthFigures:
    """Attention against the truth of instances, in bags that hold both kinds.

    `auroc`, `average_precision`: of each bag, averaged; `low`, `high`: 95 % interval of the former over
    groups (None: too few groups); `chance_precision`: what weights that know nothing reach on average (the
    share of positive instances; of AUROC it is 0.5). `pooled_auroc`: over all pairs of a positive and another
    instance of one bag; `pooled_precision`: over all instances by weight relative to an even share;
    `pooled_chance`: their share of positive ones.
    """

    bags: int
    groups: int
    instances: int
    positive: int
    auroc: float
    low: float | None
    high: float | None
    average_precision: float
    chance_precision: float
    pooled_auroc: float
    pooled_precision: float
    pooled_chance: float


def truth_figures(bags: Sequence[Weighed]) -> TruthFigures | None:
    """Return how well attention finds positive instances, or None where no bag with truth has both kinds."""
    mixed = [(one, one.telling) for one in bags if one.telling is not None and np.isfinite(one.auroc)]
    if not mixed:
        return None
    areas = np.array([one.auroc for one, _ in mixed])
    precisions = [average_precision_binary(telling, one.weights) for one, telling in mixed]
    pairs = np.array([telling.sum() * (~telling).sum() for _, telling in mixed])
    all_telling = np.concatenate([telling for _, telling in mixed])
    relative = np.concatenate([one.relative for one, _ in mixed])
    low, high = _interval(areas, [one.group for one, _ in mixed])
    return TruthFigures(
        bags=len(mixed),
        groups=len({one.group for one, _ in mixed}),
        instances=len(all_telling),
        positive=int(all_telling.sum()),
        auroc=float(areas.mean()),
        low=low,
        high=high,
        average_precision=float(np.mean(precisions)),
        chance_precision=float(np.mean([telling.mean() for _, telling in mixed])),
        pooled_auroc=float((areas * pairs).sum() / pairs.sum()),
        pooled_precision=average_precision_binary(all_telling, relative),
        pooled_chance=float(all_telling.mean()),
    )


def truth_record(run: RunResult, found: TruthFigures) -> dict[str, Any]:
    """Return the content of `attention-truth.json`."""
    return {
        "schema_version": 1,
        "task": run.task,
        "backbone": run.backbone,
        "probe": run.probe,
        "tuned": run.tuned,
        "run_id": run.run_id,
        "attention_sha256": run.attention_sha256,
        "truth": "instance_label; positive is what occurs in no bag of the first class",
        **vars(found),
    }


def as_records(task: TaskPlan, bags: Sequence[Weighed]) -> list[dict[str, Any]]:
    """Return bags with all their instances as JSON primitives."""
    samples = task.data.table["sample"].to_list()
    return [
        {
            "bag": one.bag,
            "group": one.group,
            "label": one.label,
            "predicted": one.predicted,
            "probability": one.confidence,
            "fold": one.fold,
            "spread": one.spread,
            "auroc": one.auroc if np.isfinite(one.auroc) else None,
            "instances": [
                {
                    "sample": samples[row],
                    "weight": float(one.weights[k]),
                    "of_even_share": float(one.relative[k]),
                    "positive": None if one.telling is None else bool(one.telling[k]),
                }
                for k, row in enumerate(one.rows.tolist())
            ],
        }
        for one in bags
    ]


def _interval(values: Floats, groups: Sequence[str]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a mean over bags, by groups (linearised, t(G - 1)); None for too few."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(codes.max()) + 1
    if count < FEW_GROUPS:
        return None, None
    pulls = np.bincount(codes, weights=values - values.mean(), minlength=count) * count / len(values)
    found = from_influence(float(values.mean()), pulls, (0.0, 1.0))
    return float(found.low), float(found.high)
