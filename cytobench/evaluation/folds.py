"""Which examples are tested when: grouped, stratified and seeded, the same for every backbone and probe."""

from __future__ import annotations

import hashlib
import json
import os.path
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cytobench.cards import Split
from cytobench.datasets import is_inside
from cytobench.errors import CardError, ProtocolError
from cytobench.evaluation.examples import Examples, Ints
from cytobench.manifest import name_some

INNER_FOLDS = 3
"""Every outer fold is tuned on this many inner ones: a run of five outer folds fits 1,350 linear probes."""
_ATTEMPTS = 20


@dataclass(frozen=True)
class Folds:
    """Outer folds over the examples of a task.

    `fold`: int16 [n], the fold in which an example is tested, -1 = never tested; `trainable`: bool [n],
    whether it is trained on in all other folds; `names`: one name per fold.
    """

    kind: str
    samples: tuple[str, ...]
    fold: npt.NDArray[np.int16]
    trainable: npt.NDArray[np.bool_]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of folds."""
        return len(self.names)

    def train(self, k: int) -> Ints:
        """Return the positions of the training examples of fold `k`, ascending."""
        return np.flatnonzero(self.trainable & (self.fold != k))

    def test(self, k: int) -> Ints:
        """Return the positions of the test examples of fold `k`, ascending."""
        return np.flatnonzero(self.fold == k)

    @property
    def pooled_ranking(self) -> bool:
        """Whether ranking metrics are pooled over folds: one group alone may hold a single class."""
        return self.kind == "leave-one-group-out"

    @property
    def digest(self) -> str:
        """SHA-256 of who is trained and tested on in which fold; neither row order nor paths enter it."""
        rows = zip(self.samples, self.fold.tolist(), self.trainable.tolist(), strict=True)
        canonical = json.dumps([sorted(rows), len(self)], separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def table(self, examples: Examples) -> pl.DataFrame:
        """Return the folds as a table: sample, group, fold, trainable."""
        return pl.DataFrame(
            {
                "sample": list(self.samples),
                "group": list(examples.groups),
                "fold": self.fold,
                "trainable": self.trainable,
            }
        )


def outer_folds(
    examples: Examples, split: Split, *, folds: int | None = None, seed: int = 0, card_dir: Path | None = None
) -> Folds:
    """Return the outer folds that `split` declares for `examples`.

    `folds` replaces the card's number of folds and `seed` is added to the card's seed (both for
    grouped-kfold only); `card_dir` is where a file split's relative path starts. Raises CardError when that
    path leaves the card's folder, or the plugin folder around its `tasks/`; ProtocolError when a fold cannot
    be made or is unsound: fewer groups than folds, a group on both sides, a class that is missing from a
    training part.
    """
    if len(set(examples.labels.tolist())) < 2:
        raise ProtocolError(
            f"All {len(examples)} {examples.unit}s carry one label, so there is nothing to tell apart; "
            "check the card's `label`, `classes` and `exclude`."
        )
    if split.kind == "grouped-kfold":
        return _grouped(examples, folds or split.folds, split.seed + seed)
    if split.kind == "official":
        made = _official(examples)
    elif split.kind == "file":
        made = _from_file(examples, _split_path(split, card_dir))
    else:
        made = _leave_one_group_out(examples)
    _require_sound(made, examples)
    return made


def inner_folds(
    labels: Ints, groups: Ints, key: tuple[Any, ...], *, wanted: int = INNER_FOLDS
) -> npt.NDArray[np.int16] | None:
    """Return grouped, stratified folds int16 [n] over training rows, or None where two cannot be made.

    `key` names what is tuned (task, outer fold, seed): the folds are drawn from it alone, so that every
    backbone and probe is tuned on the same ones. Fewer than `wanted` are made when there are too few groups.
    """
    return _inner_folds(labels.tobytes(), groups.tobytes(), key, wanted)


@lru_cache(maxsize=512)  # asked for again by every backbone and probe of a task
def _inner_folds(
    label_bytes: bytes, group_bytes: bytes, key: tuple[Any, ...], wanted: int
) -> npt.NDArray[np.int16] | None:
    labels, groups = (np.frombuffer(raw, dtype=np.int64) for raw in (label_bytes, group_bytes))
    most = min(wanted, len(np.unique(groups)), int(np.bincount(labels).max()))
    for count in range(most, 1, -1):
        for attempt in range(_ATTEMPTS):
            fold = _stratified(labels, groups, count, generator("inner folds", *key, count, attempt))
            if len(np.unique(fold)) == count and _two_classes_everywhere(labels, fold):
                fold.flags.writeable = False
                return fold
    return None


def generator(*key: Any) -> np.random.Generator:
    """Return a random generator drawn from a `SeedSequence` that `key` (strings and integers) names."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    entropy = np.frombuffer(digest, dtype=np.uint32).tolist()
    return np.random.default_rng(np.random.SeedSequence(entropy))


def _two_classes_everywhere(labels: Ints, fold: npt.NDArray[np.int16]) -> bool:
    return all(len(np.unique(labels[fold != k])) > 1 for k in np.unique(fold))


def _stratified(labels: Ints, groups: Ints, count: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return stratified folds int16 [n] that keep groups whole; scikit-learn's, shuffled by `rng`."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    _, codes = np.unique(groups, return_inverse=True)
    single = len(np.unique(codes)) == len(codes)
    order = rng.permutation(len(np.unique(codes)))
    # Groups are renumbered at random and scikit-learn's own shuffling stays off: its meaning differs
    # between scikit-learn's versions, while ties between groups are always broken by their number.
    shuffled = order[codes]
    rows = np.argsort(shuffled, kind="stable")
    splitter = StratifiedKFold(count) if single else StratifiedGroupKFold(count)
    fold = np.full(len(labels), -1, dtype=np.int16)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        parts = splitter.split(np.zeros(len(rows)), labels[rows], None if single else shuffled[rows])
        for k, (_, test) in enumerate(parts):
            fold[rows[test]] = k
    return fold


def _grouped(examples: Examples, count: int, seed: int) -> Folds:
    groups = examples.group_codes
    n_groups = len(np.unique(groups))
    if n_groups < count:
        raise ProtocolError(
            f"{count} folds need at least {count} groups but there are only {n_groups} "
            f"({len(examples)} {examples.unit}s): ask for fewer folds with --folds {max(2, n_groups)}."
        )
    largest = int(np.bincount(examples.labels).max())
    if largest < count:
        raise ProtocolError(
            f"{count} folds need a class of {count} {examples.unit}s but the largest has {largest}: "
            f"ask for fewer folds with --folds {max(2, largest)} or add {examples.unit}s."
        )
    problem: ProtocolError | None = None
    for attempt in range(_ATTEMPTS):
        fold = _stratified(examples.labels, groups, count, generator("outer folds", seed, attempt))
        made = _of_fold("grouped-kfold", examples, fold, tuple(str(k) for k in range(count)))
        try:
            _require_sound(made, examples)
        except ProtocolError as error:
            problem = error
        else:
            return made
    raise problem or ProtocolError("No folds could be made.")


def _of_fold(kind: str, examples: Examples, fold: npt.NDArray[np.int16], names: tuple[str, ...]) -> Folds:
    return Folds(kind, examples.samples, fold, np.ones(len(examples), dtype=bool), names)


def _official(examples: Examples) -> Folds:
    splits = np.asarray(examples.splits)
    if not (splits == "test").any() or not np.isin(splits, ["train", "val"]).any():
        raise ProtocolError(
            "An official split needs train and test rows in the manifest's column `split`; "
            'check the data or choose split = { kind = "grouped-kfold" }.'
        )
    fold = np.where(splits == "test", 0, -1).astype(np.int16)
    return Folds("official", examples.samples, fold, np.isin(splits, ["train", "val"]), ("official",))


def _split_path(split: Split, card_dir: Path | None) -> Path:
    """Return the split file, held to the rule of a data set's path: see `cytobench.datasets.source_path`."""
    wanted = Path(split.path).expanduser()
    if wanted.is_absolute():
        return wanted
    if card_dir is None:
        raise CardError(
            f"The split file '{split.path}' belongs to a card read from no file: write it in full."
        )
    bounds = card_dir.parent if card_dir.name == "tasks" else card_dir
    if not is_inside(card_dir / wanted, bounds):
        raise CardError(
            f"The split file '{split.path}' leaves {bounds}: move it there, or write the path in full."
        )
    return Path(os.path.normpath(card_dir / wanted))


def _from_file(examples: Examples, path: Path) -> Folds:
    try:
        raw = pl.read_csv(path, schema_overrides={"sample": pl.String})
        listed = raw.select(pl.col("sample"), pl.col("fold").cast(pl.Int16))
    except (OSError, pl.exceptions.PolarsError) as error:
        why = str(error).partition("\n")[0] if path.is_file() else "there is no such file"
        raise ProtocolError(
            f"The split file {path} cannot be read ({why}): it must be a CSV with the columns sample,fold."
        ) from error
    fold_of = dict(listed.iter_rows())
    lost = [sample for sample in examples.samples if fold_of.get(sample) is None]
    if lost or len(fold_of) != len(listed):
        what = f"has no fold for {name_some(lost)}" if lost else "lists a sample twice"
        raise ProtocolError(f"The split file {path} {what}; give each sample one line (fold -1: train only).")
    values = np.asarray([fold_of[sample] for sample in examples.samples], dtype=np.int16)
    numbers = sorted({int(value) for value in values if value >= 0})
    fold = np.full(len(values), -1, dtype=np.int16)
    for k, number in enumerate(numbers):
        fold[values == number] = k
    return _of_fold("file", examples, fold, tuple(str(number) for number in numbers))


def _leave_one_group_out(examples: Examples) -> Folds:
    names = tuple(sorted(set(examples.groups)))
    return _of_fold("leave-one-group-out", examples, examples.group_codes.astype(np.int16), names)


def _require_sound(folds: Folds, examples: Examples) -> None:
    """Raise ProtocolError unless every fold tests something, splits no group and trains on every class."""
    if not len(folds):
        raise ProtocolError("The split tests no sample at all; give at least one sample a fold of 0 or more.")
    groups = examples.group_codes
    for k in range(len(folds)):
        train, test = folds.train(k), folds.test(k)
        if not len(test) or not len(train):
            side = "test" if not len(test) else "train on"
            raise ProtocolError(f"Fold {folds.names[k]} has nothing to {side}; use fewer folds.")
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            names = sorted(set(examples.groups))
            raise ProtocolError(
                f"In fold {folds.names[k]} the groups {name_some(names[code] for code in shared)} are both "
                "trained and tested on; correct the split so that each group lies on one side."
            )
        _require_classes(folds, k, examples, train)


def _require_classes(folds: Folds, k: int, examples: Examples, train: Ints) -> None:
    present = np.unique(examples.labels)
    absent = np.setdiff1d(present, examples.labels[train])
    if not len(absent):
        return
    code = int(absent[0])
    name = examples.classes[code]
    mine = np.flatnonzero(examples.labels == code)
    n_groups = len({examples.groups[index] for index in mine})
    raise ProtocolError(
        f"Class '{name}' is missing from the training part of fold {folds.names[k]}: its {len(mine)} "
        f"{examples.unit}(s) lie in {n_groups} group(s), all held out together; "
        f'add data of this class or drop it with exclude = ["{name}"] in the task card.'
    )
