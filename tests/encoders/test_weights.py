"""What a card says about weights becomes a file whose digest is known, or one clear sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cytobench.encoders.deposit import Deposit
from cytobench.encoders.weights import ResolvedWeights, resolve
from cytobench.errors import TransferError, WeightsError
from cytobench.progress import Step
from cytobench.transfer import stream
from tests.encoders.local_hub import LocalHub, WebFile, serve

CONTENT = bytes(range(256)) * 1024
SHA = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).resolve().parents[2]


class Listener:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.total: int | None = None
        self.done = 0

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Step]:
        self.total = total
        yield self

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stream, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(stream, "TIMEOUT", 5.0)
    with serve() as running:
        yield running


def _get(uri: str, home: Path, **options: Any) -> ResolvedWeights:
    return resolve(uri, card_dir=None, home=home, **options)


def _left_behind(home: Path, uri: str) -> set[str]:
    folder = Deposit.of(uri, home).folder
    return {path.name for path in folder.iterdir() if path.name != ".lock"} if folder.is_dir() else set()


def _age(path: Path) -> None:
    """Make a change of the file visible even where time stamps are coarse."""
    os.utime(path, ns=(0, 10**9))


# -- files that are here already ---------------------------------------------------------------------------


def test_a_path_is_relative_to_the_folder_of_the_card(tmp_path: Path, home: Path) -> None:
    (tmp_path / "cards" / "w").mkdir(parents=True)
    (tmp_path / "cards" / "w" / "x.pth").write_bytes(CONTENT)
    found = resolve("w/x.pth", card_dir=tmp_path / "cards", home=home, sha256=SHA.upper())
    assert found == ResolvedWeights(tmp_path / "cards" / "w" / "x.pth", SHA, "", first_use=False)


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.pth").write_bytes(CONTENT)
    assert resolve("~/x.pth", card_dir=Path("/elsewhere"), home=home).path == tmp_path / "x.pth"


@pytest.mark.parametrize("path", ["gone.pth", "."])
def test_a_path_without_a_file_is_named(tmp_path: Path, home: Path, path: str) -> None:
    with pytest.raises(WeightsError, match=f"no file of weights at {tmp_path}.*card says '{path}'"):
        resolve(path, card_dir=tmp_path, home=home)


def test_a_users_own_file_with_a_wrong_digest_is_refused_but_stays(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"other")
    with pytest.raises(
        WeightsError, match=f"{hashlib.sha256(b'other').hexdigest()} where the card says {SHA}"
    ):
        _get(str(file), home, sha256=SHA)
    assert file.read_bytes() == b"other"


def test_shipped_weights_are_found_beside_the_cards(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytobench.registry.shipped_root", lambda: tmp_path)
    (tmp_path / "backbones" / "cytofm").mkdir(parents=True)
    (tmp_path / "backbones" / "cytofm" / "model.safetensors").write_bytes(CONTENT)
    assert _get("shipped:cytofm", home).sha256 == SHA
    with pytest.raises(WeightsError, match="names no shipped weights"):
        _get("shipped:../cytofm", home)


@pytest.mark.parametrize("uri", ["s3://bucket/x.pth", "ftp://host/x.pth"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(home: Path, uri: str) -> None:
    with pytest.raises(WeightsError, match=r"hf-hub:.*https://.*gdrive:"):
        _get(uri, home)


def test_a_malformed_digest_is_the_cards_fault(home: Path) -> None:
    with pytest.raises(WeightsError, match="64 hex digits; correct the card"):
        _get("x.pth", home, sha256="abc")


# -- over http(s) ------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_announced_and_whole(server: LocalHub, home: Path) -> None:
    server.files["/m/model%20a.pth"] = server.files["/m/model a.pth"] = WebFile(CONTENT)
    uri, listener = f"{server.url}/m/model%20a.pth", Listener()
    options: dict[str, Any] = {"sha256": SHA, "reporter": listener, "licence_url": "https://licence.example"}
    first = _get(uri, home, **options)
    assert first.path.read_bytes() == CONTENT
    assert first.path.name == "model_a.pth"
    assert (first.sha256, first.first_use) == (SHA, True)
    assert any(
        "262.1 kB" in text and uri in text and "https://licence.example" in text for text in listener.said
    )
    assert listener.total == listener.done == len(CONTENT)
    assert _get(uri, home, download=False, **options) == ResolvedWeights(first.path, SHA, "", first_use=False)
    assert len(server.asked) == 1
    assert _left_behind(home, uri) == {"model_a.pth", "source.json"}


def test_without_a_digest_the_first_download_is_trusted_and_every_later_use_compared(
    server: LocalHub, home: Path
) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    uri, listener = f"{server.url}/w.pth", Listener()
    first = _get(uri, home, reporter=listener)
    assert any(SHA in text and "every later use" in text for text in listener.said)
    assert any("not encrypted" in text for text in listener.warned)
    first.path.write_bytes(b"tampered")
    _age(first.path)
    with pytest.raises(WeightsError, match=f"where its first use recorded {SHA}"):
        _get(uri, home)
    assert not first.path.exists()
    assert _get(uri, home).path.read_bytes() == CONTENT
    (first.path).unlink()
    server.files["/w.pth"] = WebFile(b"another release")
    with pytest.raises(WeightsError, match=f"expected SHA-256 {SHA} but"):
        _get(uri, home)


def test_a_wrong_digest_is_told_with_both_and_leaves_no_file(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    uri = f"{server.url}/w.pth"
    with pytest.raises(WeightsError, match=f"expected SHA-256 {'0' * 64} but .* {SHA}"):
        _get(uri, home, sha256="0" * 64)
    assert _left_behind(home, uri) == set()


def test_nothing_is_fetched_when_downloads_are_off(server: LocalHub, home: Path) -> None:
    uri = f"{server.url}/w.pth"
    with pytest.raises(
        WeightsError, match=r"not on this machine; `cytobench extract`.*put the file into .*weights"
    ):
        _get(uri, home, download=False)
    assert server.asked == []
    assert not (home / "weights").exists()


def test_a_file_brought_by_hand_is_used_and_checked(server: LocalHub, home: Path) -> None:
    uri = f"{server.url}/w.pth"
    folder = Deposit.of(uri, home).folder
    folder.mkdir(parents=True)
    (folder / "from-a-stick.pth").write_bytes(CONTENT)
    assert _get(uri, home, sha256=SHA, download=False).path == folder / "from-a-stick.pth"
    (folder / "from-a-stick.pth").write_bytes(b"wrong")
    _age(folder / "from-a-stick.pth")
    with pytest.raises(WeightsError, match=f"where the card says {SHA}"):
        _get(uri, home, sha256=SHA, download=False)
    assert (folder / "from-a-stick.pth.rejected").exists()
    assert server.asked == []


def test_a_cut_connection_is_continued_where_it_broke(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT, cuts=[100_000, 0, 60_000], statuses=[503])
    listener = Listener()
    assert _get(f"{server.url}/w.pth", home, reporter=listener).sha256 == SHA
    ranges = [asked.headers.get("Range") for asked in server.asked]
    assert ranges == [None, None, "bytes=100000-", "bytes=100000-", "bytes=160000-"]
    assert listener.done == len(CONTENT)


@pytest.mark.parametrize("how", ["ignores ranges", "changed meanwhile", "no validator"])
def test_what_cannot_be_continued_safely_starts_over(
    server: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    file = server.files["/w.pth"] = WebFile(b"old" * 50_000, cuts=[70_000])
    file.ranges, file.etag = how != "ignores ranges", "" if how == "no validator" else None
    uri = f"{server.url}/w.pth"
    with monkeypatch.context() as patch:
        patch.setattr(stream, "PAUSES", ())
        with pytest.raises(
            WeightsError, match=r"keeps breaking.*70\.0 kB of 150\.0 kB are here, run the same"
        ):
            _get(uri, home)
    file.content = CONTENT
    assert _get(uri, home).sha256 == SHA
    assert _left_behind(home, uri) == {"w.pth", "source.json"}


def test_a_file_that_became_shorter_starts_over(
    server: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.files["/w.pth"] = WebFile(CONTENT * 2, etag='"same"', cuts=[len(CONTENT) + 5])
    with monkeypatch.context() as patch:
        patch.setattr(stream, "PAUSES", ())
        with pytest.raises(WeightsError, match="keeps breaking"):
            _get(f"{server.url}/w.pth", home)
    file.content = CONTENT
    assert _get(f"{server.url}/w.pth", home).sha256 == SHA


def test_a_connection_that_keeps_breaking_gives_up_and_keeps_what_arrived(
    server: LocalHub, home: Path
) -> None:
    server.files["/w.pth"] = WebFile(CONTENT, cuts=[1000, 0, 0, 0, 0])
    uri = f"{server.url}/w.pth"
    with pytest.raises(WeightsError, match=r"keeps breaking .*run the same command again to continue"):
        _get(uri, home)
    assert _left_behind(home, uri) == {".part", ".part.json"}
    assert _get(uri, home).sha256 == SHA
    assert server.asked[-1].headers["Range"] == "bytes=1000-"


def test_a_length_that_is_not_told_needs_a_digest(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT, length=False)
    with pytest.raises(WeightsError, match="does not say how long the file is; give its sha256"):
        _get(f"{server.url}/w.pth", home)
    server.files["/w.pth"].cuts = [5000]
    # A clean end looks like the end of the file, a reset connection is resumed: the network decides which.
    with suppress(WeightsError):
        assert _get(f"{server.url}/w.pth", home, sha256=SHA).sha256 == SHA
    assert _get(f"{server.url}/w.pth", home, sha256=SHA).sha256 == SHA


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, r"there is no file at .*w\.pth \(HTTP 404\); correct `weights`"),
        (403, "may not be downloaded without permission.*by hand"),
        (400, "cannot be downloaded .HTTP 400"),
        (500, r"cannot reach 127\.0\.0\.1.* \(HTTP 500"),
    ],
)
def test_a_refusal_is_one_sentence(server: LocalHub, home: Path, status: int, sentence: str) -> None:
    server.files["/w.pth"] = WebFile(CONTENT, statuses=[status] * 9)
    with pytest.raises(WeightsError, match=sentence):
        _get(f"{server.url}/w.pth", home)
    assert "w.pth" not in _left_behind(home, f"{server.url}/w.pth")


def test_a_web_page_is_not_taken_for_weights(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(b"<html>log in to the hotel network</html>", content_type="text/html")
    with pytest.raises(WeightsError, match="a web page instead of weights"):
        _get(f"{server.url}/w.pth", home)
    assert _left_behind(home, f"{server.url}/w.pth") == set()


def test_an_unreachable_host_names_the_way_to_bring_the_file_by_hand(home: Path, server: LocalHub) -> None:
    uri = "http://127.0.0.1:9/w.pth"
    folder = Deposit.of(uri, home).folder
    with pytest.raises(WeightsError, match=rf"cannot reach 127\.0\.0\.1:9 .*put it into {folder}/"):
        _get(uri, home)


def test_a_file_larger_than_the_free_space_is_not_begun(
    server: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WeightsError, match=r"needs 262.1 kB but only 1.0 kB are free in .*--home"):
        _get(f"{server.url}/w.pth", home)
    assert _left_behind(home, f"{server.url}/w.pth") == set()


def test_a_disk_that_fills_up_gets_its_room_back(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    child = _child(f"{server.url}/w.pth", home, prelude=limit)
    output, _ = child.communicate(timeout=30)
    assert "WeightsError: no room left for weights in" in output
    assert _left_behind(home, f"{server.url}/w.pth") == set()


def test_a_read_only_home_serves_what_it_holds_and_says_what_it_cannot(
    server: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    _get(f"{server.url}/w.pth", home)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for writing in ("mkdir", "replace", "write_text", "write_bytes", "touch", "unlink"):
        monkeypatch.setattr(Path, writing, read_only)
    assert _get(f"{server.url}/w.pth", home).sha256 == SHA
    with pytest.raises(WeightsError, match=r"cannot write weights to .*Read-only file system.*--home"):
        _get(f"{server.url}/other.pth", home)


def test_a_home_that_is_a_file_is_one_sentence(server: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(WeightsError, match=r"cannot write weights to .*--home"):
        _get(f"{server.url}/w.pth", tmp_path / "home")


def test_a_damaged_note_is_one_sentence(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    held = _get(f"{server.url}/w.pth", home)
    note = held.path.with_name("source.json")
    assert json.loads(note.read_text())["sha256"] == SHA
    note.write_text('{"uri": ')
    with pytest.raises(WeightsError, match=r"source\.json .* is damaged"):
        _get(f"{server.url}/w.pth", home)


def test_a_redirect_is_followed_but_never_from_https_to_http(server: LocalHub, home: Path) -> None:
    server.files["/old.pth"] = WebFile(b"", redirect=f"{server.other_host}/new.pth")
    server.files["/new.pth"] = WebFile(CONTENT, cuts=[9000])
    assert _get(f"{server.url}/old.pth", home).sha256 == SHA
    handler = stream._SafeRedirects()
    secure = stream.urllib.request.Request("https://host/w.pth")
    with pytest.raises(TransferError, match="unencrypted"):
        handler.redirect_request(secure, None, 302, "", None, "http://host/w.pth")  # type: ignore[arg-type]


# -- kills and company -------------------------------------------------------------------------------------

_SCRIPT = """
import sys
from pathlib import Path
from cytobench.encoders.weights import resolve
{prelude}
print("ready", flush=True)
print(resolve(sys.argv[1], card_dir=None, home=Path(sys.argv[2])).sha256)
"""


_DIES_BEFORE_NAMING = """
import os
real = Path.replace
Path.replace = lambda self, target: os._exit(9) if Path(target).name == "w.pth" else real(self, target)
"""


def _child(uri: str, home: Path, *, prelude: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT.format(prelude=prelude), uri, str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def test_a_killed_download_is_continued_by_the_next_process(server: LocalHub, home: Path) -> None:
    file = server.files["/w.pth"] = WebFile(CONTENT, pace=0.02)
    uri = f"{server.url}/w.pth"
    part = Deposit.of(uri, home).folder / ".part"
    for share in (0.15, 0.4, 0.7):
        child = _child(uri, home)
        while not part.exists() or part.stat().st_size < share * len(CONTENT):
            assert child.poll() is None, child.communicate()[0]
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not (part.parent / "w.pth").exists()
    file.pace = 0
    assert _get(uri, home).path.read_bytes() == CONTENT
    starts = [int(asked.headers.get("Range", "bytes=0-")[6:-1]) for asked in server.asked]
    assert starts == sorted(set(starts))
    assert starts[-1] >= 0.7 * len(CONTENT)


def test_a_kill_between_the_note_and_the_name_is_made_good(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT)
    uri = f"{server.url}/w.pth"
    child = _child(uri, home, prelude=_DIES_BEFORE_NAMING)
    child.communicate(timeout=30)
    assert child.returncode == 9
    assert "w.pth" not in _left_behind(home, uri)
    assert _get(uri, home).path.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_two_processes_fetch_one_file_once(server: LocalHub, home: Path) -> None:
    server.files["/w.pth"] = WebFile(CONTENT, pace=0.02)
    children = [_child(f"{server.url}/w.pth", home) for _ in range(3)]
    outputs = [child.communicate(timeout=60)[0].splitlines()[-1] for child in children]
    assert outputs == [SHA] * 3
    assert len(server.asked) == 1


def test_writers_that_no_lock_keeps_apart_notice_each_other(
    server: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network shares grant every lock to everybody."""
    server.files["/w.pth"] = WebFile(CONTENT)
    uri = f"{server.url}/w.pth"
    real = stream._Transfer.run

    def with_company(self: Any) -> None:
        real(self)
        stream.Part(self._part.folder).restart("", 5, "")

    monkeypatch.setattr(stream._Transfer, "run", with_company)
    with pytest.raises(WeightsError, match="another process wrote to"):
        _get(uri, home)
    assert "w.pth" not in _left_behind(home, uri)
