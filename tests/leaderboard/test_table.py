"""Leaderboards show what ran, what failed and what did not run; every format tells the same numbers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cytobench.card_files import parse_card
from cytobench.cards import TaskCard
from cytobench.leaderboard import render
from cytobench.leaderboard.figures import critical_difference_figure, scores_figure
from cytobench.leaderboard.rows import Row, tidy, with_skill
from cytobench.leaderboard.table import Layout, lay_out
from cytobench.leaderboard.uncertainty import Judged

NULLS = frozenset({"majority", "colour"})


def row(backbone: str, value: float | None, **changes: object) -> Row:
    base = Row(
        backbone=backbone,
        task="blood",
        probe="knn",
        tuned=False,
        status="done" if value is not None else "not run",
        metric="balanced_accuracy",
        value=value,
        spread=None if value is None else 0.02,
        low=None if value is None else value - 0.05,
        high=None if value is None else value + 0.04,
        fold_values=() if value is None else (value - 0.02, value + 0.02),
        n=0 if value is None else 120,
        groups=0 if value is None else 12,
        subset="abcdef0123",
        null=backbone in NULLS,
        metrics={} if value is None else {"balanced_accuracy": value, "auroc": 0.9},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def plain(rows: list[Row]) -> Judged:
    """Return rows that were compared with nobody."""
    return Judged(rows, {}, [])


@pytest.fixture
def rows() -> list[Row]:
    return with_skill(
        [
            row("majority", 0.25),
            row("colour", 0.50),
            row("net", 0.80, overlap="same data set"),
            row("other", 0.70, overlap="same smears"),
            row("gated", None, reason="needs HF_TOKEN; see the licence page."),
            row("broken", None, status="failed", reason="the file is_truncated | 50 %"),
        ]
    )


@pytest.fixture
def layout(rows: list[Row]) -> Layout:
    card = {
        "name": "blood",
        "title": "Blood",
        "dataset": "pbc",
        "group": "none",
        "accept_ungrouped": True,
        "view": {"kind": "box"},
    }
    return lay_out("Board", plain(rows), [parse_card(TaskCard, card, source=None)], NULLS)


def test_skill_is_measured_from_the_best_null_of_the_same_column(rows: list[Row]) -> None:
    skill = {one.backbone: one.skill for one in rows}
    assert skill["net"] == pytest.approx(0.6)
    assert skill["colour"] == 0.0
    assert skill["majority"] == pytest.approx(-0.5)
    assert skill["gated"] is None


def test_a_column_without_nulls_has_no_skill() -> None:
    assert with_skill([row("net", 0.8)])[0].skill is None


def test_backbones_come_first_by_score_then_nulls_then_those_that_did_not_run(layout: Layout) -> None:
    assert [name for name, _ in layout.lines] == ["net", "other", "colour", "majority", "broken", "gated"]


def test_scores_of_different_tasks_are_ranked_never_averaged() -> None:
    easy, hard = {"task": "easy"}, {"task": "hard"}
    rows = [
        *(
            row(name, value, **easy)
            for name, value in [("a", 0.99), ("b", 0.60), ("c", 0.61), ("partial", 0.98)]
        ),
        *(row(name, value, **hard) for name, value in [("a", 0.30), ("b", 0.32), ("c", 0.33)]),
        *(
            row(name, value, task="shown", ranked=False)
            for name, value in [("a", 0.9), ("b", 0.1), ("c", 0.2)]
        ),
    ]
    board = lay_out("Board", plain(rows), [], frozenset())
    # Mean ranks: c (3 + 1) / 2 = 2, a (1 + 3) / 2 = 2, b (4 + 2) / 2 = 3; a mean of scores would put a first
    # by far. The one that lacks a ranked column cannot be placed among the others.
    assert [name for name, _ in board.lines] == ["a", "c", "b", "partial"]
    assert not any(cell.best for _, cells in board.lines for cell in cells)  # nobody was compared


def test_there_is_no_skill_while_the_null_ladder_is_incomplete() -> None:
    rows = with_skill([row("majority", 0.25), row("colour", None, status="failed"), row("net", 0.8)])
    assert [one.skill for one in rows] == [None, None, None]


@pytest.mark.parametrize("form", ["markdown", "latex", "terminal"])
def test_every_layout_says_who_failed_who_did_not_run_and_why(layout: Layout, form: str) -> None:
    text = {"markdown": render.markdown, "latex": render.latex}.get(form, _terminal)(layout)
    for word in (
        "80.0",
        "[75.0, 84.0]",
        "failed",
        "not run",
        "licence page",
        "not patients",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"kind": "leave-one-group-out"}, "AUROC of blood: pooled over folds"),
        ({"kind": "grouped-kfold"}, "AUROC of blood: computed within each fold"),
    ],
)
def test_a_table_says_how_aurocs_of_several_folds_became_one(split: dict[str, str], words: str) -> None:
    card = {"name": "blood", "title": "Blood", "dataset": "pbc", "group": "slide", "view": {"kind": "box"}}
    tasks = [parse_card(TaskCard, card | {"metric": "auroc", "split": split}, source=None)]
    notes = lay_out("Board", plain([row("net", 0.9, metric="auroc")]), tasks, NULLS).notes
    assert sum(note.startswith(words) for note in notes) == 1
    assert not any("AUROC" in note for note in lay_out("Board", plain([row("net", 0.9)]), tasks, NULLS).notes)


def test_a_reason_that_names_its_backbone_is_not_told_with_the_name_twice() -> None:
    rows = [row("own", None, status="failed", reason="own: mine has no function 'tiny'; correct loader.")]
    assert lay_out("Board", plain(rows), [], NULLS).notes[-1] == (
        "own: failed: mine has no function 'tiny'; correct loader."
    )


@pytest.mark.parametrize("reason", ["the disk is full", "the disk is full.", "did you mean 'uni'?"])
def test_a_reason_ends_like_a_sentence(reason: str) -> None:
    note = lay_out("Board", plain([row("own", None, reason=reason)]), [], NULLS).notes[-1]
    assert note == f"own: not run: {reason.rstrip('.')}{'' if reason.endswith('?') else '.'}"


def _terminal(layout: Layout) -> str:
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=200).print(render.terminal(layout))
    return buffer.getvalue()


def test_markdown_tables_stay_tables_whatever_the_reason_says(layout: Layout) -> None:
    table = [line for line in render.markdown(layout).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "is\\_truncated \\| 50 %" in render.markdown(layout)


def test_pretraining_overlap_is_marked_and_explained(layout: Layout) -> None:
    text = render.markdown(layout)
    assert "80.0 [75.0, 84.0]†" in text
    assert "70.0 [65.0, 74.0]‡" in text
    assert "† pretrained on the task's own data set" in text


def test_latex_has_no_bare_special_characters(layout: Layout) -> None:
    body = render.latex(layout).split(r"\bottomrule")[0]
    assert "†" not in body
    assert "same_" not in body


def test_csv_parquet_and_json_hold_the_same_rows(rows: list[Row], layout: Layout, tmp_path: Path) -> None:
    made = render.write(rows, layout, tmp_path / "new", name="board")
    assert {path.suffix for path in made} == {".md", ".tex", ".json", ".csv", ".parquet"}
    parquet = pl.read_parquet(tmp_path / "new" / "board.parquet")
    assert parquet.equals(tidy(rows))
    as_json = json.loads((tmp_path / "new" / "board.json").read_text())
    as_csv = list(csv.DictReader((tmp_path / "new" / "board.csv").open()))
    assert (
        [r["backbone"] for r in as_json] == [r["backbone"] for r in as_csv] == parquet["backbone"].to_list()
    )
    assert [float(r["value"]) for r in as_csv if r["value"]] == [0.25, 0.5, 0.8, 0.7]


def test_the_figure_is_drawn_from_scored_rows_only(rows: list[Row], tmp_path: Path) -> None:
    assert scores_figure(rows, tmp_path / "a.png", title="Board") == tmp_path / "a.png"
    assert (tmp_path / "a.png").stat().st_size > 5_000
    assert scores_figure([row("gated", None)], tmp_path / "b.png", title="Board") is None


def test_scores_of_another_metric_have_a_panel_of_their_own(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    others = [replace(one, probe="retrieval", metric="map_at_10") for one in rows]
    elsewhere = [replace(one, task="smears") for one in rows]
    with monkeypatch.context() as patch:
        patch.setattr(plt, "close", lambda _: None)
        scores_figure([*rows, *elsewhere, *others], tmp_path / "a.png", title="Board")
    shown = [(axis.get_title(loc="left"), axis.get_xlabel()) for axis in plt.gcf().axes if axis.get_visible()]
    plt.close(plt.gcf())
    assert shown == [
        ("blood  (n = 120)", "balanced accuracy"),
        ("blood  (n = 120)", "mAP@10"),
        ("smears  (n = 120)", "balanced accuracy"),
    ]


def test_a_column_of_another_metric_is_named_by_it_and_the_others_by_the_tasks(rows: list[Row]) -> None:
    mine = [replace(one, probe="retrieval", metric="map_at_10", ranked=False) for one in rows]
    layout = lay_out("Board", plain([*mine, *rows]), [], NULLS)
    assert [heading.short for heading in layout.headings] == ["retrieval mAP@10", "knn"]
    assert layout.about("blood").startswith("balanced accuracy, n = 120")
    assert lay_out("Board", plain(mine), [], NULLS).about("blood").startswith("mAP@10, n = 120")
    assert "not ranked)" not in render.markdown(layout)
    assert "Shown, not ranked: blood (retrieval)." in layout.notes
    assert "not ranked)" in render.markdown(lay_out("Board", plain(mine), [], NULLS))


def test_a_critical_difference_figure_needs_eight_tasks(tmp_path: Path) -> None:
    skills = {"good": 0.9, "alike": 0.9, "poor": 0.6}
    many = [
        row(name, skill + 0.005 * ((7 * task + len(name)) % 5), task=f"t{task}")
        for task in range(9)
        for name, skill in skills.items()
    ]
    path = tmp_path / "cd.png"
    assert critical_difference_figure(many, path, title="Board") == path
    assert path.stat().st_size > 5_000
    few = [one for one in many if one.task < "t7"]
    assert critical_difference_figure(few, path, title="Board") is None
    assert critical_difference_figure([row("gated", None)], path, title="Board") is None


def test_title_and_legend_of_a_figure_never_overlap(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    with monkeypatch.context() as patch:
        patch.setattr(plt, "close", lambda _: None)
        more = [replace(one, probe="linear") for one in rows]
        scores_figure([*rows, *more], tmp_path / "board.png", title="A title as long as those of real boards")
    figure = plt.gcf()
    (title,) = (text for text in figure.texts if text.get_text().startswith("A title"))
    assert not title.get_window_extent().overlaps(figure.legends[0].get_window_extent())
    plt.close(figure)
