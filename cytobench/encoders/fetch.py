"""Files over HTTP: streamed, resumed after a cut or a kill, and whole before they get their name."""

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
from dataclasses import dataclass, field, replace
from email.message import Message
from http.client import HTTPResponse
from typing import IO
from urllib.parse import unquote, urlsplit

from cytobench import __version__
from cytobench.encoders.deposit import Order, Provenance, human_size, safe_name, writing
from cytobench.encoders.part import Part
from cytobench.errors import WeightsError, WrongWeightsError
from cytobench.progress import Step

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt; the count starts again whenever bytes arrived."""
TIMEOUT = 30.0
"""Seconds a server may stay silent."""
_CHUNK = 2**20
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class WebPageError(WeightsError):
    """A server answered with a web page where a file was expected."""


class RefusedError(WeightsError):
    """A server refused a request for good; `code` is the HTTP status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class InterruptedTransferError(Exception):
    """The connection failed in a way that may pass; `reached` says whether the server was there at all."""

    def __init__(self, reason: str, *, reached: bool) -> None:
        super().__init__(reason)
        self.reached = reached


@dataclass(frozen=True)
class Remote:
    """A file on a server: its address, what is known about it, and the page where a person can get it."""

    url: str
    page: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    size: int | None = None

    @property
    def host(self) -> str:
        """The server's name, for messages."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Received:
    """A complete file under its temporary name, with the digest of what is on disk."""

    part: Part
    sha256: str


def fetch(order: Order, pinned: Provenance) -> Provenance:
    """Download an `http(s)://` source into its deposit and return its note; raises WeightsError."""
    address = urlsplit(order.uri)
    expected = order.sha256 or pinned.sha256
    if address.scheme == "http" and not expected:
        order.reporter.warn(
            f"{order.uri} is not encrypted and its card names no sha256: it may be anybody's file"
        )
    received = download(order, Remote(order.uri, page=order.uri, sha256=expected))
    return keep(order, received, safe_name(unquote(address.path), "weights"), pinned)


def keep(order: Order, received: Received, name: str, pinned: Provenance) -> Provenance:
    """Write the note of a verified file, then give it its final name: a kill between the two is made good."""
    folder, part = order.deposit.folder, received.part
    note = replace(pinned, file=name, sha256=received.sha256, size=part.have)
    order.deposit.write(note)
    with writing(folder):
        part.path.replace(folder / name)
        part.forget()
    return note


def download(
    order: Order, remote: Remote, *, opener: urllib.request.OpenerDirector | None = None
) -> Received:
    """Stream a file into its deposit, continuing an earlier attempt, and check its size and digest.

    Raises WeightsError: unreachable, refused, a web page, a full disk, a connection that keeps breaking (what
    arrived is kept and continued next time), or a wrong digest (what arrived is thrown away).
    """
    with writing(order.deposit.folder):
        part = Part.at(order.deposit.folder)
        if part.complete:
            part.claim()
    if not part.complete:
        _Transfer(order, remote, part, opener or new_opener()).run()
    return verify(order, remote, part)


def verify(order: Order, remote: Remote, part: Part) -> Received:
    """Flush a complete part to the disk and compare its digest; raises WeightsError."""
    with writing(part.folder), part.path.open("r+b") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not part.mine():
        raise WeightsError(
            f"another process wrote to {part.folder} at the same time; run the same command again."
        )
    if remote.sha256 and digest != remote.sha256:
        part.forget()
        raise WrongWeightsError(
            f"{order.uri}: expected SHA-256 {remote.sha256} but {remote.host} sent a file with {digest}, "
            "which was thrown away; run again, and if it stays so, ask the publisher or correct sha256 "
            f"in the card (deleting {part.folder} forgets what was trusted before)."
        )
    return Received(part, digest)


class _Transfer:
    """One download with its attempts."""

    def __init__(
        self, order: Order, remote: Remote, part: Part, opener: urllib.request.OpenerDirector
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
        part, remote = self._part, self._remote
        headers = {"Accept-Encoding": "identity", **remote.headers}
        # With neither a mark of the version nor a digest to check in the end, two versions could be mixed.
        if not (part.have and part.total and (part.validator or remote.sha256)):
            return self._start(request(self._opener, remote.url, headers))
        ranged = {**headers, "Range": f"bytes={part.have}-"}
        if part.validator:
            ranged["If-Range"] = part.validator
        try:
            response = request(self._opener, remote.url, ranged)
        except RefusedError as refused:
            if refused.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return self._start(request(self._opener, remote.url, headers))
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return self._start(response)
        if response.headers.get("Content-Range") != f"bytes {part.have}-{part.total - 1}/{part.total}":
            response.close()
            return self._start(request(self._opener, remote.url, headers))
        return response

    def _start(self, response: HTTPResponse) -> HTTPResponse:
        """Check that an answer is the file from its first byte, with room for it, and start the part anew."""
        headers, folder = response.headers, self._part.folder
        total = _announced_length(response, self._remote, self._order)
        with writing(folder):
            self._part.forget()
            free = shutil.disk_usage(folder).free
            if total is not None and total > free:
                raise WeightsError(
                    f"{self._order.uri} needs {human_size(total)} but only {human_size(free)} are free in "
                    f"{folder}; free some space or choose another disk with --home."
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
        with writing(part.folder), part.open() as file:
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
            raise WeightsError(f"{self._remote.url} sent more bytes than it announced; try again later.")

    def _giving_up(self, trouble: InterruptedTransferError) -> WeightsError:
        part, remote, order = self._part, self._remote, self._order
        if trouble.reached and part.have:
            whole = f" of {human_size(part.total)}" if part.total else ""
            return WeightsError(
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
            raise WeightsError(
                f"{req.full_url} redirects to the unencrypted {newurl}; ask the publisher about it."
            )
        new = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if new is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


def new_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return an opener that respects the proxy settings of the machine and redirects safely."""
    return urllib.request.build_opener(_SafeRedirects, *handlers)


def request(opener: urllib.request.OpenerDirector, url: str, headers: Mapping[str, str]) -> HTTPResponse:
    """Send a GET and return the answer, its body unread.

    Raises RefusedError for a final refusal, WeightsError for an untrusted certificate or a malformed address,
    and InterruptedTransferError for what may pass.
    """
    try:
        asked = urllib.request.Request(url, headers={"User-Agent": f"cytobench/{__version__}", **headers})
        response: HTTPResponse = opener.open(asked, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _PASSING:
                raise InterruptedTransferError(f"HTTP {error.code} {error.reason}", reached=True) from error
            raise RefusedError(_refusal(url, error.code, str(error.reason)), error.code) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise WeightsError(f"the certificate of {url} is not trusted ({error.reason}).") from error
        raise InterruptedTransferError(_reason(error.reason), reached=False) from error
    except (OSError, http.client.HTTPException) as error:
        raise InterruptedTransferError(_reason(error), reached=True) from error
    except ValueError as error:
        raise WeightsError(
            f"{url!r} is not a web address ({error}); correct `weights` in the card."
        ) from error
    return response


def _announced_length(response: HTTPResponse, remote: Remote, order: Order) -> int | None:
    """Return the length in bytes of an answer that is a file; raises WeightsError where it is not one."""
    headers, url = response.headers, remote.url
    if headers.get_content_type() == "text/html" and headers.get_content_disposition() != "attachment":
        raise WebPageError(
            f"{remote.host} sent a web page instead of weights for {order.uri}; open {remote.page} in a "
            f"browser and put the file into {order.deposit.folder}/."
        )
    if headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(
            f"{url} is sent compressed although asked not to be; download {remote.page} by hand."
        )
    length = headers.get("Content-Length", "")
    if not length.isdigit():
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        if not chunked and not remote.sha256:  # a cut connection would look like the end of the file
            raise WeightsError(
                f"{url}: the server does not say how long the file is; give its sha256 in the card."
            )
        return None
    if remote.size is not None and int(length) != remote.size:
        raise WeightsError(
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


def _refusal(url: str, code: int, reason: str) -> str:
    if code in {404, 410}:
        return f"there is no file at {url} (HTTP {code}); correct `weights` in the card."
    if code in {401, 403}:
        return (
            f"{url} may not be downloaded without permission (HTTP {code} {reason}); fetch the file by hand."
        )
    return f"{url} cannot be downloaded (HTTP {code} {reason}); check the address in the card."


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
