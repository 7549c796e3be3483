"""The command line, run in this process, and a user's own cells for it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cytobench import cli as command_line
from tests.cli.shell import OWN_CARD, Command, Ran


@pytest.fixture
def cytobench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> Command:
    """Run a command with an empty home and return what a shell would see."""
    monkeypatch.setenv("CYTOBENCH_HOME", str(home))
    monkeypatch.delenv("CYTOBENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cytobench", *map(str, arguments)])
        try:
            command_line.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call


@pytest.fixture
def own_cells(tmp_path: Path) -> Path:
    """A user's project: class folders with round and long cells, and a task card in a plugin folder."""
    rng = np.random.default_rng(0)
    for kind, (width, height) in {"round": (24, 24), "long": (40, 10)}.items():
        folder = tmp_path / "my" / "cells" / kind
        folder.mkdir(parents=True)
        for index in range(12):
            image = Image.new("RGB", (48, 48), (235, 225, 235))
            dx, dy = rng.integers(-2, 3, size=2)
            box = [24 - width / 2 + dx, 24 - height / 2 + dy, 24 + width / 2 + dx, 24 + height / 2 + dy]
            ImageDraw.Draw(image).ellipse(box, fill=(90 + index, 40, 130))
            image.save(folder / f"{index}.png")
    plugin = tmp_path / "my"
    (plugin / "tasks").mkdir(parents=True)
    (plugin / "tasks" / "my-cells.toml").write_text(OWN_CARD)
    return plugin
