"""Remembered digests: fast when nothing changed, never stale when something did."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cytobench import digests
from cytobench.digests import FileDigests
from cytobench.errors import DataError


def _settled(path: Path, content: bytes) -> Path:
    """Write a file whose mtime looks as if it had been left alone for a while (ctime is the kernel's)."""
    path.write_bytes(content)
    os.utime(path, ns=(0, time.time_ns() - 10**12))
    return path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files as settled as soon as they are written, so that tests need not wait two seconds."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**12))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose bytes were really read."""
    names: list[str] = []
    real = FileDigests._hash

    def counted(self: FileDigests, path: Path) -> str:
        names.append(path.name)
        return real(self, path)

    monkeypatch.setattr(FileDigests, "_hash", counted)
    return names


@pytest.mark.usefixtures("at_once")
def test_a_second_process_answers_without_reading_the_file(
    home: Path, tmp_path: Path, hashed: list[str]
) -> None:
    file = _settled(tmp_path / "cell.jpg", b"nucleus")
    first = FileDigests(home)
    assert first.sha256(file) == hashlib.sha256(b"nucleus").hexdigest()
    first.flush()
    assert FileDigests(home).sha256(file) == hashlib.sha256(b"nucleus").hexdigest()
    assert hashed == ["cell.jpg"]
    assert FileDigests(home, rehash=True).sha256(file) == hashlib.sha256(b"nucleus").hexdigest()
    assert hashed == ["cell.jpg", "cell.jpg"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", ["in place", "by rename", "same size and mtime"])
def test_a_changed_file_gets_its_new_digest(home: Path, tmp_path: Path, how: str) -> None:
    file = _settled(tmp_path / "cell.jpg", b"benign")
    with_memory = FileDigests(home)
    before, stamp = with_memory.sha256(file), file.stat().st_mtime_ns
    with_memory.flush()
    time.sleep(0.02)  # the kernel's ctime has the granularity of a timer tick
    if how == "by rename":
        _settled(tmp_path / "new.jpg", b"cancer").replace(file)
    else:
        file.write_bytes(b"cancer")
    if how == "same size and mtime":
        os.utime(file, ns=(stamp, stamp))
    assert FileDigests(home).sha256(file) == hashlib.sha256(b"cancer").hexdigest() != before


def test_a_file_touched_a_moment_ago_is_not_remembered(home: Path, tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "young.jpg").write_bytes(b"1")
    memory = FileDigests(home)
    memory.sha256(tmp_path / "young.jpg")
    memory.sha256(tmp_path / "young.jpg")
    assert hashed == ["young.jpg", "young.jpg"]


@pytest.mark.usefixtures("at_once")
def test_many_files_come_back_in_order_with_repeats(home: Path, tmp_path: Path) -> None:
    files = [_settled(tmp_path / f"{i}.jpg", bytes([i])) for i in range(100)]
    asked = [*files, files[3], files[0]]
    expected = [hashlib.sha256(file.read_bytes()).hexdigest() for file in asked]
    assert FileDigests(home).sha256_many(asked) == expected
    assert FileDigests(home).sha256_many(asked) == expected


@pytest.mark.usefixtures("at_once")
def test_damaged_batches_are_ignored_and_many_batches_are_merged(
    home: Path, tmp_path: Path, hashed: list[str]
) -> None:
    files = [_settled(tmp_path / f"{i}.jpg", bytes([i])) for i in range(20)]
    for file in files:
        memory = FileDigests(home)
        memory.sha256(file)
        memory.flush()
    batches = sorted((home / "digests").glob("*.bin"))
    assert len(batches) < 20
    for damage in (b"", b"CBDIGST1", b"CBDIGST1" + bytes(16 + 56), batches[0].read_bytes()[:-1]):
        (home / "digests" / f"0-{len(damage)}.bin").write_bytes(damage)
    hashed.clear()
    again = FileDigests(home)
    assert [again.sha256(file) for file in files] == [
        hashlib.sha256(bytes([i])).hexdigest() for i in range(20)
    ]
    assert hashed == []


@pytest.mark.usefixtures("at_once")
def test_rehashing_corrects_the_memory_for_everyone_after(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _settled(tmp_path / "cell.jpg", b"true")
    lying = FileDigests(home)
    with monkeypatch.context() as patch:
        patch.setattr(digests.hashlib, "file_digest", lambda *_: hashlib.sha256(b"false"))
        lying.sha256(file)
    lying.flush()
    assert FileDigests(home).sha256(file) == hashlib.sha256(b"false").hexdigest()
    corrected = FileDigests(home, rehash=True)
    corrected.sha256(file)
    corrected.flush()
    assert FileDigests(home).sha256(file) == hashlib.sha256(b"true").hexdigest()


def test_killed_writers_leave_a_memory_that_can_be_read(home: Path, tmp_path: Path) -> None:
    for i in range(400):
        _settled(tmp_path / f"{i}.jpg", bytes([i % 256]) * i)
    script = (
        "import sys; from pathlib import Path; from cytobench import digests\n"
        "digests._SETTLED_NS = -10**12; digests._FLUSH_RECORDS = 3\n"
        "print('ready', flush=True)\n"
        "while True: digests.FileDigests(Path(sys.argv[1])).sha256_many(Path(sys.argv[2]).glob('*.jpg'))\n"
    )
    command = [sys.executable, "-c", script, str(home), str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    for i, child in enumerate(children):
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05 * i)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    files = sorted(tmp_path.glob("*.jpg"))
    expected = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert FileDigests(home).sha256_many(files) == expected


def test_a_memory_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    file = _settled(tmp_path / "cell.jpg", b"x")
    assert FileDigests(tmp_path / "home").sha256_many([file]) == [hashlib.sha256(b"x").hexdigest()]


def test_an_unreadable_file_is_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.jpg"):
        FileDigests(home).sha256(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=str(tmp_path)):
        FileDigests(home).sha256_many([tmp_path])
