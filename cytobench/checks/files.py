"""The files of a task: whether all can be decoded, and whether some lie there without a label."""

from __future__ import annotations

from pathlib import Path

from cytobench.checks.subject import Subject
from cytobench.datasets.listing import images_in
from cytobench.errors import counted
from cytobench.findings import Finding


def decodable(subject: Subject, broken: dict[str, str]) -> Finding:
    """Tell which image files cannot be decoded; `broken`: why, by path."""
    count = len(set(subject.items.images))
    if broken:
        return Finding(
            "files",
            "fail",
            f"{len(broken):,} of {count:,} image files cannot be decoded.",
            "Copy or download them again, or take their rows out; the other questions leave them aside.",
            tuple(broken.values()),
        )
    return Finding("files", "pass", f"All {count:,} image files of {len(subject):,} rows can be decoded.")


def unused(subject: Subject) -> list[Finding]:
    """Tell of images beside those of a user's own table that no row names: they have no label.

    Not asked of known data sets, whose readers choose, nor where the card itself leaves classes out.
    """
    card = subject.card
    if isinstance(card.dataset, str) or card.exclude or card.classes:
        return []
    sealed = subject.data.sealed["image"].to_list() if len(subject.data.sealed) else []
    named = {Path(image) for image in (*subject.items.images, *sealed)}
    lying = [path for folder in sorted({path.parent for path in named}) for path in images_in(folder)]
    left = [path for path in lying if path not in named]
    if not left:
        return [Finding("images without labels", "pass", "Every image beside the task's own has a label.")]
    return [
        Finding(
            "images without labels",
            "warn",
            f"{counted(len(left), 'image lies', 'images lie')} beside the task's own without a row in the "
            "table.",
            "Give them a label, or move them elsewhere; they are not evaluated.",
            tuple(str(path) for path in left),
        )
    ]
