"""The whole audit of a task: read, described, compared, and what is found put in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cytobench.audit.alike import alike, alike_between
from cytobench.audit.fields import Fields, field_issues, how_alike, read_fields
from cytobench.audit.issue import KINDS, Audit, Issue, Member
from cytobench.audit.pool import PoolSubject, kinship, open_pool, pool_features
from cytobench.audit.quality import member_of, odd_colours, odd_features, quality_issues
from cytobench.cards import BackboneCard, TaskCard
from cytobench.checks.copies import find_copies, find_copies_between
from cytobench.checks.imprints import Imprints
from cytobench.checks.reading import read_task
from cytobench.checks.subject import Subject, described
from cytobench.checks.told import confounds
from cytobench.digests import FileDigests
from cytobench.encoders import load
from cytobench.errors import DataError
from cytobench.features.extract import extract
from cytobench.features.items import Items
from cytobench.features.space import space_id
from cytobench.features.store import FeatureStore
from cytobench.images import RGB, decode
from cytobench.progress import Reporter

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """Where the pictures of an audit's members are had."""

    subject: Subject
    fields: Fields
    pools: tuple[PoolSubject, ...]

    def of(self, member: Member) -> RGB:
        """Return the picture of a member, uint8 [h, w, 3]."""
        if member.where == "field":
            return decode(self.fields.images[member.row])
        if member.where == "pool":
            number, row = divmod(member.row, _POOL_ROWS)
            return self.pools[number].picture(row)
        return self.subject.items.crops([member.row])[0]


_POOL_ROWS = 10**9


@dataclass(frozen=True)
class Request:
    """What is to be audited and where things are; `backbones` look too; `pools`: as `open_pool` says."""

    card: TaskCard
    home: Path
    data_dirs: Sequence[Path] = ()
    backbones: Sequence[BackboneCard] = ()
    pools: Sequence[str] = ()
    device: str = "auto"


def audit(
    request: Request,
    reporter: Reporter,
    *,
    allow: Collection[str] = (),
    baseline: Collection[str] = (),
) -> Audit:
    """Look through a task and return what was found.

    allow: kinds of issues that are known and accepted; baseline: keys of issues that are. Raises DataError
    where the data cannot be read at all, UsageError for an unknown pool, EncoderError and WeightsError for a
    backbone that cannot be loaded.
    """
    card, home = request.card, request.home
    digests = FileDigests(home)
    read = read_task(card, data_dirs=request.data_dirs, home=home, digests=digests, reporter=reporter)
    if read.subject is None:
        raise DataError(next(one.says for one in read.findings if one.mark == "fail"))
    subject, imprints, broken = described(read.subject, home=home, digests=digests, reporter=reporter)
    if not len(subject):
        raise DataError(f"No image of the task {card.name} can be decoded: download or copy its files again.")
    fields, broken_fields = read_fields(subject, home=home, digests=digests, reporter=reporter)
    whole = bool((subject.items.boxes[:, 2] < 0).all())
    issues = [
        *_unreadable(broken | broken_fields),
        *_copies(subject, imprints, reporter),
        *field_issues(subject, fields, reporter, cells_too=whole),
        *quality_issues(subject, imprints),
    ]
    remarks = [line for one in read.findings for line in (one.cases if one.mark == "warn" else (one.says,))
               if one.mark in ("warn", "fail")]  # fmt: skip
    remarks += [one.says for one in confounds(subject, imprints, reporter) if one.mark == "warn"]
    pools = tuple(
        open_pool(name, subject, data_dirs=request.data_dirs, home=home, digests=digests, reporter=reporter)
        for name in request.pools
    )
    for number, pool in enumerate(pools):
        issues += _pool_copies(subject, imprints, pool, number, reporter)
        remarks += [line for line in [kinship(pool, card.dataset_name)] if line]
    said = []
    for backbone in request.backbones:
        found, lines = _by_backbone(request, subject, backbone, pools, issues, digests, reporter)
        issues += found
        said += lines
    if not request.backbones:
        issues += odd_colours(subject, imprints)
    digests.flush()
    ordered = _in_order(issues, allow, baseline)
    facts = _facts(subject, fields, pools, said)
    return Audit(card.name, ordered, tuple(remarks), facts, Pictures(subject, fields, pools))


def _facts(
    subject: Subject, fields: Fields, pools: Sequence[PoolSubject], said: Sequence[str]
) -> tuple[str, ...]:
    sealed = int(fields.sealed.sum())
    first = (
        f"{len(subject):,} rows of the task in {len(fields.images) - sealed:,} image files"
        + (f", and {sealed:,} files of the share sealed for pretraining" if sealed else "")
        + ": compared by pixels, and by thumbnails and hashes that survive recompression."
    )
    return (first, *(f"Pool {pool.name}: {len(pool.names):,} pictures." for pool in pools), *said)


def _unreadable(broken: dict[str, str]) -> list[Issue]:
    return [
        Issue(
            KINDS["unreadable"],
            (Member("field", -1, Path(path).name, ""),),
            reason.replace(path, Path(path).name),
        )
        for path, reason in broken.items()
    ]


def _copies(subject: Subject, imprints: Imprints, reporter: Reporter) -> list[Issue]:
    pairs = find_copies(imprints, reporter)
    leaks = subject.leaks(pairs.left, pairs.right)
    found = []
    for at in range(len(pairs)):
        left, right = int(pairs.left[at]), int(pairs.right[at])
        members = (member_of(subject, left), member_of(subject, right))
        says, score = how_alike(pairs, at), -float(pairs.difference[at])
        kind = "copies-across-folds" if leaks[at] else "copies-within-fold"
        found.append(Issue(KINDS[kind], members, says, score))
        if subject.labels[left] != subject.labels[right]:
            names = [subject.examples.classes[int(subject.labels[row])] for row in (left, right)]
            found.append(
                Issue(
                    KINDS["contradicting-labels"],
                    members,
                    f"'{names[0]}' against '{names[1]}', {says}",
                    score,
                )
            )
    return found


def _pool_member(pool: PoolSubject, number: int, row: int) -> Member:
    return Member("pool", number * _POOL_ROWS + row, f"{pool.name}: {pool.names[row]}", f"pool {pool.name}")


def _pool_copies(
    subject: Subject, imprints: Imprints, pool: PoolSubject, number: int, reporter: Reporter
) -> list[Issue]:
    pairs = find_copies_between(imprints, pool.imprints, reporter)
    return [
        Issue(
            KINDS["pool-copies"],
            (member_of(subject, int(pairs.left[at])), _pool_member(pool, number, int(pairs.right[at]))),
            how_alike(pairs, at),
            -float(pairs.difference[at]),
        )
        for at in range(len(pairs))
    ]


def _by_backbone(
    request: Request,
    subject: Subject,
    backbone: BackboneCard,
    pools: Sequence[PoolSubject],
    before: Sequence[Issue],
    digests: FileDigests,
    reporter: Reporter,
) -> tuple[list[Issue], list[str]]:
    """Return what a backbone's features tell beyond what is known already, and what was done."""
    encoder = load(backbone, home=request.home, digests=digests, device=request.device, reporter=reporter)
    store = FeatureStore(request.home / "features")
    jobs: list[Items] = [subject.items, *(pool.items for pool in pools if pool.items is not None)]
    extract(jobs, [encoder], store, reporter=reporter)
    space = store.space(space_id(encoder.identity), dim=encoder.dim, identity=encoder.identity)
    features = _scaled(space.load(subject.items.ids), backbone, None)
    pairs, least = alike(features, reporter)
    leaks = subject.leaks(pairs.left, pairs.right)
    known = {issue.key.partition(" | ")[2] for issue in before}
    found = []
    for at in np.flatnonzero(leaks):
        members = (member_of(subject, int(pairs.left[at])), member_of(subject, int(pairs.right[at])))
        issue = Issue(KINDS["alike-across-folds"], members, f"{backbone.name}: cosine {pairs.cosine[at]:.3f}",
                      float(pairs.cosine[at]))  # fmt: skip
        if issue.key.partition(" | ")[2] not in known:
            found.append(issue)
    found += odd_features(subject, features, backbone.name)
    lines = [
        (
            f"{backbone.name}: {len(found):,} issues. Pictures are alike from a cosine of {least:.3f} on, "
            "five robust standard deviations above the median nearest neighbour of this set."
        )
    ]
    for number, pool in enumerate(pools):
        if pool.items is not None:
            others = space.load(pool.items.ids)
        else:
            others = pool_features(pool, backbone, home=request.home, digests=digests, reporter=reporter)
        own = space.load(subject.items.ids)
        near, _ = alike_between(features, _scaled(others, backbone, own), reporter)
        for place in range(len(near)):
            members = (
                member_of(subject, int(near.left[place])),
                _pool_member(pool, number, int(near.right[place])),
            )
            found.append(Issue(KINDS["alike-pool"], members, f"{backbone.name}: cosine {near.cosine[place]:.3f}",
                               float(near.cosine[place])))  # fmt: skip
    return found, lines


def _scaled(features: Floats, backbone: BackboneCard, like: Floats | None) -> Floats:
    """Return features with unit variance where the card says so, by the variance of `like`."""
    if not backbone.standardise:
        return features
    spread = (features if like is None else like).std(axis=0)
    return np.asarray(features / np.maximum(spread, 1e-6), np.float32)


def _in_order(
    issues: Sequence[Issue], allow: Collection[str], baseline: Collection[str]
) -> tuple[Issue, ...]:
    place = {name: at for at, name in enumerate(KINDS)}
    marked = [
        replace(issue, known=issue.kind.name in allow or issue.key in baseline)
        for issue in {issue.key: issue for issue in issues}.values()
    ]
    return tuple(
        sorted(marked, key=lambda issue: (place[issue.kind.name], issue.known, -issue.score, issue.key))
    )
