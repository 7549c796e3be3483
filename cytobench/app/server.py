"""The server: it listens, draws the page, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import util
from pathlib import Path
from urllib.parse import urlsplit

from cytobench.app.bench import Bench, Pair
from cytobench.app.guard import Guard, is_loopback, names_of_this_machine
from cytobench.errors import UsageError

_HOW_TO_GET = "NiceGUI is not installed here: add it with `pip install nicegui` (the extra 'serve')."
_PORTS_TRIED = 50
_CLOSING_SECONDS = 2
_LOOK_EVERY = 0.02
_IN_USE = (errno.EADDRINUSE,)


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address to open in a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    @property
    def warning(self) -> str:
        """What whoever starts a server that others can reach should know, "" on loopback."""
        if is_loopback(self.host):
            return ""
        return (
            f"Listening on {self.host}: whoever can reach this machine can look at the collections' pictures "
            "and keep it busy. There is no password and no encryption; leave --host out to keep the page to "
            "yourself."
        )


def require_nicegui() -> None:
    """Raise UsageError, with the command that installs it, where NiceGUI is missing."""
    if find_spec("nicegui") is None:
        raise UsageError(_HOW_TO_GET)


def free_address(host: str, port: int, *, search: bool) -> Address:
    """Return an address that can be listened on: this port, or with `search` the next free one.

    Raises UsageError for a port in use, and for a host that is none of this machine's.
    """
    for candidate in range(port, min(port + _PORTS_TRIED, 65536) if search else port + 1):
        reason = _why_not(host, candidate)
        if reason is None:
            return Address(host, candidate)
        if not isinstance(reason, OSError) or reason.errno not in _IN_USE:
            raise UsageError(f"Nothing can listen on {host}:{candidate} ({reason}); check --host and --port.")
    if search:
        raise UsageError(
            f"None of the {_PORTS_TRIED} ports from {port} on is free on {host}; name another one."
        )
    raise UsageError(
        f"Port {port} on {host} is in use; name another one with --port, or add --any-port to take the next "
        "free one."
    )


def serve(
    bench: Bench, address: Address, first: Pair, *, open_browser: bool = False, ready: Callable[[str], None]
) -> None:
    """Serve the page until Ctrl-C; `ready` hears its address once it answers.

    Whatever is uploaded or kept by the libraries lies in a temporary folder that is removed at the end.
    """
    require_nicegui()
    util.get_temp_dir()  # the one of worker processes, which removes itself: made now, it lies elsewhere
    with tempfile.TemporaryDirectory(prefix="cytobench-serve-") as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder  # forms spool to where `tempfile` says
        os.environ["NICEGUI_STORAGE_PATH"] = folder  # read when NiceGUI is imported
        try:
            _run(bench, address, first, Path(folder), open_browser=open_browser, ready=ready)
        finally:
            bench.close()
            tempfile.tempdir = before


def _run(
    bench: Bench,
    address: Address,
    first: Pair,
    scratch: Path,
    *,
    open_browser: bool,
    ready: Callable[[str], None],
) -> None:
    from nicegui import app, background_tasks, ui

    from cytobench.app.page import TITLE, lay_page

    lay_page(bench, scratch, first)
    app.add_middleware(Guard, host=address.host, names=names_of_this_machine())
    # start-up is over before anything listens
    app.on_startup(lambda: background_tasks.create(_announce(address, ready)))
    ui.run(
        host=address.host,
        port=address.port,
        title=TITLE,
        favicon=_ICON,
        dark=None,
        show=open_browser,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
    )


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="14" '
    'fill="#b9d7ee" stroke="#005a9c" stroke-width="2"/><circle cx="18" cy="15" r="6" fill="#005a9c"/></svg>'
)


async def _announce(address: Address, ready: Callable[[str], None]) -> None:
    """Tell `ready` as soon as somebody answers at the address."""
    host = urlsplit(address.url).hostname
    while True:
        try:
            _, writing = await asyncio.open_connection(host, address.port)
        except OSError:
            await asyncio.sleep(_LOOK_EVERY)
            continue
        writing.close()
        ready(address.url)
        return


def _why_not(host: str, port: int) -> OSError | OverflowError | None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        return error
    return None
