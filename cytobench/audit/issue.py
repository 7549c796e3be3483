"""What an audit reports: issues of some kinds, each with the pictures it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Where = Literal["cell", "field", "pool"]
Need = Literal["backbone", "pool"]


@dataclass(frozen=True)
class Kind:
    """A kind of issue: its heading, whether it must be mended (`fail`), what it means, and what to do.

    `needs`: without which of these it cannot be looked for.
    """

    name: str
    heading: str
    mark: Literal["fail", "warn"]
    means: str
    cure: str
    needs: frozenset[Need] = frozenset()


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "data",
            "Data that cannot be evaluated as they are",
            "fail",
            "Rows or folds are missing from what was looked at.",
            "Mend this first: `cytobench check` says more.",
        ),
        Kind(
            "copies-across-folds",
            "One picture on both sides of a split",
            "fail",
            "What is tested was trained on: scores are too good.",
            "Keep one of each, or give both the same group.",
        ),
        Kind(
            "fields-across-folds",
            "One field on both sides of a split",
            "fail",
            "Cells cut from the same field of view are tested and trained on.",
            "Give both fields the same group, or leave one out.",
        ),
        Kind(
            "fields-sealed",
            "One field in the share for pretraining and in the evaluation",
            "fail",
            "A backbone pretrained on the sealed share has seen what is tested.",
            "Give both fields the same group, so that both are sealed or neither.",
        ),
        Kind(
            "pool-copies",
            "Pictures of the pretraining pool that the task evaluates",
            "fail",
            "A backbone trained on this pool has seen what is tested.",
            "Take them out of the pool, or seal them in the task's card.",
            frozenset({"pool"}),
        ),
        Kind(
            "contradicting-labels",
            "One picture under two labels",
            "fail",
            "At least one of the labels is wrong.",
            "Let a person decide, or leave both out.",
        ),
        Kind(
            "unreadable",
            "Images that cannot be decoded",
            "fail",
            "They can neither be trained on nor tested.",
            "Copy or download them again, or take their rows out.",
        ),
        Kind(
            "copies-within-fold",
            "One picture twice on one side of a split",
            "warn",
            "It counts twice; intervals are too narrow.",
            "Keep one of each.",
        ),
        Kind(
            "fields-within-fold",
            "One field twice on one side of a split",
            "warn",
            "Its cells count twice; intervals are too narrow.",
            "Keep one of each, or use both to measure how far annotators agree.",
        ),
        Kind(
            "alike-across-folds",
            "Alike to a backbone, on both sides of a split",
            "warn",
            "Closer than nearest neighbours of this set are to each other: one cell in two pictures, or "
            "neighbours of one smear. Look at them.",
            "Where they show one cell, give both the same group.",
            frozenset({"backbone"}),
        ),
        Kind(
            "alike-pool",
            "Alike to a backbone, in the pretraining pool and in the task",
            "warn",
            "Closer than nearest neighbours of the task are to each other. Look at them.",
            "Where they show one cell, take it out of the pool.",
            frozenset({"backbone", "pool"}),
        ),
        Kind(
            "label-outlier",
            "Far from its own class and near another",
            "warn",
            "A rare form, or a wrong label.",
            "Let a person look.",
            frozenset({"backbone"}),
        ),
        Kind(
            "outlier",
            "Far from everything else",
            "warn",
            "Another stain, an artefact, or no cell at all.",
            "Let a person look.",
        ),
        Kind("blank", "Nothing to be seen", "warn", "The picture is of one tone.", "Leave it out."),
        Kind(
            "blurred",
            "Blurred",
            "warn",
            "Much less fine detail than the other pictures have for their contrast.",
            "Leave it out, or ask whether focus goes along with the label.",
        ),
        Kind(
            "off-image",
            "The view leaves the image",
            "warn",
            "More than a third of what a backbone sees is continued border.",
            "Leave out cells at the border, or choose a smaller window.",
        ),
    )
}
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Member:
    """A picture an issue is about: where its pixels are, what it is called, and what to say below it."""

    where: Where
    row: int
    name: str
    place: str


@dataclass(frozen=True)
class Issue:
    """One issue; `score`: how bad it is, for sorting within its kind; `known`: allowed or in the baseline."""

    kind: Kind
    members: tuple[Member, ...]
    says: str
    score: float = 0.0
    known: bool = False

    @property
    def key(self) -> str:
        """What the issue is called in a baseline: its kind and its pictures' names, whatever their order."""
        names = sorted(member.name for member in self.members) or [self.says]
        return " | ".join([self.kind.name, *names])

    def record(self) -> dict[str, Any]:
        """Return the issue as JSON primitives."""
        return {
            "key": self.key,
            "kind": self.kind.name,
            "mark": self.kind.mark,
            "says": self.says,
            "known": self.known,
            "pictures": [{"name": member.name, "place": member.place} for member in self.members],
        }


@dataclass(frozen=True)
class Audit:
    """What an audit found: issues by kind and score, remarks that concern no single picture, and facts.

    `had`: the backbone and pool that some kinds need, as far as they were named.
    """

    task: str
    issues: tuple[Issue, ...]
    remarks: tuple[str, ...]
    facts: tuple[str, ...]
    had: frozenset[Need] = frozenset()
    pictures: Any = field(default=None, repr=False)

    @property
    def failed(self) -> bool:
        """Whether something must be mended that is not known yet."""
        return any(issue.kind.mark == "fail" and not issue.known for issue in self.issues)

    def of_kind(self, kind: str) -> Sequence[Issue]:
        """Return the issues of one kind."""
        return [issue for issue in self.issues if issue.kind.name == kind]

    def lacks(self, kind: str) -> list[Need]:
        """Return what a kind needs and was not named: then it was not looked for."""
        return sorted(KINDS[kind].needs - self.had)
