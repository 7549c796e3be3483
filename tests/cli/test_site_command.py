"""`cytobench leaderboard --site`: from cells to pages, and what it refuses to overwrite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cytobench
from cytobench.leaderboard.site.folder import MARK

HERE = Path(cytobench.__file__).parents[1]

TASK = """
name = "my-cells"
title = "My <cells>"
dataset = { format = "folder", path = "../cells" }
group = "none"
accept_ungrouped = true
view = { kind = "box" }
split = { kind = "grouped-kfold", folds = 2 }
"""
BOARD = """
name = "mine"
title = "Mine"
folds = 2
backbones = ["majority", "colour-statistics"]
columns = [{ task = "my-cells", probe = "knn", tuned = false }]
"""


def _cytobench(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CYTOBENCH_HOME": str(home), "PYTHONPATH": str(HERE)}
    environment.pop("CYTOBENCH_DATA", None)
    command = [sys.executable, "-m", "cytobench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plugin with two kinds of cells, and a home with runs on them."""
    plugin, home = tmp_path_factory.mktemp("my"), tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for kind, hue in (("pale", 200), ("dark", 90)):
        (plugin / "cells" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(rng.normal(hue, 30, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(plugin / "cells" / kind / f"{number}.png")
    for folder, text in (("tasks", TASK), ("leaderboards", BOARD)):
        (plugin / folder).mkdir()
        (plugin / folder / "one.toml").write_text(text, encoding="utf-8")
    named = ["-b", "majority", "-b", "colour-statistics", "-t", "my-cells", "-p", "knn"]
    ran = _cytobench(home, "run", "--plugin", plugin, *named)
    assert ran.returncode == 0, ran.stderr
    return plugin, home


def test_a_site_is_written_replaced_and_shows_cells_when_data_are_named(
    mine: tuple[Path, Path], tmp_path: Path
) -> None:
    plugin, home = mine
    site = tmp_path / "site"
    asked = ("leaderboard", "mine", "--plugin", plugin, "--site", site)
    made = _cytobench(home, *asked)
    assert made.returncode == 0, made.stderr
    assert "6 pages" in made.stderr + made.stdout
    page = (site / "task-my-cells.html").read_text(encoding="utf-8")
    assert "My &lt;cells&gt;" in page
    assert "no --data" in page
    again = _cytobench(home, *asked, "--data", plugin)
    assert again.returncode == 0, again.stderr
    page = (site / "task-my-cells.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 3 * 7
    for file in site.rglob("*"):
        if file.suffix in (".html", ".csv", ".json", ".md", ".tex"):
            text = file.read_text(encoding="utf-8")
            assert str(home) not in text
            assert str(plugin) not in text
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_folder_that_holds_something_else_is_refused_before_anything_is_computed(
    mine: tuple[Path, Path], tmp_path: Path
) -> None:
    plugin, home = mine
    (tmp_path / "thesis.docx").write_text("mine")
    ran = _cytobench(home, "leaderboard", "mine", "--plugin", plugin, "--site", tmp_path)
    assert ran.returncode == 2
    assert "thesis.docx" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "reading runs" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_site_and_the_other_formats_come_in_one_go(mine: tuple[Path, Path], tmp_path: Path) -> None:
    plugin, home = mine
    out = tmp_path / "board.md"
    ran = _cytobench(
        home, "leaderboard", "mine", "--plugin", plugin, "--site", tmp_path / "s", "-o", out, "-f", "markdown"
    )
    assert ran.returncode == 0, ran.stderr
    assert out.read_text(encoding="utf-8").startswith("# Mine")
    assert (tmp_path / "s" / MARK).is_file()
