"""The Hugging Face hub, played on loopback: pinning, permission, and every refusal in one sentence."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cytobench.encoders.deposit import Deposit
from cytobench.encoders.weights import ResolvedWeights, resolve
from cytobench.errors import WeightsError
from tests.encoders.local_hub import LocalHub, Repo, WebFile, serve_hugging_face

CONTENT = bytes(reversed(range(256))) * 1024
SHA = hashlib.sha256(CONTENT).hexdigest()
OLD, NEW = "a" * 40, "b" * 40
UNI = "hf-hub:MahmoodLab/UNI"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A hub with one model at one commit, and a user who is not logged in."""
    with serve_hugging_face(monkeypatch, tmp_path) as running:
        files = {"README.md": b"#", "config.json": b"{}", "pytorch_model.bin": CONTENT}
        running.repos["MahmoodLab/UNI"] = Repo({OLD: files}, {"main": OLD, "v1": OLD})
        yield running


def _get(uri: str, home: Path, **options: Any) -> ResolvedWeights:
    return resolve(uri, card_dir=None, home=home, **options)


def test_the_branch_is_pinned_at_first_use_and_kept_afterwards(hub: LocalHub, home: Path) -> None:
    first = _get(UNI, home)
    assert first == ResolvedWeights(first.path, SHA, OLD, first_use=True)
    assert first.path.read_bytes() == CONTENT
    hub.repos["MahmoodLab/UNI"].commits[NEW] = {"pytorch_model.bin": b"retrained"}
    hub.repos["MahmoodLab/UNI"].refs["main"] = NEW
    hub.asked.clear()
    assert _get(UNI, home) == ResolvedWeights(first.path, SHA, OLD, first_use=False)
    assert hub.asked == []
    first.path.unlink()
    assert _get(UNI, home).revision == OLD
    assert _get(f"{UNI}@main:pytorch_model.bin", home).revision == NEW


def test_a_pinned_commit_and_file_need_no_look_at_the_branch(hub: LocalHub, home: Path) -> None:
    assert _get(f"{UNI}@{OLD}:pytorch_model.bin", home).revision == OLD
    assert not hub.gets("/api/models")
    assert _get(f"{UNI}@v1", home).revision == OLD


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
        (["open_clip_pytorch_model.bin", "config.json"], "open_clip_pytorch_model.bin"),
        (["notes.txt", "weights/dinobloom.pth"], "dinobloom.pth"),
    ],
)
def test_without_a_file_the_customary_one_is_taken(
    hub: LocalHub, home: Path, files: list[str], chosen: str
) -> None:
    hub.repos["lab/model"] = Repo({OLD: {name: name.encode() for name in files}}, {"main": OLD})
    found = _get("hf-hub:lab/model", home)
    assert found.path.name == chosen
    assert found.path.read_bytes().decode().endswith(chosen)
    found.path.unlink()
    assert _get("hf-hub:lab/model", home).path == found.path


def test_several_uncustomary_files_must_be_told_apart(hub: LocalHub, home: Path) -> None:
    hub.repos["lab/model"] = Repo({OLD: {"small.pth": b"s", "large.pth": b"l"}}, {"main": OLD})
    with pytest.raises(WeightsError, match=r"large\.pth, small\.pth; name one as hf-hub:lab/model:FILE"):
        _get("hf-hub:lab/model", home)
    assert _get("hf-hub:lab/model:small.pth", home).path.read_bytes() == b"s"


def test_the_token_is_shown_to_the_hub_and_to_nobody_else(
    hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    repo = hub.repos["MahmoodLab/UNI"]
    repo.gated, repo.readers, repo.storage = True, ("hf_reader",), True
    assert _get(UNI, home, gated=True).sha256 == SHA
    shown = {asked.path.split("/")[1]: asked.headers.get("Authorization") for asked in hub.gets("/")}
    assert shown["MahmoodLab"] == "Bearer hf_reader"
    assert shown["storage"] is None


@pytest.mark.parametrize("licence", ["https://licence.example/uni", ""])
def test_a_gated_model_without_a_token_names_the_licence_and_the_variable(
    hub: LocalHub, home: Path, licence: str
) -> None:
    hub.repos["MahmoodLab/UNI"].gated = True
    page = licence or f"{hub.url}/MahmoodLab/UNI"
    with pytest.raises(WeightsError, match=f"is gated: accept its licence at {page}, then set HF_TOKEN"):
        _get(UNI, home, gated=True, licence_url=licence)


def test_a_gated_model_with_a_token_that_has_no_access_says_so(
    hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["MahmoodLab/UNI"].gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(WeightsError, match=f"HF_TOKEN.*may not read it.*{hub.url}/MahmoodLab/UNI"):
        _get(UNI, home, gated=True)
    hub.repos["MahmoodLab/UNI"].private = True
    with pytest.raises(WeightsError, match="HF_TOKEN"):
        _get(f"{UNI}@v1", home, gated=True)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("hf-hub:MahmoodLab/UNO", "there is no model MahmoodLab/UNO at .* correct `weights`"),
        (f"{UNI}@v7", "MahmoodLab/UNI has no revision v7"),
        (f"{UNI}:gone.bin", r"there is no file gone\.bin in MahmoodLab/UNI at revision main"),
        (f"{UNI}@{OLD}:gone.bin", r"there is no file gone\.bin in MahmoodLab/UNI at revision a{40}"),
        (f"{UNI}@{NEW}:pytorch_model.bin", "MahmoodLab/UNI has no revision b{40}"),
        ("hf-hub:UNI", r"write hf-hub:OWNER/REPO\[@REVISION\]\[:FILE\]"),
        (f"{UNI}:../../etc/passwd", "is not an address on the hub"),
    ],
)
def test_what_is_not_there_is_named(hub: LocalHub, home: Path, uri: str, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence) as caught:
        _get(uri, home)
    assert "\n" not in str(caught.value)


def test_a_cut_connection_is_continued(hub: LocalHub, home: Path) -> None:
    path = f"/MahmoodLab/UNI/resolve/{OLD}/pytorch_model.bin"
    hub.bodies[path] = WebFile(CONTENT, cuts=[90_000])
    assert _get(UNI, home).sha256 == SHA
    assert hub.asked[-1].headers["Range"] == "bytes=90000-"


def test_a_digest_the_hub_already_contradicts_costs_no_download(hub: LocalHub, home: Path) -> None:
    with pytest.raises(
        WeightsError, match=f"has SHA-256 {SHA} where {'0' * 64} is expected; nothing was fetched"
    ):
        _get(UNI, home, sha256="0" * 64)
    assert not hub.gets("/resolve/")


def test_bytes_that_differ_from_what_the_hub_announced_are_thrown_away(hub: LocalHub, home: Path) -> None:
    hub.repos["MahmoodLab/UNI"].storage = True
    hub.files[f"/storage/{SHA}"] = WebFile(bytes(len(CONTENT)))
    with pytest.raises(WeightsError, match=f"expected SHA-256 {SHA} but .*thrown away"):
        _get(UNI, home)
    assert not (Deposit.of(UNI, home).folder / "pytorch_model.bin").exists()


def test_a_file_of_the_users_own_hub_cache_is_copied(hub: LocalHub, home: Path, tmp_path: Path) -> None:
    repo = tmp_path / "cache" / "models--MahmoodLab--UNI"
    (repo / "blobs").mkdir(parents=True)
    (repo / "snapshots" / OLD).mkdir(parents=True)
    (repo / "blobs" / SHA).write_bytes(CONTENT)
    (repo / "snapshots" / OLD / "pytorch_model.bin").symlink_to(repo / "blobs" / SHA)
    uri = f"{UNI}@{OLD}:pytorch_model.bin"
    found = _get(uri, home)
    assert (found.sha256, hub.asked) == (SHA, [])
    assert not found.path.is_symlink()
    found.path.unlink()
    Deposit.of(uri, home).folder.joinpath("source.json").unlink()
    (repo / "blobs" / SHA).write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=f"expected SHA-256 {SHA}"):
        _get(uri, home)


def test_an_unreachable_hub_names_the_way_to_bring_the_file_by_hand(
    hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = Deposit.of(UNI, home).folder
    with pytest.raises(WeightsError, match=rf"cannot reach http://127\.0\.0\.1:9 .*put it into {folder}/"):
        _get(UNI, home)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytorch_model.bin").write_bytes(CONTENT)
    assert _get(UNI, home).sha256 == SHA


def test_offline_mode_is_respected(hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for uri in (UNI, f"{UNI}@{OLD}:pytorch_model.bin"):
        with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE is set.*put it into"):
            _get(uri, home)
    assert hub.asked == []


def test_a_killed_download_is_continued_by_the_next_process(hub: LocalHub, home: Path) -> None:
    path = f"/MahmoodLab/UNI/resolve/{OLD}/pytorch_model.bin"
    body = hub.bodies[path] = WebFile(CONTENT, pace=0.02)
    script = (
        "import sys; from pathlib import Path; from cytobench.encoders.weights import resolve\n"
        "resolve(sys.argv[1], card_dir=None, home=Path(sys.argv[2]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, UNI, str(home)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0"},
    )
    part = Deposit.of(UNI, home).folder / ".part"
    while not part.exists() or part.stat().st_size < len(CONTENT) // 2:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    body.pace = 0
    assert _get(UNI, home).sha256 == SHA
    assert int(hub.asked[-1].headers["Range"][6:-1]) >= len(CONTENT) // 2
