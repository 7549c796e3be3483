"""What stands before the page: who may ask, for what, and with how many bytes.

A page on loopback is within reach of every web site that its user's browser visits: by a name that is made
to point here (DNS rebinding) and by web sockets, which know no same-origin rule. So requests must name this
server as it is known, and must not come from another site's page.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 20 * 2**20
"""The largest image that may be uploaded."""
_ENVELOPE = 64 * 1024  # what a form adds to its file
_OPEN_PATHS = ("/", "/favicon.ico")
_OPEN_BELOW = ("/_nicegui/", "/_nicegui_ws/")


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another one that lets through only what the page itself asks for.

    host: what the server listens on; names: further names it is known by.
    """

    app: App
    host: str
    names: frozenset[str] = field(default_factory=frozenset)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a sentence and 400, 403, 404 or 413."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await _refuse(scope, receive, send, *refused)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._watched(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "")
        if not self.knows(_name_of(host)):
            return (
                400,
                "This page is not known by that name; open the address that cytobench serve has printed.",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "This request comes from the page of another site."
        if not _is_open(scope["path"]):
            return 404, "There is no such page here."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BYTES + _ENVELOPE:
            return 413, TOO_LARGE
        return None

    def knows(self, name: str) -> bool:
        """Whether a Host may be meant for this server.

        On loopback only names of loopback; else any address, which nobody can make point elsewhere, and the
        names of this machine.
        """
        if name in ("localhost", self.host.lower()) or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.host)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on: its body is counted as it comes, its answer gets headers."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= MOST_BYTES + _ENVELOPE else {"type": "http.disconnect"}

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                host = next(value for name, value in scope["headers"] if name.lower() == b"host")
                message["headers"] = [*message.get("headers", ()), *_headers(host)]
            await send(message)

        await self.app(scope, counted, closed)


TOO_LARGE = (
    f"The file is larger than {MOST_BYTES // 2**20} MB; cut the field you mean out of it, and drop that."
)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of_this_machine() -> frozenset[str]:
    """Return the names that others on the network may know this machine by, in lower case."""
    return frozenset(name.lower() for name in (socket.gethostname(), socket.getfqdn()) if name)


def _name_of(host: str) -> str:
    """Return a Host header without its port, in lower case; "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or (path.startswith(_OPEN_BELOW) and ".." not in path)


def _headers(host: bytes) -> list[tuple[bytes, bytes]]:
    """Return headers under which a browser asks nobody but this server, and no page may frame it."""
    # The page's framework compiles templates in the browser, hence unsafe-eval; it has no text of others' in
    # any of them.
    policy = (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'; font-src 'self' data:; object-src 'none'; "
        f"connect-src 'self' ws://{host.decode('latin-1')}; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode("latin-1")),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = sentence.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    headers.append((b"x-content-type-options", b"nosniff"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
