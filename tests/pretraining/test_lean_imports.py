"""Pretraining starts where only torch, timm and numpy are, without the benchmark's libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cytobench.pretraining

ROOM = Path(cytobench.pretraining.__file__).parent
MATHEMATICS = [
    *("schedules", "masking", "precision", "heads", "losses", "centring", "sinkhorn"),
    *("positions", "packing", "masked_vit", "ibot", "optim", "distributed"),
    *("draws", "resample", "colour", "augment", "sampler", "recipe", "build", "watch", "meter"),
]
FOREIGN = ("pydantic", "polars", "optuna", "faiss", "open_clip", "sklearn", "skimage", "pandas")


def imported(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("name", MATHEMATICS)
def test_the_mathematics_imports_torch_timm_and_numpy_alone(name: str) -> None:
    allowed = {"torch", "timm", "numpy", "__future__", *sys.stdlib_module_names}
    for module in imported(ROOM / f"{name}.py"):
        own = module in ("cytobench.errors", "cytobench.progress") or module.startswith(
            "cytobench.pretraining"
        )
        assert own or module.split(".")[0] in allowed, module


@pytest.mark.slow
def test_a_training_step_loads_without_the_benchmarks_libraries() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}))"
    rooms = sorted(path.stem for path in ROOM.glob("*.py") if path.stem != "__init__")
    names = [*(f"cytobench.pretraining.{room}" for room in rooms), "cytobench.encoders.checkpoint"]
    code = "; ".join([blocked, *(f"import {name}" for name in names), "import cytobench.cli.pretrain"])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
