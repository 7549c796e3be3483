"""The image files of a task, those of its sealed share too: fields in which cells lie, or single cells."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.audit.issue import KINDS, Issue, Member
from cytobench.checks.copies import Sight, find_copies
from cytobench.checks.imprints import Imprints, describe_items, fields_of, unreadable
from cytobench.checks.subject import Subject
from cytobench.digests import FileDigests
from cytobench.errors import DataError
from cytobench.images import decode
from cytobench.progress import Reporter


@dataclass(frozen=True)
class Fields:
    """Distinct image files: `images`, paths; `names`, relative ones; `rows`, the task's rows in each.

    A file without rows belongs to the sealed share.
    """

    images: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    imprints: Imprints

    @property
    def sealed(self) -> npt.NDArray[np.bool_]:
        """Whether a file belongs to the sealed share alone."""
        return np.array([not rows for rows in self.rows], bool)

    @property
    def sight(self) -> Sight:
        """How the fields are looked at once more."""
        return Sight(lambda rows: [decode(self.images[row]) for row in rows], self.images)


def read_fields(
    subject: Subject, *, home: Path, digests: FileDigests, reporter: Reporter
) -> tuple[Fields, dict[str, str]]:
    """Return all image files that can be decoded, and why others cannot."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(subject.items.images):
        rows[image].append(row)
    for image in subject.data.sealed["image"].to_list() if len(subject.data.sealed) else ():
        rows.setdefault(str(image), [])
    images = list(rows)
    broken: dict[str, str] = {}
    try:
        (imprints,) = describe_items(
            [fields_of(images, digests)], home=home, digests=digests, reporter=reporter
        )
    except DataError:
        broken = unreadable(images, reporter)
        images = [image for image in images if image not in broken]
        (imprints,) = describe_items(
            [fields_of(images, digests)], home=home, digests=digests, reporter=reporter
        )
    return Fields(tuple(images), names_of(images), tuple(tuple(rows[i]) for i in images), imprints), broken


def names_of(images: Sequence[str]) -> tuple[str, ...]:
    """Return paths below their common folder, with forward slashes."""
    if not images:
        return ()
    shared = os.path.commonpath([str(Path(image).parent) for image in images])
    return tuple(Path(os.path.relpath(image, shared)).as_posix() for image in images)


def field_issues(subject: Subject, fields: Fields, reporter: Reporter, *, cells_too: bool) -> list[Issue]:
    """Return files that show the same field.

    cells_too: whether the task's rows are whole images, whose copies are told elsewhere: then only pairs with
    a sealed file are.
    """
    sight = None if cells_too and not fields.sealed.any() else fields.sight
    pairs = find_copies(fields.imprints, reporter, sight=sight, label="comparing fields")
    sealed = fields.sealed
    found = []
    for at in range(len(pairs)):
        left, right = int(pairs.left[at]), int(pairs.right[at])
        if sealed[left] and sealed[right]:
            kind = "fields-within-fold"
        elif sealed[left] != sealed[right]:
            kind = "fields-sealed"
        elif cells_too:
            continue
        else:
            a, b = np.meshgrid(fields.rows[left], fields.rows[right])
            kind = (
                "fields-across-folds" if subject.leaks(a.ravel(), b.ravel()).any() else "fields-within-fold"
            )
        members = tuple(_member(subject, fields, row) for row in (left, right))
        found.append(Issue(KINDS[kind], members, pairs.related(at), -float(pairs.difference[at])))
    return found


def _member(subject: Subject, fields: Fields, row: int) -> Member:
    return Member("field", row, fields.names[row], place_of_field(subject, fields, row))


def place_of_field(subject: Subject, fields: Fields, row: int) -> str:
    """Return what to say of a file: how many cells, in which groups and folds."""
    mine = fields.rows[row]
    if not mine:
        return "sealed for pretraining"
    parts = [f"{len(mine)} {subject.examples.unit}s" if len(mine) > 1 else subject.place(mine[0])]
    if len(mine) > 1:
        groups = sorted({subject.groups[one] for one in mine})
        if subject.card.group != "none" and len(groups) <= 3:
            parts.append(", ".join(subject.card.group_called(group) for group in groups))
        parts.append(", ".join(sorted({subject.fold_called(one) for one in mine})))
    return ", ".join(parts)
