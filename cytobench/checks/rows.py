"""What a task's table says: its labels, its groups, and which classes its folds test and train on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cytobench.cards import TaskCard
from cytobench.errors import counted
from cytobench.evaluation.examples import Examples
from cytobench.evaluation.folds import Folds
from cytobench.findings import Finding

_FEW = 10  # examples of a class, over all folds
_THIN = 3  # tested examples of a class in one fold
_MOST_OF_ALL = 0.5
_LAST_NUMBER = re.compile(r"[\W_]*\d+$")


def labels(card: TaskCard, examples: Examples) -> Finding:
    """Tell how many examples each class has, and whether names look like one class written in two ways."""
    counts = np.bincount(examples.labels, minlength=len(examples.classes))
    said = ", ".join(f"{name} {count:,}" for name, count in zip(examples.classes, counts, strict=True))
    says = f"{len(examples):,} {examples.unit}s of {len(examples.classes)} classes: {said}."
    twins = _twins(examples.classes)
    if twins:
        return Finding(
            "labels",
            "warn",
            f"{says} Some names differ only in case, spaces or punctuation.",
            "Write one class in one way, or say with `exclude` that it is left out.",
            tuple(" / ".join(f"'{name}'" for name in names) for names in twins),
        )
    few = [f"{n} ({c})" for n, c in zip(examples.classes, counts, strict=True) if c < _FEW]
    if few:
        return Finding(
            "labels",
            "warn",
            f"{says} Fewer than {_FEW} {examples.unit}s: one more or less right moves the score a lot.",
            f"Add {examples.unit}s of these classes, or drop them with `exclude` in the card.",
            tuple(few),
        )
    return Finding("labels", "pass", says)


def groups(card: TaskCard, examples: Examples, files: Sequence[str]) -> Finding:
    """Tell whether the unit that must not be split looks like one; `files`: an image of each example."""
    sizes = np.bincount(examples.group_codes)
    alone = len(sizes) == len(examples)
    if alone and card.group != "none" and card.unit == "bag":
        return Finding("groups", "pass", f"{len(sizes):,} groups ({card.group}) of one bag each.")
    if card.group == "none" or alone:
        return _ungrouped(card, examples, files)
    names = sorted(set(examples.groups))
    least, most = int(sizes.min()), int(sizes.max())
    held = f"{most:,} {examples.unit}s each"
    if most > least:
        held = f"{least:,} to {most:,} {examples.unit}s, half of them up to {int(np.median(sizes)):,}"
    says = f"{len(sizes):,} groups ({card.group}) of {held}."
    if sizes.max() > _MOST_OF_ALL * len(examples):
        return Finding(
            "groups",
            "warn",
            f"{says} The group '{names[int(sizes.argmax())]}' alone holds {sizes.max() / len(examples):.0%}.",
            "The fold that tests it trains on little else: more patients or slides are needed.",
        )
    pure = _named_by_class(examples)
    if pure:
        return Finding(
            "groups", "warn", f"{says} {pure}", "Name the column of patients or slides in `group`."
        )
    return Finding("groups", "pass", says)


def leakage(card: TaskCard, examples: Examples, folds: Folds | None) -> Finding:
    """Tell whether a group is trained on and tested.

    `folds`: None where folds could not be made, as for a group on both sides: the official split is asked.
    """
    sides: dict[str, set[str]] = defaultdict(set)
    for at, group in enumerate(examples.groups):
        side = examples.splits[at] if folds is None else str(int(folds.fold[at]))
        sides[group].add("train" if folds is None and side == "val" else side)
    torn = sorted(group for group, where in sides.items() if len(where - {""}) > 1)
    if torn:
        return Finding(
            "leakage of groups",
            "fail",
            f"Both trained and tested on: {len(torn):,} of {counted(len(sides), 'group')}; scores are too "
            "good.",
            "Correct the split so that each group lies on one side.",
            tuple(f"{group}: {', '.join(sorted(sides[group]))}" for group in torn),
        )
    if card.group == "none":
        return Finding(
            "leakage of groups",
            "skip",
            f"Nothing says which {examples.unit}s belong together, so no split could be seen to tear them.",
        )
    return Finding(
        "leakage of groups", "pass", f"None of {len(sides):,} groups lies on two sides of a split."
    )


def fold_counts(examples: Examples, folds: Folds) -> Finding:
    """Tell which classes are missing or thin in the tested part of some fold."""
    missing, thin = [], []
    for k in range(len(folds)):
        tested = np.bincount(examples.labels[folds.test(k)], minlength=len(examples.classes))
        trained = np.bincount(examples.labels[folds.train(k)], minlength=len(examples.classes))
        for code, name in enumerate(examples.classes):
            line = f"fold {folds.names[k]}: {name}, {tested[code]:,} tested, {trained[code]:,} trained on"
            if not tested[code] or not trained[code]:
                missing.append(line)
            elif min(tested[code], trained[code]) < _THIN:
                thin.append(line)
    tested_in_all = int((folds.fold >= 0).sum())
    says = f"{counted(len(folds), 'fold')} ({folds.kind}), {tested_in_all:,} tested."
    alone = folds.kind == "leave-one-group-out"
    if (missing and not alone) or thin:
        what = []
        if missing and not alone:
            what.append(f"a class is missing from a fold {len(missing)} times")
        if thin:
            what.append(f"a fold has fewer than {_THIN} of a class {len(thin)} times")
        return Finding(
            "classes per fold",
            "warn",
            f"{says} But {' and '.join(what)}: scores of single folds say little; trust the pooled ones.",
            "Fewer folds, or more groups with these classes.",
            (*([] if alone else missing), *thin),
        )
    if alone:
        return Finding("classes per fold", "pass", f"{says} Each fold is one group; scores are pooled.")
    return Finding("classes per fold", "pass", f"{says} Every class is tested and trained on in each.")


def _ungrouped(card: TaskCard, examples: Examples, files: Sequence[str]) -> Finding:
    unit = f"{examples.unit}s"
    prefixes = _prefixes(files, examples)
    if prefixes:
        n, example = prefixes
        return Finding(
            "groups",
            "warn",
            f"Each of {len(examples):,} {unit} is a group of its own, but file names share {n:,} beginnings "
            f"(such as '{example}'): they may name patients or slides, whose {unit} are now split.",
            "If they do, write them into a column of a table and name it in `group`.",
        )
    return Finding(
        "groups",
        "warn",
        f"Each of {len(examples):,} {unit} is a group of its own: {unit}, not patients, are split, so scores "
        "are optimistic and intervals too narrow.",
        "If you know patient, slide or smear, write it into a column and name that in `group`.",
    )


def _prefixes(files: Sequence[str], examples: Examples) -> tuple[int, str] | None:
    """Return how many beginnings file names share and one of them, unless they only name the classes."""
    stems = [_LAST_NUMBER.sub("", Path(file).stem) for file in files]
    members: dict[str, set[str]] = defaultdict(set)
    for stem, file in zip(stems, files, strict=True):
        members[stem].add(file)
    shared = {stem for stem, mine in members.items() if stem and len(mine) > 1}
    if len(members) > 0.8 * len(files) or len(members) < 2 * len(examples.classes) or not shared:
        return None
    return len(members), max(shared, key=lambda stem: (len(members[stem]), stem))


def _named_by_class(examples: Examples) -> str:
    if len(set(examples.groups)) > len(examples.classes):
        return ""
    of: dict[str, set[int]] = defaultdict(set)
    for group, label in zip(examples.groups, examples.labels.tolist(), strict=True):
        of[group].add(label)
    if all(len(found) == 1 for found in of.values()):
        return "Each group holds one class alone: is it another name of the label?"
    return ""


def _twins(names: Iterable[str]) -> list[list[str]]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[re.sub(r"[\W_]+", "", name).casefold()].append(name)
    return [found for found in alike.values() if len(found) > 1]
