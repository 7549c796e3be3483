"""Eight synthetic patients and a few backbones without weights: a whole benchmark in about a second.

Run as a program it is the child process of the tests that kill or inspect one: ROOT HOME [backbone …].
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from cytobench.cards import BackboneCard, Preprocess, TaskCard
from cytobench.encoders.handcrafted.colour import FEATURE_NAMES
from cytobench.evaluation.run import RunOutcome, RunRequest, benchmark

CLASSES = ("blast", "lymphocyte", "monocyte")
PATIENTS, CELLS_EACH = 8, 6


def write_cells(root: Path, *, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """Write PNG cells whose colour hints at their class, and a table of them; return its path."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(PATIENTS):
        stain = rng.normal(0, 12, 3)
        for cell in range(CELLS_EACH):
            code = int(rng.integers(len(classes)))
            colour = 120 + 40 * np.eye(3)[code] + stain + rng.normal(0, 14, 3)
            pixels = np.clip(colour + rng.normal(0, 20, (24, 24, 3)), 0, 255).astype(np.uint8)
            image = root / f"p{patient}" / f"{cell}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(image)
            rows.append(
                (f"p{patient}/{cell}.png", classes[code], f"p{patient}", classes[patient % len(classes)])
            )
    table = pl.DataFrame(rows, schema=["image", "cell_type", "patient", "diagnosis"], orient="row")
    table.write_csv(root / "cells.csv")
    return root / "cells.csv"


def task(root: Path, **changes: Any) -> TaskCard:
    """Return the task card of the cells under `root`."""
    card: dict[str, Any] = {
        "name": "toy",
        "title": "Toy cells",
        "dataset": {"format": "table", "path": "cells.csv"},
        "label": "cell_type",
        "group": "patient",
        "split": {"folds": 3},
        "view": {"kind": "box"},
        "source": root / "toy.toml",
    }
    return TaskCard(**{**card, **changes})


def bag_task(root: Path) -> TaskCard:
    """Return a task over the patients as bags of cells."""
    return task(
        root,
        name="toy-bags",
        unit="bag",
        bag="patient",
        label="diagnosis",
        probes=("mean-linear", "abmil"),
        split={"folds": 2},
    )


def backbone(name: str, **changes: Any) -> BackboneCard:
    """Return a backbone by name: majority, colour, or a small random network."""
    card: dict[str, Any] = {
        "name": name,
        "title": name,
        "domain": "none",
        "licence": "none",
        "citation": "none",
    }
    kinds: dict[str, dict[str, Any]] = {
        "majority": {"loader": "null", "weights": "none", "dim": 0, "pooling": "none"},
        "colour": {
            "loader": "handcrafted",
            "arch": "colour-statistics",
            "weights": "none",
            "dim": len(FEATURE_NAMES),
            "pooling": "none",
            "standardise": True,
        },
        "network": {
            "loader": "timm",
            "arch": "vit_tiny_patch16_224",
            "arch_options": {"img_size": 32},
            "weights": "random",
            "dim": 192,
            "pooling": "cls",
            "preprocess": Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        },
    }
    return BackboneCard(**{**card, **kinds.get(name, kinds["network"]), **changes})


def request(root: Path, home: Path, *names: str, **changes: Any) -> RunRequest:
    """Return a request for the toy task under the named backbones."""
    options: dict[str, Any] = {"device": "cpu", "workers": 1, **changes}
    tasks = options.pop("tasks", [task(root)])
    cards = options.pop("backbones", [backbone(name) for name in names])
    return RunRequest(tasks=tasks, backbones=cards, home=home, **options)


def predictions(home: Path) -> dict[str, bytes]:
    """Return the bytes of every stored table of predictions, by its place under `home`."""
    found = sorted(home.glob("results/*/*/*/*/predictions.parquet"))
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def main(root: str, home: str, *names: str) -> list[RunOutcome]:
    """Run the toy and bag task and print what came of it, and which heavy libraries were imported."""
    tasks = [task(Path(root)), bag_task(Path(root))]
    outcomes = benchmark(request(Path(root), Path(home), *names, tasks=tasks))
    print(sorted({outcome.status for outcome in outcomes}))
    print([name for name in ("torch", "timm", "faiss", "open_clip") if name in sys.modules])
    return outcomes


if __name__ == "__main__":
    main(*sys.argv[1:])
