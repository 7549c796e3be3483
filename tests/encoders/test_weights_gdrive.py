"""Google Drive, played on loopback: its warning is passed, its other pages are not taken for weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cytobench.encoders.deposit import Deposit
from cytobench.encoders.gdrive import BASE_VARIABLE
from cytobench.encoders.weights import resolve
from cytobench.errors import WeightsError
from cytobench.transfer import stream
from tests.encoders.local_hub import Drive, LocalHub, WebFile, serve

CONTENT = b"iBOT teacher " * 20_000
SHA = hashlib.sha256(CONTENT).hexdigest()
FILE_ID = "1iG1OcQTzXNzpjnSXHu79Zs5WqyTznf4a"
URI = f"gdrive:{FILE_ID}"


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stream, "PAUSES", (0.0, 0.0))
    with serve() as running:
        monkeypatch.setenv(BASE_VARIABLE, running.url)
        yield running


@pytest.mark.parametrize("page", ["form", "cookie", "link", "none"])
def test_the_warning_of_large_files_is_passed(drive: LocalHub, home: Path, page: str) -> None:
    drive.drive[FILE_ID] = Drive(CONTENT, page=page)
    found = resolve(URI, card_dir=None, home=home)
    assert found.path.read_bytes() == CONTENT
    assert (found.path.name, found.first_use) == ("cytofm_weights.pth", True)


def test_the_first_download_is_trusted_and_a_changed_file_is_noticed(drive: LocalHub, home: Path) -> None:
    drive.drive[FILE_ID] = Drive(CONTENT)
    first = resolve(URI, card_dir=None, home=home)
    assert not resolve(URI, card_dir=None, home=home, download=False).first_use
    first.path.unlink()
    drive.drive[FILE_ID].content = b"something else"
    with pytest.raises(WeightsError, match=f"expected SHA-256 {SHA} but"):
        resolve(URI, card_dir=None, home=home)
    first.path.write_bytes(b"planted")
    os.utime(first.path, ns=(0, 10**9))
    with pytest.raises(WeightsError, match=f"its first use recorded {SHA}"):
        resolve(URI, card_dir=None, home=home)
    assert not first.path.exists()


def test_a_cut_connection_is_continued_past_a_new_warning(drive: LocalHub, home: Path) -> None:
    drive.drive[FILE_ID] = Drive(CONTENT)
    drive.bodies[FILE_ID] = WebFile(CONTENT, etag="", cuts=[len(CONTENT), 50_000, 0, 0, 0])
    with pytest.raises(WeightsError, match=r"50\.0 kB of 260\.0 kB are here"):
        resolve(URI, card_dir=None, home=home)
    assert resolve(URI, card_dir=None, home=home).sha256 == SHA
    assert drive.asked[-1].headers["Range"] == "bytes=50000-"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("quota", "its download quota is used up for today"),
        ("form, then quota", "its download quota is used up for today"),
        ("denied", "You need access"),
    ],
)
def test_another_page_is_an_error_that_says_which(
    drive: LocalHub, home: Path, page: str, reason: str
) -> None:
    drive.drive[FILE_ID] = Drive(CONTENT, page=page)
    folder = Deposit.of(URI, home).folder
    by_hand = rf"drive\.google\.com/file/d/{FILE_ID}/view in a browser and put the file into {folder}/"
    with pytest.raises(WeightsError, match=rf"\({reason}\).*{by_hand}"):
        resolve(URI, card_dir=None, home=home)
    assert {path.name for path in folder.iterdir()} == {".lock"}


def test_a_hiccup_is_waited_out_and_a_refusal_is_not(drive: LocalHub, home: Path) -> None:
    drive.drive[FILE_ID] = Drive(CONTENT)
    body = drive.bodies[FILE_ID] = WebFile(CONTENT, etag="", statuses=[403])
    with pytest.raises(WeightsError, match=r"does not hand out .* \(HTTP 403\)"):
        resolve(URI, card_dir=None, home=home)
    body.statuses = [503, 429]
    assert resolve(URI, card_dir=None, home=home).sha256 == SHA


def test_an_unknown_file_a_malformed_id_and_no_network_are_sentences(
    drive: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"does not hand out .*no such file"):
        resolve("gdrive:0123456789abc", card_dir=None, home=home)
    with pytest.raises(WeightsError, match="has no Google Drive file id"):
        resolve("gdrive:x/../y", card_dir=None, home=home)
    monkeypatch.setenv(BASE_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"cannot reach 127\.0\.0\.1:9 .*file/d/.*put it into"):
        resolve(URI, card_dir=None, home=home)
