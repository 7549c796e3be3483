"""Files of data sets are fetched once, whole, checked and resumed, or refused in one sentence."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cytobench.datasets import Download
from cytobench.datasets.acquire import fetch, plan
from cytobench.datasets.words import downloads_of
from cytobench.errors import DataError, UsageError
from cytobench.progress import SilentReporter
from cytobench.transfer import stream
from tests.datasets.toy_download import toy
from tests.encoders.local_hub import LocalHub, WebFile, serve

CONTENT = bytes(range(256)) * 1024
SHA = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stream, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(stream, "TIMEOUT", 5.0)
    with serve() as running:
        running.files["/a.zip"] = WebFile(CONTENT)
        yield running


def _get(to: Path, *files: Download, names: tuple[str, ...] = ()) -> tuple[Path, ...]:
    return fetch(plan(toy(*files), to, names), SilentReporter())


def _left(to: Path) -> set[str]:
    folder = downloads_of(toy(), to)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("published", [{"sha256": SHA}, {"md5": MD5}, {}])
def test_files_are_fetched_once_and_kept_under_their_names(
    server: LocalHub, tmp_path: Path, published: dict[str, str]
) -> None:
    server.files["/b.csv"] = WebFile(b"name,label\n")
    files = (
        Download(f"{server.url}/a.zip", "a.zip", size=len(CONTENT), **published),
        Download(f"{server.url}/b.csv", "tables/b.csv"),
    )
    assert [path.read_bytes() for path in _get(tmp_path, *files)] == [CONTENT, b"name,label\n"]
    assert _left(tmp_path) == {"a.zip", "tables/b.csv", ".digests.json", ".lock"}
    _get(tmp_path, *files)
    assert len(server.asked) == 2


def test_a_cut_connection_is_resumed(server: LocalHub, tmp_path: Path) -> None:
    server.files["/a.zip"].cuts = [100_000, 60_000]
    _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip", sha256=SHA))
    assert [asked.headers.get("Range") for asked in server.asked] == [None, "bytes=100000-", "bytes=160000-"]


@pytest.mark.parametrize("how", ["no ranges", "changed"])
def test_what_cannot_be_continued_starts_over(
    server: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    file = server.files["/a.zip"] = WebFile(b"old" * 50_000, cuts=[70_000], ranges=how != "no ranges")
    wanted = Download(f"{server.url}/a.zip", "a.zip")
    with monkeypatch.context() as patch:
        patch.setattr(stream, "PAUSES", ())
        with pytest.raises(DataError, match=r"toy/a\.zip: .*keeps breaking.*70\.0 kB of 150\.0 kB are here"):
            _get(tmp_path, wanted)
    file.content = CONTENT
    assert _get(tmp_path, wanted)[0].read_bytes() == CONTENT


_SCRIPT = """
import sys
from pathlib import Path
from cytobench.datasets import Download
from cytobench.datasets.acquire import fetch, plan
from cytobench.progress import SilentReporter
from tests.datasets.toy_download import toy
fetch(plan(toy(Download(sys.argv[1], "a.zip")), Path(sys.argv[2])), SilentReporter())
"""


def test_a_killed_download_goes_on_where_it_was(server: LocalHub, tmp_path: Path) -> None:
    server.files["/a.zip"].pace = 0.02
    url = f"{server.url}/a.zip"
    part = downloads_of(toy(), tmp_path) / "a.zip.partial" / ".part"
    for share in (0.2, 0.6):
        child = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, url, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"},
        )
        while not part.exists() or part.stat().st_size < share * len(CONTENT):
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.files["/a.zip"].pace = 0
    assert _get(tmp_path, Download(url, "a.zip"))[0].read_bytes() == CONTENT
    starts = [int(asked.headers.get("Range", "bytes=0-")[6:-1]) for asked in server.asked]
    assert starts == sorted(set(starts))
    assert starts[-1] >= 0.6 * len(CONTENT)


@pytest.mark.parametrize(("key", "kind"), [("sha256", "SHA-256"), ("md5", "MD5")])
def test_a_file_with_a_wrong_digest_is_thrown_away(
    server: LocalHub, tmp_path: Path, key: str, kind: str
) -> None:
    digest = "0" * (64 if key == "sha256" else 32)
    with pytest.raises(DataError, match=rf"toy/a\.zip: expected {kind} 0.*toy\.example/page.*new version"):
        _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip", **{key: digest}))
    assert not any(name.endswith((".zip", ".part")) for name in _left(tmp_path))


def test_a_digest_nobody_publishes_is_noted_and_checked_from_then_on(
    server: LocalHub, tmp_path: Path
) -> None:
    wanted = Download(f"{server.url}/a.zip", "a.zip")
    (path,) = _get(tmp_path, wanted)
    path.write_bytes(b"changed")
    with pytest.raises(DataError, match=rf"where its first download had {SHA}; it was renamed"):
        _get(tmp_path, wanted)
    server.files["/a.zip"].content = b"another version"
    with pytest.raises(DataError, match=rf"expected SHA-256 {SHA}"):
        _get(tmp_path, wanted)
    server.files["/a.zip"].content = CONTENT
    assert _get(tmp_path, wanted) == (path,)
    assert path.read_bytes() == CONTENT


def test_a_file_brought_by_hand_is_taken_when_its_digest_is_right(server: LocalHub, tmp_path: Path) -> None:
    place = downloads_of(toy(), tmp_path) / "a.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip", md5=MD5)) == (place,)
    assert not server.asked


def test_a_web_page_is_not_taken_for_data(server: LocalHub, tmp_path: Path) -> None:
    server.files["/a.zip"] = WebFile(b"<html>log in</html>", content_type="text/html")
    with pytest.raises(DataError, match="a web page instead of data"):
        _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip"))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, r"no file at .*a\.zip \(HTTP 404\); look for it on https://toy\.example/page"),
        (403, "may not be downloaded without permission"),
    ],
)
def test_a_refusal_is_one_sentence(server: LocalHub, tmp_path: Path, status: int, sentence: str) -> None:
    server.files["/a.zip"].statuses = [status] * 5
    with pytest.raises(DataError, match=sentence):
        _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip"))


def test_an_unreachable_host_says_how_to_bring_the_file(server: LocalHub, tmp_path: Path) -> None:
    place = downloads_of(toy(), tmp_path) / "a.zip"
    with pytest.raises(DataError, match=rf"cannot reach 127\.0\.0\.1:9 .*put the file at {place}"):
        _get(tmp_path, Download("http://127.0.0.1:9/a.zip", "a.zip"))


def test_a_full_disk_is_told_before_anything_is_asked(
    server: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"toy needs 262\.1 kB but only 1\.0 kB are free .*--to"):
        _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip", size=len(CONTENT)))
    assert not server.asked
    with pytest.raises(DataError, match=r"needs 262\.1 kB but only 1\.0 kB are free .*--to"):
        _get(tmp_path, Download(f"{server.url}/a.zip", "a.zip"))


def test_single_files_can_be_chosen_by_their_names(server: LocalHub, tmp_path: Path) -> None:
    files = (
        Download(f"{server.url}/a.zip", "a.zip"),
        Download(f"{server.url}/gone", "large.npz", size=10**9),
    )
    assert [path.name for path in _get(tmp_path, *files, names=("a.zip",))] == ["a.zip"]
    optional = replace(files[1], optional=True)
    assert [path.name for path in _get(tmp_path, files[0], optional)] == ["a.zip"]
    with pytest.raises(UsageError, match=r"no file 'large\.npy'.*did you mean 'large\.npz'"):
        plan(toy(*files), tmp_path, ("large.npy",))
