"""The whole audit of a task: read, described, compared, and what is found put in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cytobench.audit.fields import Fields, field_issues, read_fields
from cytobench.audit.issue import KINDS, Audit, Issue, Member, Need
from cytobench.audit.pool import POOL_ROWS, PoolSubject, kinship, open_pool, pool_member, require_pool
from cytobench.audit.quality import cut_off, member_of, odd_colours, quality_issues
from cytobench.audit.seen import Seen
from cytobench.cards import BackboneCard, TaskCard
from cytobench.checks.copies import MOST_MOVED, Sight, find_copies, find_copies_between
from cytobench.checks.imprints import Imprints
from cytobench.checks.reading import Reading, read_task
from cytobench.checks.subject import Subject, described, sight_of
from cytobench.checks.told import confounds
from cytobench.digests import FileDigests
from cytobench.errors import DataError, counted
from cytobench.images import RGB, decode
from cytobench.pictures.licence import refuse_blind
from cytobench.progress import Reporter


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
            number, row = divmod(member.row, POOL_ROWS)
            return self.pools[number].picture(row)
        return self.subject.items.crops([member.row])[0]


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
    card = request.card
    refuse_blind([card])
    for name in request.pools:
        require_pool(name)  # before minutes of reading
    seen = _described(request, FileDigests(request.home), reporter)
    issues, remarks = _of_data(seen), list(_of_card(seen))
    issues += _of_pictures(seen)
    pools = _pools(request, seen)
    for number, pool in enumerate(pools):
        issues += _pool_copies(seen, pool, number)
        remarks += [line for line in [kinship(pool, card.dataset_name)] if line]
    found, said = _by_backbones(request, seen.subject, pools, issues, seen.digests, reporter)
    issues += found if request.backbones else odd_colours(seen.subject, seen.imprints)
    seen.digests.flush()
    ordered = _in_order(issues, allow, baseline)
    facts = _facts(seen.subject, seen.fields, pools, said)
    pictures = Pictures(seen.subject, seen.fields, pools)
    return Audit(card.name, ordered, tuple(remarks), facts, _had(request), pictures)


@dataclass(frozen=True)
class _Described:
    """A task's rows and files with their imprints; `broken`: files that cannot be decoded, and why."""

    read: Reading
    subject: Subject
    imprints: Imprints
    fields: Fields
    broken: dict[str, str]
    sight: Sight
    digests: FileDigests
    reporter: Reporter


def _described(request: Request, digests: FileDigests, reporter: Reporter) -> _Described:
    card, home = request.card, request.home
    read = read_task(card, data_dirs=request.data_dirs, home=home, digests=digests, reporter=reporter)
    if read.subject is None:
        wrong = next(one for one in read.findings if one.mark == "fail")
        raise DataError("; ".join([wrong.says, *wrong.cases]))
    subject, imprints, broken = described(read.subject, home=home, digests=digests, reporter=reporter)
    if not len(subject):
        raise DataError(f"No image of the task {card.name} can be decoded: download or copy its files again.")
    fields, broken_fields = read_fields(subject, home=home, digests=digests, reporter=reporter)
    sight = sight_of(subject, digests)
    return _Described(read, subject, imprints, fields, broken | broken_fields, sight, digests, reporter)


def _of_data(seen: _Described) -> list[Issue]:
    return [*_broken_data(seen.read), *_unreadable(seen.broken)]


def _of_pictures(seen: _Described) -> list[Issue]:
    whole = bool((seen.subject.items.boxes[:, 2] < 0).all())
    return [
        *_copies(seen.subject, seen.imprints, seen.sight, seen.reporter),
        *field_issues(seen.subject, seen.fields, seen.reporter, cells_too=whole),
        *quality_issues(seen.subject, seen.imprints),
        *cut_off(seen.subject)[0],
    ]


def _of_card(seen: _Described) -> list[str]:
    """Return remarks that concern no single picture."""
    remarks = [line for one in seen.read.findings if one.mark == "warn" for line in one.cases]
    remarks += [remark for remark in [cut_off(seen.subject)[1]] if remark]
    found = confounds(seen.subject, seen.imprints, seen.reporter)
    return remarks + [one.says for one in found if one.mark == "warn"]


def _pools(request: Request, seen: _Described) -> tuple[PoolSubject, ...]:
    return tuple(
        open_pool(
            name,
            seen.subject,
            data_dirs=request.data_dirs,
            home=request.home,
            digests=seen.digests,
            reporter=seen.reporter,
        )
        for name in request.pools
    )


def _had(request: Request) -> frozenset[Need]:
    named: dict[Need, bool] = {"backbone": bool(request.backbones), "pool": bool(request.pools)}
    return frozenset(need for need, there in named.items() if there)


def _by_backbones(
    request: Request,
    subject: Subject,
    pools: Sequence[PoolSubject],
    before: Sequence[Issue],
    digests: FileDigests,
    reporter: Reporter,
) -> tuple[list[Issue], list[str]]:
    """Return what backbones tell beyond the issues `before`, and a line about each of them."""
    issues, said = list(before), []
    for backbone in request.backbones:
        seen = Seen.by(
            backbone,
            subject,
            pools,
            home=request.home,
            device=request.device,
            digests=digests,
            reporter=reporter,
        )
        found, line = seen.issues(subject, pools, issues, reporter)
        issues += found
        said.append(line)
    return issues[len(before) :], said


def _facts(
    subject: Subject, fields: Fields, pools: Sequence[PoolSubject], said: Sequence[str]
) -> tuple[str, ...]:
    sealed = int(fields.sealed.sum())
    first = (
        f"{len(subject):,} rows of the task in {len(fields.images) - sealed:,} image files"
        + (f", and {counted(sealed, 'file')} of the share sealed for pretraining" if sealed else "")
        + ": compared by pixels, and by thumbnails and hashes that survive recompression."
    )
    if len(subject) > MOST_MOVED:
        first += " Turned and shifted copies were not looked for among so many."
    return (first, *(f"Pool {pool.name}: {len(pool.names):,} pictures." for pool in pools), *said)


def _broken_data(read: Reading) -> list[Issue]:
    """Return an issue for each row or problem that keeps data from being evaluated."""
    found = []
    for one in read.findings:
        if one.mark == "fail":
            named: list[tuple[Member, ...]] = [(Member("field", -1, case, ""),) for case in one.cases]
            members = named or [()]
            found += [Issue(KINDS["data"], member, one.says) for member in members]
    return found


def _unreadable(broken: dict[str, str]) -> list[Issue]:
    return [
        Issue(
            KINDS["unreadable"],
            (Member("field", -1, Path(path).name, ""),),
            reason.replace(path, Path(path).name),
        )
        for path, reason in broken.items()
    ]


def _copies(subject: Subject, imprints: Imprints, sight: Sight, reporter: Reporter) -> list[Issue]:
    pairs = find_copies(imprints, reporter, sight=sight)
    leaks = subject.leaks(pairs.left, pairs.right)
    found = []
    for at in range(len(pairs)):
        left, right = int(pairs.left[at]), int(pairs.right[at])
        members = (member_of(subject, left), member_of(subject, right))
        says, score = pairs.related(at), -float(pairs.difference[at])
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


def _pool_copies(seen: _Described, pool: PoolSubject, number: int) -> list[Issue]:
    sights = (seen.sight, pool.sight)
    pairs = find_copies_between(seen.imprints, pool.imprints, seen.reporter, sights=sights)
    return [
        Issue(
            KINDS["pool-copies"],
            (member_of(seen.subject, int(pairs.left[at])), pool_member(pool, number, int(pairs.right[at]))),
            pairs.related(at),
            -float(pairs.difference[at]),
        )
        for at in range(len(pairs))
    ]


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
