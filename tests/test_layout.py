"""The house keeps its shape: imports run downhill, nothing heavy loads on the way to help and lists."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cytobench

PACKAGE = Path(cytobench.__file__).parent
LEVELS = [
    {"errors", "progress", "findings", "fingerprint", "heap", "toml_text", "__init__"},
    {"digests", "cards", "card_files", "manifest", "transfer"},
    {"registry", "plugins"},
    {"images", "perturb", "datasets", "pictures"},
    {"features", "encoders"},
    {"probes", "statistics"},
    {"evaluation"},
    {"leaderboard", "retrieval", "pretraining", "inspection"},
    {"checks", "audit", "interchange", "scaffold"},
    {"app"},
    {"cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# A name like timm:… becomes a card only with timm's help; the registry asks for that when it is used.
ALLOWED_UPHILL = {("registry", "encoders")}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = (
                [node.module] if node.module != "cytobench" else [f"cytobench.{a.name}" for a in node.names]
            )
        else:
            continue
        parts = [module.split(".") for module in modules if module.startswith("cytobench.")]
        rooms |= {part[1] for part in parts}
    return rooms


def test_every_module_stands_in_a_known_room() -> None:
    assert {_room(path) for path in PACKAGE.rglob("*.py")} <= set(LEVEL)


def test_imports_run_downhill() -> None:
    uphill = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = _room(path)
        for target in _imported_rooms(path) - {room}:
            if LEVEL.get(target, 0) > LEVEL[room] and (room, target) not in ALLOWED_UPHILL:
                uphill.append(f"{path.relative_to(PACKAGE)} imports {target}")
    assert not uphill


def test_probes_and_statistics_know_arrays_only() -> None:
    for path in (PACKAGE / "probes").rglob("*.py"):
        assert _imported_rooms(path) <= {"probes", "errors"}, path


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        (
            "from cytobench.cli import main",
            {"torch", "timm", "faiss", "open_clip", "pydantic", "polars", "sklearn", "numpy"},
        ),
        (
            "from cytobench.registry import Registry; r = Registry.load(); r.task('cell-type-pbc')",
            {"torch", "timm", "faiss", "open_clip", "sklearn", "polars"},
        ),
        (
            "import cytobench.datasets, cytobench.evaluation, cytobench.encoders",
            {"torch", "timm", "faiss", "open_clip", "sklearn"},
        ),
    ],
)
def test_nothing_heavy_is_imported_on_the_way(code: str, forbidden: set[str]) -> None:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not forbidden & {name.split(".")[0] for name in ran.stdout.split()}
