"""A lab with results, its bundle, and what a forger would do to one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cytobench.card_files import read_card
from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from cytobench.evaluation.run import RunRequest, benchmark
from cytobench.interchange.bundle import opened, sealed, sha256
from cytobench.interchange.bundle_check import Bundle, check_bundle
from cytobench.interchange.bundle_export import Chosen, pack
from cytobench.leaderboard.collect import StoredRuns
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import backbone
from tests.interchange.slide_folders import project

QUIET = SilentReporter()
BOARD = """
name = "slide-board"
title = "Slides"
columns = [{ task = "slides", probe = "mean-linear", tuned = false }]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with its plugin folder `my` and its results in `home`."""
    root = tmp_path_factory.mktemp("lab")
    own = project(root / "my")
    (own / "leaderboards").mkdir()
    (own / "leaderboards" / "slide-board.toml").write_text(BOARD)
    outcomes = benchmark(
        RunRequest(**cards_of(own), home=root / "home", tuned=(False,), probes=["mean-linear"])
    )
    assert all(outcome.result for outcome in outcomes)
    return root


def cards_of(own: Path) -> dict[str, Any]:
    names = ("uni-h5", "phikon-h5")
    backbones = [read_card(BackboneCard, own / "backbones" / f"{name}.toml") for name in names]
    task = read_card(TaskCard, own / "tasks" / "slides.toml")
    return {"tasks": [task], "backbones": [*backbones, backbone("majority")]}


def packed(lab: Path, *, salt: str | None = None, name: str = "north") -> bytes:
    cards = cards_of(lab / "my")
    chosen = Chosen(
        runs=StoredRuns(lab / "home", QUIET).runs,
        tasks={card.name: card for card in cards["tasks"]},
        backbones={card.name: card for card in cards["backbones"]},
        boards=[read_card(LeaderboardCard, lab / "my" / "leaderboards" / "slide-board.toml")],
    )
    return pack(chosen, lab / "home", lab=name, note="", salt=salt, reporter=QUIET).content


@pytest.fixture
def bundle(lab: Path, tmp_path: Path) -> Path:
    path = tmp_path / "north.cytobench.zip"
    path.write_bytes(packed(lab))
    return path


def forged(path: Path, change: Callable[[dict[str, bytes]], None]) -> Bundle:
    """Change members, compute all digests of the manifest anew as a forger would, and check the bundle."""
    manifest, bodies, _ = opened(path)
    change(bodies)
    path.write_bytes(sealed(manifest, bodies))
    return check_bundle(path, QUIET)


def member_of(bodies: dict[str, bytes], ending: str, holding: str = "uni-h5") -> str:
    """Return the name of a member of the run of the backbone `holding`."""
    found = [
        name.rpartition("/")[0]
        for name, body in bodies.items()
        if name.endswith("result.json") and json.loads(body)["backbone"] == holding
    ]
    return f"{found[0]}/{ending}"


def edit(bodies: dict[str, bytes], name: str, **changes: Any) -> None:
    bodies[name] = json.dumps(json.loads(bodies[name]) | changes).encode()


def change_predictions(
    bodies: dict[str, bytes], change: Callable[[pl.DataFrame], pl.DataFrame], *, restate: bool = False
) -> None:
    """Replace the predictions of a run and their digest; with `restate` every number of the result too."""
    from cytobench.evaluation.results import RunResult
    from cytobench.interchange.bundle_check import restated

    name = member_of(bodies, "predictions.parquet")
    table = change(pl.read_parquet(io.BytesIO(bodies[name])))
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    bodies[name] = buffer.getvalue()
    result = member_of(bodies, "result.json")
    edit(bodies, result, predictions_sha256=sha256(bodies[name]))
    if restate:
        stated = restated(RunResult.model_validate_json(bodies[result]), table)
        bodies[result] = stated.model_dump_json().encode()


def swapped(bodies: dict[str, bytes]) -> None:
    change_predictions(
        bodies, lambda table: table.with_columns(pl.col("label").reverse().alias("label")), restate=True
    )


def all_right(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(
        pl.col("label").alias("predicted"),
        *((pl.col("label") == name).cast(pl.Float64).alias(f"p:{name}") for name in ("benign", "malignant")),
    )
