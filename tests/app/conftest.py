"""A server as a user starts it, with toy collections: cells, fields, and pictures that may not be shown."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import cytobench
from tests.browser import OpenPage, Watched
from tests.evaluation.toy_benchmark import write_cells

HOSTILE = '<img src=x onerror="alert(1)">'
_CARD = """
name = "{name}"
title = "{title}"
dataset = {{ format = "table", path = "../{table}" }}
label = "cell_type"
group = "{group}"
split = {{ folds = 2 }}
view = {{ {view} }}
{more}
"""
_FIELD, _CELL = 96, 20


def write_fields(root: Path) -> Path:
    """Write four fields of nine round cells each, red or blue, and their table."""
    rng = np.random.default_rng(1)
    rows = []
    for at in range(4):
        pixels = np.full((_FIELD, _FIELD, 3), 230, np.uint8)
        for cell in range(9):
            x, y = 6 + 30 * (cell % 3), 6 + 30 * (cell // 3)
            red = (cell + at) % 2 == 0
            yy, xx = np.mgrid[:_CELL, :_CELL] - _CELL / 2
            disc = xx**2 + yy**2 < (_CELL / 2 - 1) ** 2
            colour = (190, 60, 60) if red else (60, 60, 190)
            pixels[y : y + _CELL, x : x + _CELL][disc] = np.clip(colour + rng.normal(0, 8, 3), 0, 255)
            rows.append((f"field{at}.png", x, y, _CELL, _CELL, "red" if red else "blue", f"slide{at}"))
        Image.fromarray(pixels).save(root / f"field{at}.png")
    columns = ["image", "x", "y", "w", "h", "cell_type", "slide"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(root / "fields.csv")
    return root / "fields.csv"


def write_collections(root: Path) -> None:
    """Write a plugin folder with the tasks toy, toy-fields and toy-hidden, and a leaderboard of toy."""
    write_cells(root, classes=("blast", "lymphocyte", HOSTILE))
    write_fields(root)
    for kind in ("tasks", "leaderboards"):
        (root / kind).mkdir()
    toy = {"title": f"Toy cells {HOSTILE}", "table": "cells.csv", "group": "patient", "more": ""}
    toy["view"] = 'kind = "box"'
    fields = toy | {"title": "Toy fields", "table": "fields.csv", "group": "slide"}
    fields["view"] = 'kind = "window", size = 28, unit = "px"'
    hidden = toy | {"title": "Toy cells behind a licence", "more": "show_images = false"}
    for name, values in (("toy", toy), ("toy-fields", fields), ("toy-hidden", hidden)):
        text = _CARD.format(name=name, **values)
        (root / "tasks" / f"{name}.toml").write_text(
            text.replace(f'"{values["title"]}"', f"'{values['title']}'")
        )
    (root / "leaderboards" / "toy-board.toml").write_text(
        'name = "toy-board"\ntitle = "Toy board"\nbackbones = ["morphology", "random-vit-tiny"]\n'
        'columns = [{ task = "toy", probe = "knn", tuned = false, ranked = true }]\n'
    )


@dataclass(frozen=True)
class Served:
    """A running server, what it has said, and the folders it may and may not touch."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    place: Path
    temporary: Path

    def said(self) -> str:
        """Return all that it wrote to its terminal."""
        return self.log.read_text()


@contextlib.contextmanager
def serving(place: Path, *options: str) -> Iterator[Served]:
    """Start `cytobench serve` over the toy collections in `place`, and end it as Ctrl-C does."""
    root, temporary, cwd = place / "my", place / "tmp", place / "cwd"
    if not root.exists():
        for folder in (root, temporary, cwd, place / "home"):
            folder.mkdir()
        write_collections(root)
    port, log = _free_port(), place / "log"
    words = ["serve", "--no-open", "--port", str(port), "--plugin", str(root), "--home", str(place / "home")]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    for name in ("CYTOBENCH_DATA", "PYTEST_CURRENT_TEST"):  # by the latter NiceGUI knows its own tests
        environment.pop(name, None)
    environment["PYTHONPATH"] = str(Path(cytobench.__file__).parents[1])
    with log.open("wb") as writing:
        process = subprocess.Popen(
            [sys.executable, "-m", "cytobench", *words, "--device", "cpu", *options],
            stdout=writing,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
        )
    served = Served(f"http://127.0.0.1:{port}/", port, process, log, place, temporary)
    try:
        _wait(served)
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(served: Served) -> None:
    ends = time.monotonic() + 90
    while "is at" not in served.said():
        if served.process.poll() is not None or time.monotonic() > ends:
            pytest.fail(f"the server did not start: {served.said()}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on loopback that begins with the toy cells under morphology."""
    pytest.importorskip("nicegui", reason="no tests of the page: NiceGUI is missing")
    with serving(tmp_path_factory.mktemp("serve"), "-d", "toy", "-b", "morphology") as served:
        yield served


@pytest.fixture
def visit(server: Served, open_page: OpenPage) -> Callable[..., Watched]:
    """Open the page as a visitor, with a collection ready under morphology."""
    from tests.app.visiting import choose, opened

    def call(collection: str = "toy", **options: object) -> Watched:
        seen = open_page(server.url, **options)
        opened(seen.page)
        if collection != "toy":
            choose(seen.page, "Collection", collection)
            opened(seen.page, collection)
        return seen

    return call
