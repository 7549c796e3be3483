"""A server on loopback that plays the Hugging Face hub, a web host and Google Drive, faults included."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest


def etag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


@dataclass
class WebFile:
    """A file at an address, and how its server behaves."""

    content: bytes
    etag: str | None = None
    ranges: bool = True
    length: bool = True
    content_type: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection breaks, one for each of the next answers."""
    statuses: list[int] = field(default_factory=list)
    """HTTP statuses of the next answers, before the file is served."""
    pace: float = 0.0
    """Seconds to wait after every 16 kB."""
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    """A model repository: commits of files, branches and tags, and who may read it."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: bool = False
    private: bool = False
    readers: tuple[str, ...] = ()
    storage: bool = False
    """Serve large files from another host by redirect, as the hub does."""


@dataclass
class Drive:
    """A shared file: `page` is what stands before it."""

    content: bytes
    page: str = "form"
    name: str = "cytofm_weights.pth"


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class LocalHub:
    """What the server knows, and what it was asked."""

    url: str = ""
    files: dict[str, WebFile] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    drive: dict[str, Drive] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    bodies: dict[str, WebFile] = field(default_factory=dict)
    """How the server behaves for a path of the hub or the Drive (cuts and pace)."""

    @property
    def other_host(self) -> str:
        return self.url.replace("127.0.0.1", "localhost")

    def gets(self, part: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET" and part in asked.path]


@contextmanager
def serve() -> Iterator[LocalHub]:
    """Run the server until the block ends."""
    hub = LocalHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_hugging_face(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[LocalHub]:
    """Run the server as the Hugging Face hub of this process, for a user who is not logged in."""
    from huggingface_hub import constants

    from cytobench.transfer import stream

    for name in ("http_proxy", "https_proxy", "all_proxy", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(stream, "PAUSES", (0.0, 0.0))
    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.asked.append(Asked(self.command, self.path, dict(self.headers)))
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            self._resolve(path)
        elif path in {"/download", "/uc"}:
            self._drive(parse_qs(urlsplit(self.path).query))
        elif path in self.hub.files:
            self._file(self.hub.files[path])
        else:
            self._plain(404, b"no such page", "text/html")

    # -- a plain web host ------------------------------------------------------------------------------

    def _file(self, file: WebFile) -> None:
        if file.statuses:
            self._plain(file.statuses.pop(0), b"<html>not now</html>", "text/html")
            return
        if file.redirect:
            self.send_response(302)
            self.send_header("Location", file.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = file.etag if file.etag is not None else etag_of(file.content)
        start = self._range(file, etag)
        if start >= len(file.content) > 0:
            self._plain(416, b"", "text/plain")
            return
        body = file.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", file.content_type)
        if etag:
            self.send_header("ETag", etag)
        for key, value in file.headers.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}")
        if file.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self._send(body, file)

    def _range(self, file: WebFile, etag: str) -> int:
        wanted = self.headers.get("Range", "")
        if not (file.ranges and wanted.startswith("bytes=")):
            return 0
        condition = self.headers.get("If-Range")
        return 0 if condition is not None and condition != etag else int(wanted[6:].split("-")[0])

    def _send(self, body: bytes, file: WebFile) -> None:
        cut = file.cuts.pop(0) if file.cuts else len(body)
        try:
            for i in range(0, cut, 16384):
                self.wfile.write(body[i : min(i + 16384, cut)])
                if file.pace:
                    self.wfile.flush()
                    time.sleep(file.pace)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if cut < len(body):
            self.close_connection = True

    def _plain(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # -- the Hugging Face hub --------------------------------------------------------------------------

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X_Error_Code": code, "X_Error_Message": message}
        self._plain(status, json.dumps({"error": message}).encode(), "application/json", **headers)

    def _reader(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _api(self, rest: str) -> None:
        name, _, asked = rest.partition("/revision/")
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self._reader() not in repo.readers):
            self._refuse(401, "RepoNotFound", "Repository not found")
            return
        commit = repo.refs.get(asked or "main", asked)
        if commit not in repo.commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked}")
            return
        siblings = [{"rfilename": file} for file in repo.commits[commit]]
        body = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }
        self._plain(200, json.dumps(body).encode(), "application/json")

    def _resolve(self, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        asked, _, file = rest.partition("/")
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self._reader() not in repo.readers):
            self._refuse(401, "RepoNotFound", "Repository not found")
        elif repo.gated and self._reader() not in repo.readers:
            status = 403 if self._reader() else 401
            self._refuse(status, "GatedRepo", f"Access to model {name} is restricted.")
        elif (commit := repo.refs.get(asked, asked)) not in repo.commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked}")
        elif file not in repo.commits[commit]:
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._hub_file(repo, commit, repo.commits[commit][file])

    def _hub_file(self, repo: Repo, commit: str, content: bytes) -> None:
        linked = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": etag_of(content),
            "X-Linked-Size": str(len(content)),
        }
        if not repo.storage:
            behaviour = self.hub.bodies.setdefault(urlsplit(self.path).path, WebFile(content))
            behaviour.content, behaviour.headers = content, linked
            self._file(behaviour)
            return
        digest = hashlib.sha256(content).hexdigest()
        self.hub.files.setdefault(f"/storage/{digest}", WebFile(content))
        self.send_response(302)
        self.send_header("Location", f"{self.hub.other_host}/storage/{digest}?signature=abc")
        for key, value in linked.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    # -- Google Drive ----------------------------------------------------------------------------------

    def _drive(self, query: dict[str, list[str]]) -> None:
        file_id = query.get("id", [""])[0]
        shared = self.hub.drive.get(file_id)
        if shared is None:
            self._page("Error 404 (Not Found)!!1", "", status=404)
            return
        confirmed = {
            "form": query.get("confirm") == ["t"] and query.get("uuid") == ["u-1"],
            "cookie": query.get("confirm") == ["k9"]
            and "download_warning_1=k9" in self.headers.get("Cookie", ""),
            "link": query.get("confirm") == ["x7"],
            "none": True,
        }.get(shared.page, False)
        if confirmed:
            body = self.hub.bodies.setdefault(file_id, WebFile(shared.content, etag=""))
            body.content = shared.content
            body.headers = {
                "Content-Disposition": f'attachment; filename="{shared.name}"',
                "Last-Modified": "Mon, 03 Mar 2025 10:00:00 GMT",
            }
            self._drive_file(body)
        else:
            self._warn(file_id, shared)

    def _drive_file(self, body: WebFile) -> None:
        if self.headers.get("If-Range") == body.headers["Last-Modified"]:
            del self.headers["If-Range"]
        self._file(body)

    def _warn(self, file_id: str, shared: Drive) -> None:
        if shared.page == "form" or (shared.page == "form, then quota" and "confirm=" not in self.path):
            inputs = {"id": file_id, "export": "download", "confirm": "t", "uuid": "u-1"}
            hidden = "".join(f'<input type="hidden" name="{k}" value="{v}">' for k, v in inputs.items())
            form = f'<form id="download-form" action="{self.hub.url}/download" method="get">{hidden}</form>'
            self._page("Google Drive - Virus scan warning", form)
        elif shared.page == "cookie":
            self._page(
                "Google Drive - Virus scan warning", "<p>too large</p>", cookie="download_warning_1=k9"
            )
        elif shared.page == "link":
            href = f"/uc?export=download&amp;confirm=x7&amp;id={file_id}"
            self._page(
                "Google Drive - Virus scan warning", f'<a id="uc-download-link" href="{href}">Download</a>'
            )
        elif "quota" in shared.page:
            text = '<p class="uc-error-subcaption">Too many users have downloaded this file recently.</p>'
            self._page("Google Drive - Quota exceeded", text)
        else:
            self._page("Google Drive - Access denied", '<p class="uc-error-subcaption">You need access</p>')

    def _page(self, title: str, body: str, *, status: int = 200, cookie: str = "") -> None:
        html = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>".encode()
        headers = {"Set_Cookie": cookie} if cookie else {}
        self._plain(status, html, "text/html; charset=utf-8", **headers)
