"""From what a card says about its weights to a file on this machine whose digest is known."""

from __future__ import annotations

import importlib
import os.path
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cytobench.digests import FileDigests
from cytobench.encoders.deposit import REJECTED, WORDS, Deposit, Order, Provenance
from cytobench.errors import TransferError, WeightsError, WrongFileError, WrongWeightsError
from cytobench.progress import Reporter, SilentReporter
from cytobench.transfer.errand import Words, alone

_FETCHERS = {
    "hf-hub:": "cytobench.encoders.hub",
    "https://": "cytobench.encoders.fetch",
    "http://": "cytobench.encoders.fetch",
    "gdrive:": "cytobench.encoders.gdrive",
}


class Digests(Protocol):
    """Whatever can tell the SHA-256 of a file, 64 hex digits."""

    def sha256(self, path: Path) -> str:
        """Return the digest of the file's bytes."""


@dataclass(frozen=True)
class ResolvedWeights:
    """A file of weights that may be used."""

    path: Path
    sha256: str
    """Digest of the bytes in `path`, 64 hex digits."""
    revision: str
    """The commit on the hub, else empty."""
    first_use: bool
    """Whether the digest was taken on trust or recorded just now."""


def resolve(
    uri: str,
    *,
    sha256: str = "",
    card_dir: Path | None,
    home: Path,
    gated: bool = False,
    licence_url: str = "",
    download: bool = True,
    reporter: Reporter | None = None,
    digests: Digests | None = None,
    words: Words = WORDS,
    customary: tuple[str, ...] = (),
) -> ResolvedWeights:
    """Return the file a card names, fetching it into `<home>/weights` where needed and allowed.

    `uri` is `hf-hub:OWNER/REPO[@REVISION][:FILE]`, `https://…`, `http://…`, `gdrive:<id>`, `shipped:NAME`, or
    the path of a file relative to `card_dir`. A given `sha256` is always checked; without one, a fetched file
    is trusted at first use and compared at every later one. With `download` off nothing is fetched. `digests`
    spares hashing a large file twice; `words`: how messages speak of the file; `customary`: file names to
    look for first in a repository where `uri` names none. Raises WeightsError, always one sentence that says
    what to do.
    """
    reporter = reporter or SilentReporter()
    digests = digests or FileDigests(home)
    expected = _digest(sha256, uri)
    scheme = next((scheme for scheme in _FETCHERS if uri.startswith(scheme)), None)
    if scheme is None:
        return _local(uri, _local_path(uri, card_dir), expected, digests)
    order = Order(Deposit.of(uri, home), expected, gated, licence_url, reporter, words, customary)
    try:
        return _deposited(order, scheme, download, digests)
    except WrongFileError as error:
        raise WrongWeightsError(str(error)) from error
    except TransferError as error:
        raise WeightsError(str(error)) from error


def _deposited(order: Order, scheme: str, download: bool, digests: Digests) -> ResolvedWeights:
    deposit = order.deposit
    path = deposit.held()
    before = deposit.provenance()
    if path is None:
        if not download:
            raise WeightsError(
                f"the {order.words.things} {order.uri} are not on this machine; `cytobench extract` or "
                f"`cytobench run` with this backbone fetches them, or put the file into {deposit.folder}/ "
                "by hand."
            )
        with alone(deposit.folder, order.words, deposit.uri, order.reporter):
            path, before = deposit.held(), deposit.provenance()
            if path is None:
                return _fetched(order, scheme, before)
    return _checked(order, path, before, digests)


def _fetched(order: Order, scheme: str, before: Provenance) -> ResolvedWeights:
    fetcher = importlib.import_module(_FETCHERS[scheme])
    note: Provenance = fetcher.fetch(order, before)
    if not order.sha256:
        shared = "; as `sha256` in the card it would be checked for everybody"
        order.reporter.say(
            f"{order.uri}: SHA-256 {note.sha256} is recorded and compared at every later use"
            f"{shared if order.words is WORDS else ''}"
        )
    return ResolvedWeights(order.deposit.folder / note.file, note.sha256, note.revision, first_use=True)


def _checked(order: Order, path: Path, before: Provenance, digests: Digests) -> ResolvedWeights:
    """Compare a file that was here already with what the card, or else its first use, says."""
    found = digests.sha256(path)
    expected = order.sha256 or before.sha256
    if expected and found != expected:
        order.deposit.reject(path)
        source = "the card says" if order.sha256 else "its first use recorded"
        raise WrongWeightsError(
            f"{path} has SHA-256 {found} where {source} {expected}; it was renamed to {path.name}{REJECTED}: "
            f"run again to fetch it anew, or delete {path.parent} to start from nothing."
        )
    note = replace(before, file=path.name, sha256=found, size=path.stat().st_size)
    if note != before:
        order.deposit.write(note)
        if not expected:
            order.reporter.say(f"{path} was not fetched by us; its SHA-256 {found} is trusted from now on")
    return ResolvedWeights(path, found, note.revision, first_use=not before.sha256)


def _local(uri: str, path: Path, expected: str, digests: Digests) -> ResolvedWeights:
    if not path.is_file():
        raise WeightsError(
            f"there is no file of weights at {path} (the card says {uri!r}); correct the path."
        )
    found = digests.sha256(path)
    if expected and found != expected:
        raise WrongWeightsError(
            f"{path} has SHA-256 {found} where the card says {expected}; bring the right file, or correct "
            "`sha256` in the card."
        )
    return ResolvedWeights(path, found, "", first_use=False)


def _local_path(uri: str, card_dir: Path | None) -> Path:
    if uri.startswith("shipped:"):
        from cytobench.registry import shipped_root

        name = uri.removeprefix("shipped:")
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise WeightsError(f"{uri!r} names no shipped weights; write shipped:NAME.")
        return shipped_root() / "backbones" / name / "model.safetensors"
    if "://" in uri:
        known = ", ".join([*_FETCHERS, "shipped:"])
        raise WeightsError(f"weights cannot be fetched from {uri!r}; use a path or one of {known}.")
    path = Path(uri).expanduser()
    return path if path.is_absolute() or card_dir is None else Path(os.path.normpath(card_dir / path))


def _digest(sha256: str, uri: str) -> str:
    digest = sha256.strip().lower().removeprefix("sha256:")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise WeightsError(
            f"sha256 = {sha256!r} for {uri} is not a digest of 64 hex digits; correct the card."
        )
    return digest
