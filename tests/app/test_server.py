"""Starting and stopping the server; what it offers, and what it says where it cannot."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from cytobench.app.bench import Bench
from cytobench.app.server import Address, free_address
from cytobench.errors import UsageError
from cytobench.registry import Registry
from tests.app.conftest import HOSTILE, serving, write_collections
from tests.cli.shell import Command

pytest_plugins = ("tests.cli.conftest",)


@pytest.fixture
def bench(tmp_path: Path, home: Path) -> Bench:
    """Everything that can be offered beside the toy collections."""
    (tmp_path / "my").mkdir()
    write_collections(tmp_path / "my")
    return Bench(Registry.load([tmp_path / "my"], entry_points=False), home, device="cpu")


def test_a_port_in_use_is_named_and_another_one_taken_only_if_asked() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} on 127.0.0.1 is in use"):
            free_address("127.0.0.1", port, search=False)
        assert free_address("127.0.0.1", port, search=True).port > port


def test_a_host_that_is_none_of_this_machines_is_refused() -> None:
    with pytest.raises(UsageError, match="check --host"):
        free_address("192.0.2.1", 8080, search=False)


def test_whoever_lets_others_in_is_warned() -> None:
    assert Address("127.0.0.1", 8080).warning == ""
    assert Address("localhost", 8080).warning == ""
    assert "no password" in Address("0.0.0.0", 8080).warning
    assert Address("0.0.0.0", 8080).url == "http://127.0.0.1:8080/"
    assert Address("::1", 8080).url == "http://[::1]:8080/"


def test_without_the_extra_a_sentence_says_how_to_get_it(
    cytobench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    ran = cytobench("serve", "--no-open")
    assert ran.code == 2
    assert "pip install nicegui` (the extra 'serve')" in ran.err


def test_a_name_that_is_not_offered_is_refused_before_anything_listens(
    cytobench: Command, tmp_path: Path
) -> None:
    pytest.importorskip("nicegui", reason="no tests of the page: NiceGUI is missing")
    write_collections(tmp_path)
    options = ("serve", "--no-open", "--any-port", "--plugin", tmp_path)
    ran = cytobench(*options, "-d", "toy", "-b", "majority")
    assert ran.code == 2
    assert "majority" in ran.err
    assert "predicts without looking" in ran.err
    ran = cytobench(*options, "-d", "bccd-cell-type")
    assert ran.code == 2
    assert "at hand are" in ran.err


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="no tests of the page: NiceGUI is missing")
    with serving(tmp_path, "-d", "toy", "-b", "morphology") as server:
        assert [path.name for path in server.temporary.iterdir() if path.name.startswith("cytobench-serve-")]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
    assert server.said().splitlines()[-1] == "Stopped."
    assert "Traceback" not in server.said()
    assert not [path for path in server.temporary.iterdir() if path.name.startswith("cytobench-serve-")]
    assert not list((tmp_path / "cwd").iterdir())


def test_what_cannot_be_loaded_here_is_named_with_its_reason_and_no_folder(bench: Bench) -> None:
    offers = {one.name: one for one in bench.backbones}
    assert offers["uni"].why_not.endswith("are not on this machine")
    assert str(bench.home) not in "".join(one.why_not for one in bench.backbones)
    assert {"morphology", "random-vit-tiny"} <= set(bench.usable)
    assert {"toy", "toy-fields", "toy-hidden"} <= set(bench.collections)
    assert not {"uni", "majority"} & set(bench.usable)


@pytest.mark.parametrize(
    "pair",
    [
        ("../../etc/passwd", "morphology"),
        ("/etc/passwd.toml", "morphology"),
        ("toy", "/tmp/x.toml"),
        ("toy", "timm:vit_tiny_patch16_224"),
        ("toy", "ibot:/etc/passwd?arch=vit_tiny"),
        (HOSTILE, "morphology"),
        ("bccd-cell-type", "morphology"),
    ],
)
def test_names_from_a_browser_are_never_paths(bench: Bench, pair: tuple[str, str]) -> None:
    for ask in (bench.check, bench.is_prepared, bench.open):
        with pytest.raises(UsageError):
            ask(pair)


def test_a_collection_is_opened_once_for_all_and_anew_after_a_failure(bench: Bench, tmp_path: Path) -> None:
    pair = ("toy", "morphology")
    assert not bench.is_prepared(pair)
    image = tmp_path / "my" / "p0" / "0.png"
    kept = image.read_bytes()
    image.write_bytes(b"no image")
    failed = bench.open(pair)
    assert failed.wait(60)
    assert "0.png" in failed.error
    assert failed.result is None
    image.write_bytes(kept)
    job = bench.open(pair)
    assert job is not failed
    assert bench.open(pair) is job
    assert job.wait(60)
    assert job.error == ""
    assert job.result is not None
    assert job.result.size == 48
    assert bench.is_prepared(pair)
    assert bench.first(None, "morphology") == pair


def test_what_fails_because_the_server_ends_is_no_failure_to_tell_of(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "my" / "p0" / "0.png").write_bytes(b"no image")
    bench.close()
    job = bench.open(("toy", "morphology"))
    assert job.wait(60)
    assert job.error == "The server has ended; what was finished is kept."
