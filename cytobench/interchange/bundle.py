"""A bundle of results: one zip whose first member names all others by their SHA-256.

Members: `bundle.json` (who, with what, the digests), `tasks/`, `backbones/` and `leaderboards/` (cards as
JSON), `folds/<split digest>.parquet`, and `runs/<run id>/` with `key.json` (all that decides a run, so that
its id can be computed again), `result.json` and `predictions.parquet`. Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytobench.errors import DataError
from cytobench.features.space import canonical_json

MANIFEST = "bundle.json"
MOST_BYTES, MOST_IN_ALL, MOST_MEMBERS = 256 * 2**20, 2 * 2**30, 50_000
_DIGEST = "[0-9a-f]{64}"
_NAMES = re.compile(
    rf"bundle\.json|(tasks|backbones|leaderboards)/[A-Za-z0-9][A-Za-z0-9._-]*\.json|folds/{_DIGEST}\.parquet"
    rf"|runs/{_DIGEST}/(key\.json|result\.json|predictions\.parquet)"
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip has no earlier date, and ours has none at all

Digest = Annotated[str, Field(pattern=rf"^{_DIGEST}$")]
Lab = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(_Record):
    """One file of the bundle."""

    sha256: Digest
    bytes: int = Field(ge=0)


class Manifest(_Record):
    """The content of bundle.json.

    `lab`: who computed the runs; `coded`: whether names of samples and groups are keyed digests of
    themselves; `cards`: digest of what each task and backbone is, by `tasks/<name>` or `backbones/<name>`.
    """

    schema_version: Literal[1] = 1
    lab: Lab
    note: str = ""
    coded: bool = False
    versions: dict[str, str]
    cards: dict[str, Digest]
    members: dict[str, Member]


class Key(_Record):
    """All that decides what a run predicts: the fields of `RunKey`."""

    task: dict[str, Any]
    manifest_digest: Digest
    split_digest: Digest
    space_id: Digest | None
    probe: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    tuned: bool
    search_space: dict[str, Any]
    trials: int | None
    seed: int


def card_digest(semantics: Mapping[str, object]) -> str:
    """Return the SHA-256 of what a card means, its titles and paths aside."""
    return hashlib.sha256(canonical_json(semantics).encode("ascii")).hexdigest()


def coded(salt: str, name: str) -> str:
    """Return what stands for the name of a sample or group: HMAC-SHA-256 keyed by `salt`, 128 bits."""
    return hmac.new(salt.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]


def sealed(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of the bundle: members uncompressed, sorted, without dates or rights."""
    known = {name: Member(sha256=sha256(body), bytes=len(body)) for name, body in sorted(members.items())}
    first = manifest.model_copy(update={"members": known})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, body in {MANIFEST: _json(first), **dict(sorted(members.items()))}.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, body)
    return buffer.getvalue()


def opened(path: Path) -> tuple[Manifest, dict[str, bytes], str]:
    """Return a bundle's manifest, its members' bytes, and the SHA-256 of the manifest; nothing is unpacked.

    Raises DataError that lists everything wrong with the file: members of other names, twice, too large,
    absent, unlisted, or with other bytes than the manifest says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            problems = _strange(entries)
            if problems:
                raise DataError(f"{path} is no bundle to trust: {'; '.join(problems)}.")
            bodies = {entry.filename: _read(archive, entry) for entry in entries}
    except FileNotFoundError:
        raise DataError(f"There is no bundle at {path}; check the path.") from None
    # zipfile says NotImplementedError of unknown kinds of compression, RuntimeError of encryption.
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a bundle ({error}); fetch it again.") from error
    first = bodies.pop(MANIFEST, b"")
    try:
        manifest = Manifest.model_validate_json(first)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise DataError(f"{path}: its {MANIFEST} is absent or not one of ours ({told}).") from error
    problems = _differing(manifest.members, bodies)
    if problems:
        raise DataError(f"{path} was changed after it was made: {'; '.join(problems)}.")
    return manifest, bodies, sha256(first)


def sha256(body: bytes) -> str:
    """Return the SHA-256 of some bytes, 64 hex digits."""
    return hashlib.sha256(body).hexdigest()


def _strange(entries: list[zipfile.ZipInfo]) -> list[str]:
    names = [entry.filename for entry in entries]
    found = [f"a member is named {name!r}" for name in names if not _NAMES.fullmatch(name)][:3]
    found += [
        f"{name} is there twice" for name in sorted(n for n, times in Counter(names).items() if times > 1)[:3]
    ]
    large = [entry.filename for entry in entries if entry.file_size > MOST_BYTES]
    found += [f"{name} is larger than {MOST_BYTES / 2**20:.0f} MiB" for name in large[:3]]
    if sum(entry.file_size for entry in entries) > MOST_IN_ALL or len(entries) > MOST_MEMBERS:
        found.append("it is too large as a whole")
    return found


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read a member no further than it says it is long: what a header says of a size may be a lie."""
    with archive.open(entry) as stream:
        body = stream.read(entry.file_size + 1)
    if len(body) > entry.file_size:
        raise DataError(f"{entry.filename} in {archive.filename} is longer than it says; do not trust it.")
    return body


def _differing(members: Mapping[str, Member], bodies: Mapping[str, bytes]) -> list[str]:
    found = [f"{name} is listed and absent" for name in sorted(set(members) - set(bodies))[:3]]
    found += [f"{name} is there and not listed" for name in sorted(set(bodies) - set(members))[:3]]
    shared = sorted(set(members) & set(bodies))
    other = [name for name in shared if sha256(bodies[name]) != members[name].sha256]
    return found + [f"{name} has other bytes than listed" for name in other[:3]]


def _json(record: BaseModel) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()
