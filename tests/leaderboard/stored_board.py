"""A leaderboard of made-up predictions, stored as runs are, whose cards are as hostile as cards can be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytobench.cards import BackboneCard, Column, LeaderboardCard, TaskCard
from cytobench.evaluation import ledger
from cytobench.evaluation.hierarchy import Hierarchy
from cytobench.evaluation.metrics import Predictions
from cytobench.evaluation.results import (
    PROTOCOL,
    FoldResult,
    RunRecord,
    RunResult,
    SplitResult,
    class_results,
    predictions_table,
    scores_of,
)
from cytobench.leaderboard.collect import StoredRuns, is_null, rows_of_card
from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.build import board_of
from cytobench.leaderboard.site.cost import parameters
from cytobench.leaderboard.site.examples import Source
from cytobench.leaderboard.table import lay_out
from cytobench.leaderboard.uncertainty import judge
from cytobench.progress import SilentReporter

SCRIPT = "<script>window.hacked = 1</script>"
QUOTES = "\"' onmouseover=window.hacked=2 x='"
UPWARDS = "../../../x"
LONG = "n" * 300
BACKWARDS = "\u202egnihtemos\u202c \u200f"
HOSTILE = (SCRIPT, QUOTES, UPWARDS, LONG, BACKWARDS)
"""Names that no card file may have, but a plugin's code could give: a page must bear them all the same."""
CLASSES = ("benign", "</td><img src=x onerror=window.hacked=3>", "$x^2$ & co")
GROUPS, EACH, FOLDS = 24, 10, 3
SKILLS = {"good": 0.9, "alike": 0.895, "poor": 0.55, "majority": 0.34, SCRIPT: 0.7}


@dataclass(frozen=True)
class Cards:
    """The cards of a board."""

    board: LeaderboardCard
    backbones: dict[str, BackboneCard]
    tasks: dict[str, TaskCard]


def backbone(name: str, **changes: Any) -> BackboneCard:
    """Return a card with a name that need not be allowed."""
    null = name == "majority"
    base = BackboneCard(
        name="x",
        title=f"Title of {name[:40]}",
        loader="null" if null else "their.own:build",
        weights="none" if null else "https://example.org/w.pth",
        dim=0 if null else 8,
        domain="none" if null else "cytology",
        pretrained_on=(SCRIPT, "pbc"),
        licence=f"free {SCRIPT}",
        licence_url="javascript:window.hacked=4",
        citation=f"A & B, {QUOTES}",
        url="https://example.org/?a=1&b=2",
        notes=SCRIPT,
    )
    return base.model_copy(update={"name": name, **changes})


def task(name: str, **changes: Any) -> TaskCard:
    """Return a card with a name that need not be allowed."""
    base = TaskCard.model_validate(
        {
            "name": "x",
            "title": f"Cells of {SCRIPT}",
            "dataset": {"format": "table", "path": "cells.csv"},
            "group": "patient",
            "split": {"folds": FOLDS},
            "view": {"kind": "box"},
            "known_confounds": SCRIPT,
            "citation": QUOTES,
            "url": "javascript:window.hacked=5",
            "metric": "accuracy",
        }
    )
    return base.model_copy(update={"name": name, **changes})


def cards(tasks: tuple[str, ...], backbones: tuple[str, ...]) -> Cards:
    """Return a board of kNN untuned and logistic regression tuned on every task."""
    columns = [
        Column(task=name, probe=probe, tuned=tuned)
        for name in tasks
        for probe, tuned in (("knn", False), ("linear", True))
    ]
    board = LeaderboardCard(name="toys", title=f"Toys {SCRIPT}", columns=tuple(columns), notes=SCRIPT)
    return Cards(board, {name: backbone(name) for name in backbones}, {name: task(name) for name in tasks})


def tree_of(card: TaskCard) -> Hierarchy | None:
    """Return the tree of a card's classes, None where it has none."""
    return Hierarchy.of(CLASSES, card.hierarchy) if card.hierarchy else None


def store(home: Path, card: TaskCard, name: str, skill: float, probe: str, *, tuned: bool) -> RunResult:
    """Store a run whose predictions are right with probability `skill`."""
    n = GROUPS * EACH
    rng = np.random.default_rng([*card.name.encode(), *name.encode(), len(probe)])
    labels = np.arange(n) % len(CLASSES)
    called = np.where(rng.random(n) < skill, labels, rng.integers(0, len(CLASSES), n))
    odds = rng.random((n, len(CLASSES))) + 2 * np.eye(len(CLASSES))[called]
    group = np.arange(n) // EACH
    predictions = Predictions(labels, odds / odds.sum(1, keepdims=True), group % FOLDS)
    names = [str(k) for k in range(FOLDS)]
    scores = scores_of(predictions, metric=card.metric, fold_names=names, thresholds={}, tree=tree_of(card))
    values = scores.pop("fold_values")
    folds = [
        FoldResult(name=k, n_train=n, n_test=n, params={}, value=v, threshold=None, diagnostics={})
        for k, v in zip(names, values, strict=True)
    ]
    result = RunResult(
        **scores,
        protocol=PROTOCOL,
        run_id=f"{probe}-{name}".encode().hex().ljust(64, "0")[:64],
        task=card.name,
        backbone=name,
        probe=probe,
        tuned=tuned,
        metric=card.metric,
        classes=class_results(scores["confusion"], list(CLASSES)),
        hierarchy={one: list(above) for one, above in (card.hierarchy or {}).items()},
        folds=folds,
        n_groups=GROUPS,
        unit="cell",
        group="patient",
        split=SplitResult(kind="grouped-kfold", folds=FOLDS, seed=0, digest="folds"),
        trials=None,
        seed=0,
        manifest_digest=f"rows of {card.name}",
        space_id=None,
        encoder=None,
        predictions_sha256="",
        trials_sha256=None,
        versions={"cytobench": "0"},
        device="cuda:1",
        precision="fp32",
        seconds={"encode": 2.0},
        warnings=[],
    )
    table = predictions_table(
        [f"{i:04d}" for i in range(n)], [f"p{g:02d}" for g in group], CLASSES, predictions
    )
    return ledger.save_run(home, RunRecord(result, table))


def fill(home: Path, made: Cards, skills: dict[str, float]) -> None:
    """Store a run of every backbone in `skills` for every column."""
    for column in made.board.columns:
        for name, skill in skills.items():
            store(home, made.tasks[column.task], name, skill, column.probe, tuned=column.tuned)


def gathered(home: Path, made: Cards, data: tuple[Path, ...] = ()) -> Board:
    """Return the board that a site is drawn from."""
    stored = StoredRuns(home, SilentReporter())
    rows = rows_of_card(made.board, backbones=made.backbones, tasks=made.tasks, stored=stored)
    judged = judge(rows, home)
    nulls = frozenset(name for name, card in made.backbones.items() if is_null(card))
    remarks = (made.board.notes,)
    layout = lay_out(made.board.title, judged, list(made.tasks.values()), nulls, remarks=remarks)
    return board_of(
        made.board.name,
        layout,
        judged,
        backbones=made.backbones,
        tasks=made.tasks,
        runs=stored.runs,
        source=Source(home, data),
        counted=parameters(list(made.backbones.values())),
        command="cytobench leaderboard toys --site public",
        reporter=SilentReporter(),
    )
