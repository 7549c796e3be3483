"""Whether a backbone has seen a task's cells, smears or data set while it was pretrained."""

from __future__ import annotations

from cytobench.cards import BackboneCard, TaskCard
from cytobench.datasets import DATASETS
from cytobench.leaderboard.rows import Overlap


def overlap(backbone: BackboneCard, task: TaskCard) -> Overlap:
    """Return how close the declared pretraining sets come to the task's data set.

    "same data set": the backbone names it; "same smears": it names a set that shares patients or smears with
    it, such as other images of one release; "unknown": its training sets were not published; "unseen"
    otherwise; "" where nothing was pretrained.
    """
    if backbone.weights in ("random", "none"):
        return ""
    if task.dataset_name in backbone.pretrained_on:
        return "same data set"
    kin = set(DATASETS[task.dataset_name].same_smears_as) if task.dataset_name in DATASETS else set()
    if kin & set(backbone.pretrained_on):
        return "same smears"
    undisclosed = any(name.startswith("undisclosed") for name in backbone.pretrained_on)
    return "unknown" if undisclosed or not backbone.pretrained_on else "unseen"
