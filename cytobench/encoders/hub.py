"""Weights on the Hugging Face hub: pinned to a commit at first use, fetched with the user's own permission.

Addresses, tokens and refusals are huggingface_hub's business. The bytes are streamed by `transfer`, because
huggingface_hub starts a file over when its process was killed, and some of these files take an hour.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cytobench.encoders.deposit import Order, Provenance, safe_name
from cytobench.encoders.fetch import keep
from cytobench.errors import WeightsError, WrongWeightsError
from cytobench.transfer.errand import writing
from cytobench.transfer.part import Part
from cytobench.transfer.stream import TIMEOUT, Received, Remote, download, verify

CUSTOMARY = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Where weights customarily are when the card names no file; the first that exists is taken."""
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<file>.+))?")


@dataclass(frozen=True)
class Address:
    """A parsed `hf-hub:OWNER/REPO[@REVISION][:FILE]`."""

    repo: str
    revision: str
    file: str

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Parse a URI; raises WeightsError."""
        found = _ADDRESS.fullmatch(uri)
        if found is None or ".." in (found["file"] or "").split("/"):
            raise WeightsError(
                f"{uri!r} is not an address on the hub; write hf-hub:OWNER/REPO[@REVISION][:FILE]."
            )
        return cls(found["repo"], found["revision"] or "main", found["file"] or "")


def fetch(order: Order, pinned: Provenance) -> Provenance:
    """Download a file of a model repository into its deposit and return its note; raises WeightsError."""
    address = Address.parse(order.uri)
    hub = _Hub(order, address)
    if not (pinned.revision and pinned.remote_file):
        if address.file and _COMMIT.fullmatch(address.revision):
            pinned = replace(pinned, revision=address.revision, remote_file=address.file)
        else:
            pinned = hub.pin(pinned)
    return hub.download(pinned)


class _Hub:
    """One repository as the user may see it."""

    def __init__(self, order: Order, address: Address) -> None:
        self._order, self._address = order, address
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
        self._page = f"{self._endpoint}/{address.repo}"

    def pin(self, note: Provenance) -> Provenance:
        """Resolve the revision to a commit and the file to a name, and write both down before any byte."""
        asked = self._address.revision
        self._require_online()
        try:
            api = HfApi(endpoint=self._endpoint, token=_token() or False)
            info = api.model_info(self._address.repo, revision=asked, timeout=TIMEOUT)
        except Exception as error:
            raise self._explain(error) from error
        if not info.sha:
            raise WeightsError(f"{self._page} does not say which commit {asked} is; name one in the card.")
        chosen = self._choose([sibling.rfilename for sibling in info.siblings or ()])
        if not _COMMIT.fullmatch(asked):
            self._order.reporter.say(
                f"{self._order.uri} is pinned to revision {info.sha} from now on; "
                f"hf-hub:{self._address.repo}@{info.sha} in the card would pin it for everybody"
            )
        pinned = replace(note, revision=info.sha, remote_file=chosen)
        self._order.deposit.write(pinned)
        return pinned

    def download(self, pinned: Provenance) -> Provenance:
        """Fetch the pinned file, from this user's own hub cache where it is there, and verify it."""
        repo, name = self._address.repo, pinned.remote_file
        remote = Remote(
            hf_hub_url(repo, name, revision=pinned.revision, endpoint=self._endpoint),
            page=f"{self._page}/blob/{pinned.revision}/{name}",
            sha256=self._order.sha256 or pinned.sha256,
        )
        cached = try_to_load_from_cache(repo, name, revision=pinned.revision)
        if isinstance(cached, str):
            received = self._copy(Path(cached), remote)
        else:
            received = download(self._order, self._permitted(remote, name))
        return keep(self._order, received, safe_name(name, "weights"), pinned)

    def _permitted(self, remote: Remote, name: str) -> Remote:
        """Ask the hub whether this user may have a file, and for its size and digest."""
        token = _token()
        self._require_online()
        try:
            about = get_hf_file_metadata(remote.url, token=token or False, timeout=TIMEOUT)
        except Exception as error:
            raise self._explain(error, name) from error
        announced = about.etag if about.etag and _SHA256.fullmatch(about.etag) else ""
        if announced and remote.sha256 and announced != remote.sha256:
            raise WrongWeightsError(
                f"{remote.page} has SHA-256 {announced} where {remote.sha256} is expected; nothing was "
                f"fetched: correct sha256 in the card, or delete {self._order.deposit.folder} to forget the "
                "earlier file."
            )
        # The hub is shown the token, the storage it redirects to is not.
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return replace(remote, headers=headers, sha256=remote.sha256 or announced, size=about.size)

    def _require_online(self) -> None:
        if constants.HF_HUB_OFFLINE:
            raise self._order.out_of_reach(self._endpoint, "HF_HUB_OFFLINE is set", self._page)

    def _copy(self, cached: Path, remote: Remote) -> Received:
        """Take a file of the user's hub cache, whose blobs are named by their SHA-256 when they are large."""
        part, blob = Part(self._order.deposit.folder), cached.resolve().name
        if _SHA256.fullmatch(blob):
            remote = replace(remote, sha256=remote.sha256 or blob)
        self._order.reporter.say(f"copying {self._order.uri} from {cached}")
        with writing(part.folder, self._order.words):
            part.restart("", cached.stat().st_size, "")
            shutil.copyfile(cached, part.path)
            part.have = part.path.stat().st_size
        return verify(self._order, remote, part)

    def _choose(self, files: Sequence[str]) -> str:
        if self._address.file:
            if self._address.file in files:
                return self._address.file
            raise self._no_file(self._address.file)
        for name in (*self._order.customary, *CUSTOMARY):
            if name in files:
                return name
        weights = sorted(name for name in files if name.endswith(_SUFFIXES))
        if len(weights) == 1:
            return weights[0]
        there = ", ".join(weights) or "no file that looks like weights"
        raise WeightsError(
            f"{self._page} has none of the customary files of weights but {there}; "
            f"name one as hf-hub:{self._address.repo}:FILE in the card."
        )

    def _no_file(self, name: str) -> WeightsError:
        where = f"{self._address.repo} at revision {self._address.revision}"
        return WeightsError(
            f"there is no file {name} in {where} ({self._page}); {self._order.words.address}."
        )

    def _explain(self, error: Exception, file: str = "") -> WeightsError:
        """Return the sentence for a failure of huggingface_hub."""
        order, address = self._order, self._address
        missing = isinstance(error, RepositoryNotFoundError)
        if isinstance(error, GatedRepoError) or (missing and order.gated):
            return self._gated()
        if missing:
            return WeightsError(
                f"there is no model {address.repo} at {self._endpoint}, or it is private; "
                f"{order.words.address}, or set HF_TOKEN to a token that may read it."
            )
        if isinstance(error, RevisionNotFoundError):
            return WeightsError(
                f"{address.repo} has no revision {address.revision} ({self._page}/commits/main); "
                f"{order.words.address}."
            )
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return self._no_file(file)
        if isinstance(error, HFValidationError):
            return WeightsError(f"{order.uri!r} is not an address on the hub ({_first_line(error)}).")
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            return self._refused(error.response.status_code)
        return order.out_of_reach(self._endpoint, _first_line(error), self._page)

    def _refused(self, code: int) -> WeightsError:
        if code not in {401, 403}:
            return WeightsError(
                f"{self._endpoint} cannot hand out {self._address.repo} (HTTP {code}); try later."
            )
        if self._order.gated:
            return self._gated()
        return WeightsError(
            f"{self._endpoint} refuses {self._address.repo} (HTTP {code}); set HF_TOKEN to a valid read "
            "token, or unset it if the model needs none."
        )

    def _gated(self) -> WeightsError:
        repo, licence = self._address.repo, self._order.licence_url or self._page
        if _token() is None:
            return WeightsError(
                f"{repo} is gated: accept its licence at {licence}, then set HF_TOKEN to a read token of "
                "that account (or run `hf auth login`) and run the same command again."
            )
        return WeightsError(
            f"{repo} is gated and the token in use (HF_TOKEN, or the one of `hf auth login`) may not "
            f"read it: accept the licence at {licence} with the account of that token, or use another token."
        )


def _token() -> str | None:
    return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()


def _first_line(error: Exception) -> str:
    with suppress(IndexError):
        return str(error).strip().splitlines()[0]
    return type(error).__name__
