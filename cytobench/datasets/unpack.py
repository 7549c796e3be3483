"""Downloads unpacked safely and resumably: archives in archives, several parts, nothing outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cytobench.datasets.listing import UNFINISHED, is_system
from cytobench.datasets.members import Member, how_by_hand, is_archive, opened
from cytobench.errors import DataError, counted, name_some
from cytobench.progress import Reporter
from cytobench.transfer.errand import Words, human_size, writing

_DEEPEST = 3
_CHUNK = 2**20
_LONGEST = 255  # bytes of a name on the usual file systems


@dataclass
class LeftOut:
    """What was not unpacked: leftovers of macOS and Windows, links, archives too deep in archives."""

    system: int = 0
    links: list[str] = field(default_factory=list)
    deep: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """Return a sentence for each kind."""
        said = []
        if self.system:
            said.append(
                f"left out: {counted(self.system, 'file')} that macOS or Windows left behind (__MACOSX, "
                "._*, …)"
            )
        if self.links:
            said.append(f"left out: {counted(len(self.links), 'link')}: {name_some(self.links)}")
        if self.deep:
            said.append(
                f"{counted(len(self.deep), 'archive')} too deep in others, still packed: "
                f"{name_some(self.deep)}"
            )
        return said


def archives_in(source: Path) -> list[Path]:
    """Return the archives of a download, a file or a folder, by name.

    Raises DataError for kinds that are unpacked by hand, and for downloads that are not finished.
    """
    files = [source] if source.is_file() else sorted(path for path in _files(source) if path.is_file())
    unfinished = [path.name for path in files if path.name.lower().endswith(UNFINISHED)]
    if unfinished:
        raise DataError(
            f"{source} holds downloads that are not finished ({name_some(unfinished)}): let the browser end "
            "them, or remove them."
        )
    by_hand = [(path, how) for path in files if (how := how_by_hand(path))]
    if by_hand:
        path, how = by_hand[0]
        raise DataError(
            f"{name_some(found.name for found, _ in by_hand)} cannot be unpacked here: do it by hand in "
            f"{path.parent} (for instance: {how.replace('PARTS', path.name.rpartition('.')[0] + '.*')}), "
            "remove the packed files, and name the folder with --from."
        )
    return [path for path in files if is_archive(path)]


def unpack(archives: Sequence[Path], source: Path, target: Path, words: Words, reporter: Reporter) -> LeftOut:
    """Unpack `archives` of the download `source`, and those inside them, into `target`; links the rest there.

    What an interrupted call has unpacked is kept: files get their name when they are whole. Raises DataError
    for what is damaged or unsafe, or does not fit on the disk.
    """
    left_out = LeftOut()
    for archive in archives:
        inside = target / archive.parent.relative_to(source) if source.is_dir() else target
        among = [other for other in archives if other.parent == archive.parent]
        _unpack_one(archive, _place(archive, inside, among), left_out, words, reporter)
    if source.is_dir():
        link_tree(source, target, words, reporter, leave=frozenset(archives))
    elif not archives:
        _link(source, target / source.name, words)
    for _ in range(_DEEPEST):
        inner = archives_in(target)
        if not inner:
            break
        for archive in inner:
            among = [other for other in inner if other.parent == archive.parent]
            _unpack_one(archive, _place(archive, archive.parent, among), left_out, words, reporter)
            archive.unlink()
    left_out.deep = [archive.relative_to(target).as_posix() for archive in archives_in(target)]
    return left_out


def link_tree(
    source: Path,
    target: Path,
    words: Words,
    reporter: Reporter,
    *,
    leave: frozenset[Path] = frozenset(),
) -> None:
    """Give the files below `source` a second name below `target` (a copy where the disk is another one)."""
    files = [path for path in _files(source) if path not in leave]
    if not files:
        return
    with reporter.task(f"copying {source.name}", len(files)) as step:
        for path in files:
            _link(path, target / path.relative_to(source), words)
            step.advance()


def _files(folder: Path) -> list[Path]:
    """Return all files below a folder, without hidden ones and what macOS or Windows left behind."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not is_system(name))
        found += [
            Path(place, name) for name in sorted(files) if not name.startswith(".") and not is_system(name)
        ]
    return found


def _link(path: Path, place: Path, words: Words) -> None:
    with writing(place.parent, words):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_file() and place.stat().st_size == path.stat().st_size:
            return
        place.unlink(missing_ok=True)
        try:
            os.link(path.resolve(), place)
        except OSError:
            temporary = place.with_name(f".{place.name}.copying")
            shutil.copy2(path, temporary)
            temporary.replace(place)


def _place(archive: Path, inside: Path, among: Sequence[Path]) -> Path:
    """Return where an archive is unpacked: files without any folder get one of the archive's name.

    Several archives of one download would mix them up otherwise; one with folders of its own names them.
    """
    if len(among) < 2:
        return inside
    with opened(archive) as (members, _):
        loose = any("/" not in member.name for member in members if member.kind == "file")
    return inside / archive.name.partition(".")[0] if loose else inside


def _unpack_one(archive: Path, target: Path, left_out: LeftOut, words: Words, reporter: Reporter) -> None:
    with opened(archive) as (members, count):
        listed = list(members) if count is not None else None
        if listed is not None:
            for member in listed:
                _require_place(archive, member.name, target)
            to_come = (member.size for member in listed if not (target / member.name).is_file())
            _require_room(archive, target, sum(to_come), words)
        with reporter.task(f"unpacking {archive.name}", len(listed) if listed is not None else None) as step:
            for member in members if listed is None else listed:
                if member.kind == "file":
                    _write(archive, member, target, words)
                else:
                    left_out.system += member.kind == "system"
                    left_out.links += [member.name] if member.kind == "link" else []
                step.advance(1, member.name.rpartition("/")[2][:40])


def _write(archive: Path, member: Member, target: Path, words: Words) -> None:
    place = target / member.name
    _require_place(archive, member.name, target)
    if place.is_file():
        if place.stat().st_size == member.size:
            return
        raise DataError(
            f"{archive.name} holds {member.name} in another form than an archive before it: unpack the parts "
            "by hand into folders of their own."
        )
    _require_room(archive, target, member.size, words)
    temporary = place.with_name(".unpacking")
    with writing(place.parent, words):
        place.parent.mkdir(parents=True, exist_ok=True)
        output = temporary.open("wb")
    with output, member.open() as packed:
        written = 0
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > member.size:
                temporary.unlink()
                raise DataError(f"{archive} unpacks to more than it declares: do not trust it.")
            with writing(place.parent, words):
                output.write(chunk)
    if written < member.size:
        temporary.unlink()
        raise DataError(f"{archive} is damaged ({member.name} is too short): download it again.")
    with writing(place.parent, words):
        temporary.replace(place)


def _require_place(archive: Path, name: str, target: Path) -> None:
    """Raise DataError where a member cannot have its name: too long, or a file and a folder share it."""
    place = target / name
    if any(len(os.fsencode(part)) > _LONGEST for part in Path(name).parts):
        raise DataError(
            f"{archive.name} holds the name {name[:60]}…, longer than a disk takes ({_LONGEST} bytes): "
            "unpack it by hand under a shorter one, and name the folder with --from."
        )
    above = next((folder for folder in place.parents if target in folder.parents and folder.is_file()), None)
    if place.is_dir() or above is not None:
        both = (above or place).relative_to(target).as_posix()
        raise DataError(
            f"{archive.name} holds {both} as a file and as a folder: unpack it by hand, and name the folder "
            "with --from."
        )


def _require_room(archive: Path, target: Path, size: int, words: Words) -> None:
    place = next(folder for folder in (target, *target.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        raise DataError(
            f"{archive.name} unpacks to {human_size(size)} but only {human_size(free)} are free in {place}; "
            f"free some space or choose another disk with {words.elsewhere}. If you expected far less, do "
            "not trust this archive."
        )
