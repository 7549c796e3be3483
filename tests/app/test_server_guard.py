"""Who is let through to the page, and with what: asked of a running server, byte by byte."""

from __future__ import annotations

import http.client
import json

import pytest

from cytobench.app.guard import MOST_BYTES, Guard, is_loopback
from tests.app.conftest import Served
from tests.app.visiting import run_alone


def ask(
    server: Served,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> tuple[int, str, dict[str, str]]:
    """Send a request as written, without a client that tidies it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    named = {"Host": f"127.0.0.1:{server.port}", **(headers or {})}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in named.items():
        connection.putheader(name, value)
    if body and "Content-Length" not in named:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    answer = connection.getresponse()
    return (
        answer.status,
        answer.read().decode("utf-8", "replace"),
        {k.lower(): v for k, v in answer.getheaders()},
    )


def test_the_page_is_served_under_a_policy_that_keeps_the_browser_here(server: Served) -> None:
    status, page, headers = ask(server, "/")
    assert status == 200
    assert "CytoBench" in page
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http:" not in policy.replace(f"ws://127.0.0.1:{server.port}", "")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/_nicegui/../../../../etc/passwd",
        "/_nicegui/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/cells.csv",
        "/p0/0.png",
        "/home",
        "/docs",
        "/openapi.json",
        "/?file=/etc/passwd/..",
    ],
)
def test_no_address_reaches_a_file(server: Served, path: str) -> None:
    status, said, _ = ask(server, path)
    if path.startswith("/?"):  # the page itself, whatever is asked of it
        assert status == 200
    else:
        assert status == 404
    assert "root:" not in said
    assert str(server.place) not in said


def test_static_files_do_not_lead_out_of_their_folder(server: Served) -> None:
    import nicegui

    for way in ("%2e%2e/__init__.py", "..%2f__init__.py", "%2fetc%2fpasswd", "/etc/passwd"):
        status, said, _ = ask(server, f"/_nicegui/{nicegui.__version__}/static/{way}")
        assert status == 404
        assert "import" not in said


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.1.7"]
)
def test_a_foreign_name_that_points_here_is_refused(server: Served, host: str) -> None:
    status, said, _ = ask(server, "/", headers={"Host": host})
    assert status == 400
    assert "open the address" in said


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_names_of_loopback_are_let_in(server: Served, host: str) -> None:
    assert ask(server, "/", headers={"Host": f"{host}:{server.port}"})[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_the_pages_of_other_sites_open_no_web_socket(server: Served, origin: str) -> None:
    upgrade = {
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert ask(server, path, headers=upgrade)[0] == 403
    own = upgrade | {"Origin": f"http://127.0.0.1:{server.port}"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers=own)
    assert connection.getresponse().status == 101


def test_the_polling_of_other_sites_is_refused_too(server: Served) -> None:
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert ask(server, path, headers={"Origin": "http://evil.example"})[0] == 403
    assert json.loads(ask(server, path)[1][1:])["sid"]


def test_a_body_that_says_it_is_too_large_is_not_read(server: Served) -> None:
    headers = {"Content-Length": str(MOST_BYTES * 2)}
    status, said, _ = ask(server, "/_nicegui/client/x/upload/1", method="POST", headers=headers)
    assert status == 413
    assert "20 MB" in said


def test_a_body_that_grows_too_large_is_cut_off() -> None:
    heard: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        while (message := await receive())["type"] == "http.request":  # type: ignore[operator]
            heard.append(message)

    async def endless() -> dict[str, object]:
        return {"type": "http.request", "body": b"x" * 2**20, "more_body": True}

    async def send(message: object) -> None:
        pass

    scope = {"type": "http", "path": "/", "headers": [(b"host", b"127.0.0.1:1")]}
    guarded = Guard(app, "127.0.0.1")(scope, endless, send)  # type: ignore[arg-type]
    run_alone(guarded)
    assert len(heard) == MOST_BYTES // 2**20


def test_a_server_for_others_knows_addresses_and_its_own_names_only() -> None:
    guard = Guard(None, "0.0.0.0", frozenset({"lab-pc"}))  # type: ignore[arg-type]
    assert guard.knows("192.168.1.7")
    assert guard.knows("lab-pc")
    assert not guard.knows("evil.example")
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("lab-pc")
