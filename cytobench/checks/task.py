"""Is a task sound: its files, labels, groups, folds, copies, confounds, and what its scores will be worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytobench.cards import TaskCard
from cytobench.checks import rows
from cytobench.checks.copies import Copies, find_copies
from cytobench.checks.files import decodable, unused
from cytobench.checks.noise import ASSUMED, expected_noise
from cytobench.checks.reading import Reading, read_task
from cytobench.checks.subject import Subject, described
from cytobench.checks.told import confounds
from cytobench.digests import FileDigests
from cytobench.errors import counted
from cytobench.findings import Finding
from cytobench.progress import Reporter

_NEEDS_FILES = (
    "copies", "contradicting labels", "label from file size", "label from image size", "label from colour",
    "label from sharpness", "expected noise",
)  # fmt: skip


def check_task(card: TaskCard, *, data_dirs: Sequence[Path], home: Path, reporter: Reporter) -> list[Finding]:
    """Return what an examination of the task's data found, a finding a question.

    Every image is decoded once, in the view of the task, and what was described is stored under `home`: a
    second call reads it. Nothing that is wrong with the data is raised; all of it is a finding.
    """
    digests = FileDigests(home)
    read = read_task(card, data_dirs=data_dirs, home=home, digests=digests, reporter=reporter)
    if read.subject is None:
        return [*read.findings, *(_unseen(question) for question in _NEEDS_FILES)]
    if card.precomputed:
        pictures = Finding("pictures", "skip", "None: features of another tool, so no copies or confounds.")
        return [*read.findings, *_of_rows(read), pictures, _noise(read.subject)]
    subject, imprints, broken = described(read.subject, home=home, digests=digests, reporter=reporter)
    findings = [*read.findings, decodable(read.subject, broken), *unused(read.subject), *_of_rows(read)]
    if not len(subject):
        return [*findings, *(_unseen(question) for question in _NEEDS_FILES)]
    copies = find_copies(imprints, reporter)  # shifted ones take minutes: an audit looks for them
    sha256 = digests.sha256_many(subject.items.images)
    digests.flush()
    findings += [*_copies(subject, copies, sha256), _contradictions(subject, copies)]
    return [*findings, *confounds(subject, imprints, reporter), _noise(subject)]


def _unseen(question: str) -> Finding:
    return Finding(question, "skip", "Not looked at: the data could not be read.")


def _of_rows(read: Reading) -> list[Finding]:
    subject = read.subject
    assert subject is not None
    examples = subject.examples
    first = np.unique(examples.member, return_index=True)[1]
    files = [subject.items.images[row] for row in first]
    findings = [rows.labels(subject.card, examples), rows.groups(subject.card, examples, files)]
    findings.append(rows.leakage(subject.card, examples, subject.folds))
    if subject.folds is not None:
        findings.append(rows.fold_counts(examples, subject.folds))
    return findings


def _copies(subject: Subject, copies: Copies, sha256: Sequence[str]) -> list[Finding]:
    """Tell of equal and near pictures: across folds they leak, within one they count twice."""
    leak = subject.leaks(copies.left, copies.right)
    found = []
    for name, mine in (("across folds", leak), ("within folds", ~leak)):
        pairs = copies.where(mine)
        bytes_too = sum(
            sha256[a] == sha256[b] and subject.items.images[a] != subject.items.images[b]
            for a, b in zip(pairs.left, pairs.right, strict=True)
        )
        if not len(pairs):
            continue
        says = f"Pairs of pictures that show the same {name}: {pairs.counted(bytes_too)}."
        cases = tuple(
            f"{pairs.related(at)}: {subject.pair(int(pairs.left[at]), int(pairs.right[at]))}"
            for at in range(len(pairs))
        )
        if name == "across folds":
            cure = "Keep one of each, or give both the same group: what is tested was trained on."
            found.append(Finding("copies across folds", "fail", says, cure, cases))
        else:
            cure = "Keep one of each; they count twice, and make intervals too narrow."
            found.append(Finding("copies within folds", "warn", says, cure, cases))
    if not found:
        return [
            Finding(
                "copies",
                "pass",
                f"No two of {len(subject):,} pictures are one picture, nor turned, mirrored or shifted.",
            )
        ]
    return found


def _contradictions(subject: Subject, copies: Copies) -> Finding:
    pairs = copies.where(subject.labels[copies.left] != subject.labels[copies.right])
    if not len(copies):
        return Finding(
            "contradicting labels", "pass", "There are no copies that could contradict each other."
        )
    if not len(pairs):
        return Finding(
            "contradicting labels", "pass", f"All {len(copies):,} pairs of copies carry the same label."
        )
    return Finding(
        "contradicting labels",
        "fail",
        f"With different labels: {len(pairs):,} of {counted(len(copies), 'pair')} of copies; one must be "
        "wrong.",
        "Let a person decide, or leave both out.",
        tuple(subject.pair(int(a), int(b)) for a, b in zip(pairs.left, pairs.right, strict=True)),
    )


def _noise(subject: Subject) -> Finding:
    if subject.folds is None:
        return Finding("expected noise", "skip", "Not looked at: there are no folds to be scored.")
    noise = expected_noise(subject.examples, subject.folds)
    says = (
        f"A balanced accuracy here will carry ± {noise.half_width:.1f} points (95 %), and a difference of "
        f"{noise.detectable:.1f} points between two backbones is found four times in five, over "
        f"{counted(noise.groups, 'group')}, {ASSUMED}."
    )
    if not noise.enough:
        return Finding(
            "expected noise",
            "warn",
            f"{counted(noise.groups, 'tested group is', 'tested groups are')} too few for intervals and "
            f"tests; {says[0].lower()}{says[1:]}",
            "More patients or slides are needed before two backbones can be told apart.",
        )
    return Finding("expected noise", "warn" if noise.half_width > 10 else "pass", says)
