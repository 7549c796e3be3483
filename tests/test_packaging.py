"""What `pip install` gives: the built wheel holds all cards and the command, and nothing rendered."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the tracked files and unpack it as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout: cannot tell which files belong to the project")
    for name in tracked.stdout.decode().split("\0"):
        origin = ROOT / name
        if name and origin.is_file() and not name.startswith(("tests/", "benchmarks/")):
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(origin.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def _python(site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_the_wheel_ships_every_card_and_only_cards(unpacked: Path) -> None:
    inside = unpacked / "cytobench" / "_cards"
    for kind in ("backbones", "tasks", "leaderboards"):
        shipped = sorted(path.name for path in (inside / kind).glob("*.toml"))
        assert shipped == sorted(path.name for path in (ROOT / kind).glob("*.toml"))
    rendered = [
        path for path in (inside / "leaderboards").rglob("*") if path.suffix != ".toml" and path.is_file()
    ]
    assert not rendered
    assert (inside / "constraints.txt").read_text() == (ROOT / "constraints.txt").read_text()


def test_the_installed_command_reads_the_cards_of_the_wheel(unpacked: Path) -> None:
    code = "from cytobench.registry import Registry, shipped_root as root; "
    code += "print(root(), len(Registry.load(entry_points=False).tasks))"
    where, count = _python(unpacked, "-c", code).split()
    assert Path(where) == unpacked / "cytobench" / "_cards"
    assert int(count) == len(list((ROOT / "tasks").glob("*.toml")))


def test_the_wheel_names_the_command_and_runs_it(unpacked: Path) -> None:
    (points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "cytobench = cytobench.cli:main" in points.read_text()
    assert "morphology" in _python(unpacked, "-m", "cytobench", "list", "backbones")
