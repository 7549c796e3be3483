"""Which examples backbones get wrong, how sure they are of it, and where they disagree: pure tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.errors import DataError, StoreError
from cytobench.evaluation.results import PREFIX

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What several backbones said of the same examples, sorted by sample.

    `backbones`: M names; `samples`, `groups`: n; `labels`: int64 [n], positions in `classes` (K);
    `probabilities`: float64 [M, n, K]; `predicted`: int64 [M, n].
    """

    backbones: tuple[str, ...]
    classes: tuple[str, ...]
    samples: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Ints
    probabilities: Floats
    predicted: Ints

    def __len__(self) -> int:
        """Return the number of examples, n."""
        return len(self.samples)

    @cached_property
    def right(self) -> Bools:
        """Whether each backbone names each example's label, bool [M, n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the predicted class, float64 [M, n]."""
        return np.take_along_axis(self.probabilities, self.predicted[..., None], axis=2)[..., 0]

    @cached_property
    def of_label(self) -> Floats:
        """Probability of the true class, float64 [M, n]."""
        return np.take_along_axis(self.probabilities, self.labels[None, :, None], axis=2)[..., 0]

    @cached_property
    def disagreement(self) -> Floats:
        """Jensen-Shannon divergence between the backbones' probabilities, float64 [n], from 0 to 1.

        H(mean of p_m) - mean of H(p_m), over its largest value log M (Lin 1991, IEEE Trans. Inf. Theory
        37:145, equal weights): 0, all say the same; 1, each is certain of a class of its own. Zero for a
        single backbone.
        """
        if len(self.backbones) < 2:
            return np.zeros(len(self))
        spread = _entropy(self.probabilities.mean(axis=0)) - _entropy(self.probabilities).mean(axis=0)
        return np.asarray(np.clip(spread / np.log(len(self.backbones)), 0.0, 1.0))


def judged_of(predictions: dict[str, pl.DataFrame]) -> Judged:
    """Return stored tables of predictions, by backbone, as one.

    Raises StoreError when they are not of the same examples, labels and classes, or hold no numbers.
    """
    tables = {name: table.sort("sample") for name, table in predictions.items()}
    first = next(iter(tables.values()))
    classes = tuple(name.removeprefix(PREFIX) for name in first.columns if name.startswith(PREFIX))
    for name, table in tables.items():
        if table.columns != first.columns or not table.select("sample", "label").equals(
            first.select("sample", "label")
        ):
            raise StoreError(
                f"The predictions of {name} are not of the same examples as those of "
                f"{next(iter(tables))}; run both again."
            )
    code = {name: index for index, name in enumerate(classes)}
    columns = [PREFIX + name for name in classes]
    probabilities = np.stack([table.select(columns).to_numpy() for table in tables.values()])
    if not np.isfinite(probabilities).all():
        raise StoreError("Some stored probabilities are not numbers; run again with --force.")
    return Judged(
        tuple(tables),
        classes,
        tuple(first["sample"].to_list()),
        tuple(first["group"].to_list()),
        np.array([code[label] for label in first["label"]], np.int64),
        probabilities.astype(np.float64),
        np.array([[code[one] for one in table["predicted"]] for table in tables.values()], np.int64),
    )


def confident_mistakes(judged: Judged, backbone: int, *, label: int | None = None) -> Ints:
    """Return the examples a backbone gets wrong, the surest first (of equals the first sample): int64.

    label: only those whose true class this is.
    """
    wrong = ~judged.right[backbone]
    if label is not None:
        wrong = wrong & (judged.labels == label)
    return _by(-judged.confidence[backbone], wrong)


def only_first_right(judged: Judged, one: int, other: int) -> Ints:
    """Return the examples that `one` gets right and `other` wrong, the most divergent first: int64."""
    return _by(-judged.disagreement, judged.right[one] & ~judged.right[other])


def most_disputed(judged: Judged) -> Ints:
    """Return the examples for which not all backbones predict the same, the most divergent first: int64."""
    return _by(-judged.disagreement, (judged.predicted != judged.predicted[0]).any(axis=0))


def all_wrong(judged: Judged) -> Ints:
    """Return the examples that no backbone gets right, the least probable label first: int64."""
    return _by(judged.of_label.mean(axis=0), np.logical_not(judged.right.any(axis=0)))


def confusions(judged: Judged) -> pl.DataFrame:
    """Return how often each class is taken for another: label, predicted, then a column of counts a backbone.

    Only pairs that occur, the most frequent over all backbones first.
    """
    k = len(judged.classes)
    counts = np.stack([np.bincount(judged.labels * k + row, minlength=k * k) for row in judged.predicted])
    counts[:, np.arange(k) * (k + 1)] = 0
    pairs = np.flatnonzero(counts.sum(axis=0))
    order = pairs[np.argsort(-counts.sum(axis=0)[pairs], kind="stable")]
    names = np.asarray(judged.classes, dtype=object)
    return pl.DataFrame(
        {"label": names[order // k].tolist(), "predicted": names[order % k].tolist()}
        | {name: counts[m, order] for m, name in enumerate(judged.backbones)},
        schema_overrides={"label": pl.String, "predicted": pl.String},
    )


def as_table(judged: Judged, files: Sequence[str] | None) -> pl.DataFrame:
    """Return every example that some backbone gets wrong as a row, in the order of samples.

    Columns: sample, group, file (null where images are not at hand), label, then for each backbone
    predicted, its probability, the label's probability and whether it is right; disagreement; all_wrong.
    """
    rows = np.flatnonzero(~judged.right.all(axis=0)).tolist()
    names = np.asarray(judged.classes, dtype=object)
    columns: dict[str, Any] = {
        "sample": [judged.samples[row] for row in rows],
        "group": [judged.groups[row] for row in rows],
        "file": [None if files is None else files[row] for row in rows],
        "label": names[judged.labels[rows]].tolist(),
    }
    for m, name in enumerate(judged.backbones):
        columns |= {
            f"{name}:predicted": names[judged.predicted[m, rows]].tolist(),
            f"{name}:probability": judged.confidence[m, rows],
            f"{name}:probability_of_label": judged.of_label[m, rows],
            f"{name}:right": judged.right[m, rows],
        }
    columns["disagreement"] = judged.disagreement[rows]
    columns["all_wrong"] = ~judged.right[:, rows].any(axis=0)
    text = {name: pl.String for name in columns if name in ("sample", "group", "file", "label")}
    return pl.DataFrame(
        columns, schema_overrides=text | {f"{n}:predicted": pl.String for n in judged.backbones}
    )


def positions(wanted: Sequence[str], known: Sequence[str], where: str) -> Ints:
    """Return where each of `wanted` stands in `known`; raises DataError when one is missing."""
    place = {name: index for index, name in enumerate(known)}
    lost = [name for name in wanted if name not in place]
    if lost:
        raise DataError(f"{where}: {len(lost)} examples of the stored run are gone, such as {lost[0]}.")
    return np.array([place[name] for name in wanted], np.int64)


def _by(key: Floats, among: Bools) -> Ints:
    rows = np.flatnonzero(among)
    return rows[np.argsort(key[rows], kind="stable")].astype(np.int64)


def _entropy(probabilities: Floats) -> Floats:
    """Return the entropy of the last axis in nats; 0 log 0 is 0."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(axis=-1))
