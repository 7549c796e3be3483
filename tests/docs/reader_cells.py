"""What a reader of a how-to page has already: cells of their own, small enough for a test."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = {"round": (24, 24), "long": (40, 10), "small": (12, 12)}
SLIDES, EACH = 6, 2

CARD = """\
name = "my-cells"
title = "My cells"
dataset = { format = "folder", path = "../cells" }
options = { group_pattern = "(slide-\\\\d+)_" }
group = "group"
view = { kind = "window", size = 48, pad = "edge" }
split = { folds = 3 }
"""
BAG_CARD = """\
name = "my-patients"
title = "My patients"
unit = "bag"
dataset = { format = "table", path = "../cells.csv", columns = { image = "file" } }
label = "diagnosis"
bag = "patient"
group = "patient"
view = { kind = "window", size = 48, pad = "edge" }
split = { folds = 2 }
"""
BOARD = """\
name = "mine"
title = "My cells"
backbones = ["majority", "colour-statistics", "morphology"]
columns = [{ task = "my-cells", probe = "knn", tuned = false }, { task = "my-cells", probe = "linear" }]
"""


def write_cells(desk: Path) -> None:
    """Write my/cells/<class>/<slide>_<nn>.png, my/cells.csv and the card my/tasks/my-cells.toml."""
    rng = np.random.default_rng(0)
    rows = []
    for kind, size in KINDS.items():
        folder = desk / "my" / "cells" / kind
        folder.mkdir(parents=True)
        for slide in range(SLIDES):
            for number in range(EACH):
                name = f"slide-{slide:02d}_{number:02d}.png"
                _cell(size, slide, rng).save(folder / name)
                rows.append(
                    (
                        f"cells/{kind}/{name}",
                        kind,
                        f"patient-{slide}",
                        f"slide-{slide:02d}",
                        ("benign", "malignant")[slide % 2],
                    )
                )
    with (desk / "my" / "cells.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "type", "patient", "slide", "diagnosis"), *rows])
    _card(desk, "tasks/my-cells.toml", CARD)


def write_bags(desk: Path) -> None:
    """Write a card over the patients of `write_cells`, as bags."""
    _card(desk, "tasks/my-patients.toml", BAG_CARD)


def write_run(desk: Path) -> None:
    """Write a leaderboard over `write_cells`; its runs are made by the page."""
    _card(desk, "leaderboards/mine.toml", BOARD)


def _card(desk: Path, name: str, text: str) -> None:
    path = desk / "my" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _cell(size: tuple[int, int], slide: int, rng: np.random.Generator) -> Image.Image:
    """Draw a cell whose shape alone tells its kind; noise, so that no two pictures are copies."""
    image = Image.new("RGB", (48, 48), (235 - slide, 225, 235))
    dx, dy = rng.integers(-2, 3, size=2)
    width, height = (side + int(rng.integers(-2, 3)) for side in size)
    box = [24 - width / 2 + dx, 24 - height / 2 + dy, 24 + width / 2 + dx, 24 + height / 2 + dy]
    ImageDraw.Draw(image).ellipse(box, fill=(90 + 5 * slide, 40 + int(rng.integers(20)), 130))
    noisy = np.asarray(image, dtype=float) + rng.normal(0, 12, (48, 48, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
