"""The files of a data set from its official host: asked for once, checked, resumed, kept beside the data."""

from __future__ import annotations

import difflib
import json
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cytobench.datasets.info import DatasetInfo, Download
from cytobench.datasets.words import as_data_error, downloads_of, words_of
from cytobench.errors import DataError, UsageError
from cytobench.progress import Reporter
from cytobench.transfer.errand import Words, alone, human_size, writing
from cytobench.transfer.stream import Remote, digests_of, download

REJECTED = ".rejected"
_NOTES = ".digests.json"


@dataclass(frozen=True)
class Shopping:
    """What `fetch` will do: the `files` of `info` into `folder`; `missing` are not there yet."""

    info: DatasetInfo
    folder: Path
    files: tuple[Download, ...]

    @property
    def missing(self) -> tuple[Download, ...]:
        """The files that are not in the folder yet."""
        return tuple(file for file in self.files if not (self.folder / file.file).is_file())

    @property
    def size(self) -> int | None:
        """Bytes of the missing files, None where a host does not say."""
        return replace(self.info, files=self.missing).download_size if self.missing else 0


def plan(info: DatasetInfo, to: Path, names: Sequence[str] = ()) -> Shopping:
    """Return what would be fetched into the data folder `to`: the files of `info`, or those of `names`.

    Raises UsageError for a name that is none of its files, DataError when the disk has no room for them.
    """
    by_name = {file.file: file for file in info.files}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(by_name)}."
            raise UsageError(f"{info.name} has no file '{name}' to download; {hint}")
    files = tuple(by_name[name] for name in dict.fromkeys(names)) or tuple(
        file for file in info.files if not file.optional
    )
    shopping = Shopping(info, downloads_of(info, to), files)
    known = sum((file.size or 0) - _arrived(shopping.folder, file) for file in shopping.missing)
    free = shutil.disk_usage(_existing(to)).free
    if known > free:
        raise DataError(
            f"{info.name} needs {human_size(known)} but only {human_size(free)} are free in {to}; free some "
            "space or choose another disk with --to."
        )
    return shopping


def fetch(shopping: Shopping, reporter: Reporter) -> tuple[Path, ...]:
    """Download what is missing, check every file, and return where they lie, in the order of `files`.

    A file is checked against the published SHA-256 or MD5; where its host publishes none, its SHA-256 is
    noted at the first download and compared from then on. Killed at any byte, the next call goes on. Raises
    DataError with one sentence that says what to do.
    """
    words = words_of(shopping.info)
    label = f"files of {shopping.info.name}"
    with (
        as_data_error(),
        alone(shopping.folder, words, label, reporter),
        reporter.task(label, len(shopping.files)) as step,
    ):
        for file in shopping.files:
            _fetch_one(shopping, file, words, reporter)
            step.advance(1, file.file)
    return tuple(shopping.folder / file.file for file in shopping.files)


@dataclass(frozen=True)
class _Errand:
    """One file of a data set that is wanted, for the transfer."""

    info: DatasetInfo
    file: Download
    folder: Path
    reporter: Reporter
    words: Words

    @property
    def uri(self) -> str:
        """The file's name, with its data set."""
        return f"{self.info.name}/{self.file.file}"

    def announce(self, where: str, size: int | None) -> None:
        """Say which file comes from where, and how much it is."""
        amount = "size unknown" if size is None else human_size(size)
        self.reporter.say(f"downloading {self.file.file} ({amount}) from {urlsplit(self.file.url).netloc}")

    def out_of_reach(self, host: str, reason: str, page: str) -> DataError:
        """Return the error for a server out of reach, with the way to bring the file by hand."""
        place = self.folder.parent / PurePosixPath(self.file.file).name
        return DataError(
            f"cannot reach {host} for {self.uri} ({reason}); check the connection and run the same command "
            f"again, or download {page} elsewhere and put the file at {place}."
        )


def _fetch_one(shopping: Shopping, file: Download, words: Words, reporter: Reporter) -> None:
    place = shopping.folder / file.file
    noted = _notes(shopping.folder).get(file.file, "")
    if place.is_file():
        _check_held(place, file, noted, shopping.folder, words)
        return
    parts = place.with_name(f"{place.name}.partial")
    with writing(parts, words):
        parts.mkdir(parents=True, exist_ok=True)
    errand = _Errand(shopping.info, file, parts, reporter, words)
    remote = Remote(file.url, file.url, sha256=file.sha256 or noted, size=file.size, md5=file.md5)
    received = download(errand, remote)
    _note(shopping.folder, file.file, received.sha256, words)
    with writing(place.parent, words):
        received.part.path.replace(place)
        shutil.rmtree(parts, ignore_errors=True)
    if not (file.sha256 or file.md5 or noted):
        reporter.say(
            f"{file.file}: its host publishes no digest; its SHA-256 {received.sha256} is noted, and "
            "compared from now on"
        )


def _check_held(place: Path, file: Download, noted: str, folder: Path, words: Words) -> None:
    """Compare a file that is here already with what is published or noted; a wrong one is put aside."""
    with place.open("rb") as held:
        found, md5 = digests_of(held, also_md5=bool(file.md5))
    wanted = file.sha256 or noted
    if wanted == found or (not wanted and file.md5 == md5) or not (wanted or file.md5):
        if noted != found:
            _note(folder, file.file, found, words)
        return
    with suppress(OSError):
        place.replace(place.with_name(place.name + REJECTED))
    says = "its publisher says" if file.sha256 or file.md5 else "its first download had"
    raise DataError(
        f"{place} has SHA-256 {found} where {says} {wanted or f'MD5 {file.md5}'}; it was renamed to "
        f"{place.name}{REJECTED}: run again to download it anew."
    )


def _notes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 noted for each file; a note that cannot be read counts as none."""
    try:
        noted = json.loads((folder / _NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in noted.items()} if isinstance(noted, dict) else {}


def _note(folder: Path, name: str, digest: str, words: Words) -> None:
    temporary = folder / f"{_NOTES}.{secrets.token_hex(4)}"
    with writing(folder, words):
        temporary.write_text(json.dumps(_notes(folder) | {name: digest}, indent=1), encoding="utf-8")
        temporary.replace(folder / _NOTES)


def _arrived(folder: Path, file: Download) -> int:
    """Return how many bytes of a missing file an earlier attempt has left."""
    with suppress(OSError):
        return min((folder / f"{file.file}.partial" / ".part").stat().st_size, file.size or 0)
    return 0


def _existing(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
