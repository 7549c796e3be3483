"""A file over HTTP into a part: streamed, resumed after a cut or a kill, and verified before it is used."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPResponse
from io import BufferedRandom, BufferedReader
from typing import IO
from urllib.parse import urlsplit

from cytobench import __version__
from cytobench.errors import CytoBenchError, TransferError, WrongFileError
from cytobench.progress import Step
from cytobench.transfer.errand import (
    Errand,
    InterruptedTransferError,
    RefusedError,
    WebPageError,
    Words,
    human_size,
    writing,
)
from cytobench.transfer.part import Part

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt; the count starts again whenever bytes arrived."""
TIMEOUT = 30.0
"""Seconds a server may stay silent."""
_CHUNK = 2**20
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Remote:
    """A file on a server: its address, what is known about it, and the page where a person can get it."""

    url: str
    page: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    size: int | None = None
    md5: str = ""

    @property
    def checked(self) -> bool:
        """Whether a digest tells in the end if this is the right file."""
        return bool(self.sha256 or self.md5)

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Received:
    """A complete file under its temporary name, with the digest of what is on disk."""

    part: Part
    sha256: str


def download(
    order: Errand, remote: Remote, *, opener: urllib.request.OpenerDirector | None = None
) -> Received:
    """Stream a file into its folder, continuing an earlier attempt, and check its size and digest.

    Raises TransferError: unreachable, refused, a web page, a full disk, a connection that keeps breaking
    (what arrived is kept and continued next time), or a wrong digest (what arrived is thrown away).
    """
    with writing(order.folder, order.words):
        part = Part.at(order.folder)
        if part.complete:
            part.claim()
    if not part.complete:
        _Transfer(order, remote, part, opener or new_opener()).run()
    return verify(order, remote, part)


def verify(order: Errand, remote: Remote, part: Part) -> Received:
    """Flush a complete part to the disk and compare its digest; raises TransferError."""
    with writing(part.folder, order.words), part.path.open("r+b") as file:
        os.fsync(file.fileno())
        digest, md5 = digests_of(file, also_md5=bool(remote.md5))
    if not part.mine():
        raise TransferError(
            f"another process wrote to {part.folder} at the same time; run the same command again."
        )
    for kind, wanted, found in (("SHA-256", remote.sha256, digest), ("MD5", remote.md5, md5)):
        if wanted and found != wanted:
            part.forget()
            raise WrongFileError(
                f"{order.uri}: expected {kind} {wanted} but {remote.host} sent a file with {found}, "
                f"which was thrown away; run again, and if it stays so, {order.words.digest} (deleting "
                f"{part.folder} forgets what was trusted before)."
            )
    return Received(part, digest)


def digests_of(file: BufferedReader | BufferedRandom, *, also_md5: bool) -> tuple[str, str]:
    """Return SHA-256 and, where wanted, MD5 of a file, read once."""
    if not also_md5:
        return hashlib.file_digest(file, "sha256").hexdigest(), ""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    while chunk := file.read(_CHUNK):
        sha256.update(chunk)
        md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


class _Transfer:
    """One download with its attempts."""

    def __init__(
        self, order: Errand, remote: Remote, part: Part, opener: urllib.request.OpenerDirector
    ) -> None:
        self._order, self._remote, self._part, self._opener = order, remote, part, opener
        self._shown = 0

    def run(self) -> None:
        """Fill the part, attempt after attempt."""
        failures, had = 0, self._part.have
        with ExitStack() as display:
            step: Step | None = None
            while not self._part.complete:
                try:
                    with self._respond() as response:
                        if step is None:
                            self._announce()
                            label = f"downloading {self._order.uri}"
                            step = display.enter_context(self._order.reporter.task(label, self._part.total))
                        self._drain(response, step)
                except InterruptedTransferError as trouble:
                    failures = 1 if self._part.have > had else failures + 1
                    had = self._part.have
                    # A server that was never there is more likely out of reach than hiccuping.
                    if failures > (len(PAUSES) if trouble.reached or self._shown else 1):
                        raise self._giving_up(trouble) from trouble
                    time.sleep(PAUSES[failures - 1])

    def _respond(self) -> HTTPResponse:
        """Ask for what is missing and return a response whose body continues the part."""
        part, remote, words = self._part, self._remote, self._order.words
        headers = {"Accept-Encoding": "identity", **remote.headers}
        # With neither a mark of the version nor a digest to check in the end, two versions could be mixed.
        if not (part.have and part.total and (part.validator or remote.checked)):
            return self._start(request(self._opener, remote.url, headers, words))
        ranged = {**headers, "Range": f"bytes={part.have}-"}
        if part.validator:
            ranged["If-Range"] = part.validator
        try:
            response = request(self._opener, remote.url, ranged, words)
        except RefusedError as refused:
            if refused.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return self._start(request(self._opener, remote.url, headers, words))
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return self._start(response)
        if response.headers.get("Content-Range") != f"bytes {part.have}-{part.total - 1}/{part.total}":
            response.close()
            return self._start(request(self._opener, remote.url, headers, words))
        return response

    def _start(self, response: HTTPResponse) -> HTTPResponse:
        """Check that an answer is the file from its first byte, with room for it, and start the part anew."""
        headers, folder = response.headers, self._part.folder
        total = _announced_length(response, self._remote, self._order)
        with writing(folder, self._order.words):
            self._part.forget()
            free = shutil.disk_usage(folder).free
            if total is not None and total > free:
                raise TransferError(
                    f"{self._order.uri} needs {human_size(total)} but only {human_size(free)} are free in "
                    f"{folder}; free some space or choose another disk with {self._order.words.elsewhere}."
                )
            etag = headers.get("ETag", "")
            validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
            self._part.restart(validator, total, headers.get_filename("") or "")
        return response

    def _announce(self) -> None:
        if self._part.have:
            self._order.reporter.say(f"continuing {self._order.uri} after {human_size(self._part.have)}")
        else:
            self._order.announce(self._remote.page, self._part.total)

    def _drain(self, response: HTTPResponse, step: Step) -> None:
        """Append the body to the part; a short one is an interruption."""
        part = self._part
        with writing(part.folder, self._order.words), part.open() as file:
            while part.have != part.total and (chunk := _read(response)):
                try:
                    _write(file, chunk)
                except OSError:
                    part.forget()  # a full disk gets its room back
                    raise
                part.have += len(chunk)
                step.advance(part.have - self._shown, human_size(part.have))
                self._shown = part.have
        if part.total is None:
            part.total = part.have
        if part.have < part.total:
            raise InterruptedTransferError("the connection was cut", reached=True)
        if part.have > part.total:
            part.forget()
            raise TransferError(f"{self._remote.url} sent more bytes than it announced; try again later.")

    def _giving_up(self, trouble: InterruptedTransferError) -> CytoBenchError:
        part, remote, order = self._part, self._remote, self._order
        if trouble.reached and part.have:
            whole = f" of {human_size(part.total)}" if part.total else ""
            return TransferError(
                f"{order.uri}: the connection to {remote.host} keeps breaking ({trouble}); "
                f"{human_size(part.have)}{whole} are here, run the same command again to continue."
            )
        return order.out_of_reach(remote.host, str(trouble), remote.page)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but neither from https down to http nor with credentials to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise TransferError(
                f"{req.full_url} redirects to the unencrypted {newurl}; ask the publisher about it."
            )
        new = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if new is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


def new_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return an opener that respects the proxy settings of the machine and redirects safely."""
    return urllib.request.build_opener(_SafeRedirects, *handlers)


def request(
    opener: urllib.request.OpenerDirector, url: str, headers: Mapping[str, str], words: Words
) -> HTTPResponse:
    """Send a GET and return the answer, its body unread.

    Raises RefusedError for a final refusal, TransferError for an untrusted certificate or a malformed
    address, and InterruptedTransferError for what may pass.
    """
    try:
        asked = urllib.request.Request(url, headers={"User-Agent": f"cytobench/{__version__}", **headers})
        response: HTTPResponse = opener.open(asked, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _PASSING:
                raise InterruptedTransferError(f"HTTP {error.code} {error.reason}", reached=True) from error
            raise RefusedError(_refusal(url, error.code, str(error.reason), words), error.code) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise TransferError(f"the certificate of {url} is not trusted ({error.reason}).") from error
        raise InterruptedTransferError(_reason(error.reason), reached=False) from error
    except (OSError, http.client.HTTPException) as error:
        raise InterruptedTransferError(_reason(error), reached=True) from error
    except ValueError as error:
        raise TransferError(f"{url!r} is not a web address ({error}); {words.address}.") from error
    return response


def _announced_length(response: HTTPResponse, remote: Remote, order: Errand) -> int | None:
    """Return the length in bytes of an answer that is a file; raises TransferError where it is not one."""
    headers, url = response.headers, remote.url
    if headers.get_content_type() == "text/html" and headers.get_content_disposition() != "attachment":
        raise WebPageError(
            f"{remote.host} sent a web page instead of {order.words.things} for {order.uri}; open "
            f"{remote.page} in a browser and put the file into {order.folder}/."
        )
    if headers.get("Content-Encoding", "identity") != "identity":
        raise TransferError(
            f"{url} is sent compressed although asked not to be; download {remote.page} by hand."
        )
    length = headers.get("Content-Length", "")
    if not length.isdigit():
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        if not chunked and not remote.checked:  # a cut connection would look like the end of the file
            raise TransferError(
                f"{url}: the server does not say how long the file is; {order.words.unknown_length}."
            )
        return None
    if remote.size is not None and int(length) != remote.size:
        raise TransferError(
            f"{url} offers {length} bytes where {remote.size} were announced; try again later."
        )
    return int(length)


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise InterruptedTransferError(_reason(error), reached=True) from error


def _write(file: IO[bytes], chunk: bytes) -> None:
    """Write all of a chunk to an unbuffered file."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _refusal(url: str, code: int, reason: str, words: Words) -> str:
    if code in {404, 410}:
        return f"there is no file at {url} (HTTP {code}); {words.address}."
    if code in {401, 403}:
        return (
            f"{url} may not be downloaded without permission (HTTP {code} {reason}); fetch the file by hand."
        )
    return f"{url} cannot be downloaded (HTTP {code} {reason}); {words.address}."


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
