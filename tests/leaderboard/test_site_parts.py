"""What pages are made of: cost, stored curves, examples, the column that speaks for a task, signed ranks."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata, wilcoxon

from cytobench.cards import BackboneCard, Preprocess, TaskCard
from cytobench.encoders.size import parameters_of
from cytobench.evaluation.run import benchmark
from cytobench.leaderboard.rows import Row
from cytobench.leaderboard.site.board import Board, main_columns
from cytobench.leaderboard.site.build import build
from cytobench.leaderboard.site.cells import plain_table, score_cell
from cytobench.leaderboard.site.cost import as_table, costs_of, parameters
from cytobench.leaderboard.site.curve_figures import curve_figures
from cytobench.leaderboard.site.drawing import INK, Drawing, style
from cytobench.leaderboard.site.examples import Source, gallery_of, queries_of
from cytobench.leaderboard.site.index_page import task_page_name
from cytobench.leaderboard.site.places import anonymous
from cytobench.leaderboard.site.stored_curves import curves_of
from cytobench.leaderboard.site.task_figures import shares_of
from cytobench.leaderboard.site.workers import beside
from cytobench.progress import SilentReporter
from cytobench.statistics.ranks import signed_rank_p
from tests.evaluation import toy_benchmark as toy
from tests.leaderboard import stored_board as toys


def test_parameters_are_those_of_the_network_without_building_it() -> None:
    from cytobench.encoders import timm_vit

    card = toy.backbone("network")
    assert parameters_of(card) == sum(one.numel() for one in timm_vit.create(card).parameters())
    assert parameters_of(toy.backbone("majority")) == 0
    assert parameters_of(toy.backbone("own", loader="package.module:build")) is None


def test_an_open_clip_tower_is_counted_without_its_text_tower() -> None:
    prepared = Preprocess(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    named = {"loader": "open_clip", "arch": "ViT-B-32", "arch_options": {}, "pooling": "head", "dim": 512}
    card = toy.backbone("clip", **named, preprocess=prepared)
    assert parameters_of(card) == pytest.approx(87.8e6, rel=0.01)


def test_speed_comes_from_runs_that_used_the_encoder_and_test_every_cell(toy_board: Board) -> None:
    runs = list(toy_board.runs.values())
    n, seconds = toys.GROUPS * toys.EACH, 2.0
    costs = costs_of([toys.backbone("good"), toys.backbone("absent")], runs, {})
    assert costs["good"].rates == {"cuda": n / seconds}
    assert costs["good"].rates_text == "120/s (cuda)"
    assert costs["absent"].rates_text == "not measured"
    for change in (
        {"seconds": {}},
        {"unit": "bag"},
        {"split": runs[0].split.model_copy(update={"kind": "official"})},
    ):
        other = [run.model_copy(update=change) for run in runs]
        assert costs_of([toys.backbone("good")], other, {})["good"].rates == {}
    assert as_table(costs)["images_per_second_cuda"].to_list() == [n / seconds, None]


def test_an_architecture_that_cannot_be_built_costs_not_known() -> None:
    card = toy.backbone("network", arch="vit_that_is_not")
    assert costs_of([card], [], parameters([card]))["network"].parameters_text == "not known"


@pytest.mark.parametrize("workers", [1, 2])
def test_parameters_are_counted_beside_other_work(workers: int) -> None:
    cards = [toy.backbone("network"), toy.backbone("majority")]
    wait = beside(parameters, cards, workers)
    assert wait() == parameters(cards)
    assert wait()["majority"] == 0


def _row(
    probe: str, *, tuned: bool = True, ranked: bool = True, metric: str = "accuracy", **more: object
) -> Row:
    base = {"backbone": "net", "task": "t", "status": "done", "value": 0.5}
    return Row(**{**base, **more}, probe=probe, tuned=tuned, ranked=ranked, metric=metric)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([_row("knn"), _row("linear")], ("t", "linear", True)),
        ([_row("linear"), _row("linear", tuned=False)], ("t", "linear", True)),
        ([_row("linear"), _row("knn", ranked=False)], ("t", "linear", True)),
        ([_row("linear"), _row("retrieval", metric="mAP@10")], ("t", "linear", True)),
        ([_row("knn", tuned=False), _row("linear", value=None)], ("t", "knn", False)),
        ([_row("linear"), _row("knn"), _row("knn", backbone="b")], ("t", "knn", True)),
    ],
)
def test_one_column_speaks_for_a_task(rows: list[Row], wanted: tuple[str, str, bool]) -> None:
    assert main_columns(rows, {"t": "accuracy"}) == {"t": wanted}


def test_a_score_without_an_interval_or_a_rank_claims_none() -> None:
    cell = score_cell(_row("knn"))
    assert (cell.score, cell.reach, cell.ranks, cell.by_rank, cell.first) == ("50.0", "", "", "", False)
    assert score_cell(_row("knn", value=None, status="failed", reason="why")).state == "failed"
    assert score_cell(None).state == "not run"
    assert score_cell(_row("knn", skill=0.2)).skill == "+0.20"
    assert score_cell(_row("knn", skill=0.0, null=True)).skill == ""


def test_long_tables_are_cut_on_pages_and_say_by_how_much() -> None:
    shown = plain_table(pl.DataFrame({"n": range(450), "x": [None] * 450}))
    assert (len(shown.lines), shown.left_out) == (400, 50)
    assert shown.lines[0] == ("0", "–")
    assert shown.numeric == (True, False)


def test_shares_of_a_class_nobody_has_are_unknown() -> None:
    shares = shares_of([[3, 1], [0, 0]])
    assert shares[0].tolist() == [0.75, 0.25]
    assert np.isnan(shares[1]).all()


def _shots(subset: str) -> pl.DataFrame:
    rows = [
        ("t", name, "knn", shots, seed, "accuracy", 0.1 * shots + 0.01 * seed, 9, subset)
        for name in ("net", toys.SCRIPT)
        for shots in (1, 2, 4)
        for seed in (0, 1)
    ]
    names = ["task", "backbone", "probe", "shots", "seed", "metric", "value", "n", "subset"]
    return pl.DataFrame(rows, schema=names, orient="row")


def test_curves_of_other_rows_are_not_shown_and_that_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "extras" / "t"
    folder.mkdir(parents=True)
    _shots("mine").write_parquet(folder / "shots.parquet")
    (folder / "stress.parquet").write_bytes(b"broken")
    found = curves_of(tmp_path, "t", ["mine"], ["net"])
    assert found.tables["shots"]["backbone"].unique().to_list() == ["net"]
    assert "cannot be read" in found.remarks[0]
    assert "other rows" in curves_of(tmp_path, "t", ["others"], ["net"]).remarks[0]
    _shots("mine").drop("subset").write_parquet(folder / "shots.parquet")
    assert not curves_of(tmp_path, "t", ["mine"], ["net"]).tables
    assert not curves_of(tmp_path, "elsewhere", ["mine"], ["net"]).remarks


def test_stored_curves_are_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "extras" / "t"
    folder.mkdir(parents=True)
    _shots("mine").write_parquet(folder / "shots.parquet")
    with style():
        (drawn,) = curve_figures(curves_of(tmp_path, "t", ["mine"], ["net", toys.SCRIPT]), "t")
    assert drawn.title == "Few labelled cells"
    assert "&lt;script&gt;" in drawn.svg
    assert "<script>" not in drawn.svg
    assert len(drawn.data) == 12


def test_a_figure_inside_a_page_takes_its_colours_and_has_ids_of_its_own() -> None:
    svg = (
        '<?xml version="1.0"?>\n<svg width="9" xmlns="http://www.w3.org/2000/svg"><path id="m1"/>'
        f'<g id="figure_1"><use href="#m1" style="fill: {INK}"/></g></svg>'
    )
    drawing = Drawing("one", "A <title>", "words & more", svg, b"", pl.DataFrame())
    inline = str(drawing.inline)
    assert 'id="one-m1"' in inline
    assert 'href="#one-m1"' in inline
    assert "figure_1" not in inline
    assert "fill: currentColor" in inline
    assert '<title id="one-title">A &lt;title&gt;</title>' in inline
    assert "words &amp; more" in inline
    assert not inline.startswith("<?xml")


def _toy_board(home: Path, task: TaskCard, cards: list[BackboneCard], data: tuple[Path, ...]) -> Board:
    from cytobench.cards import Column, LeaderboardCard

    board = LeaderboardCard(
        name="toys", title="Toys", columns=(Column(task=task.name, probe="knn", tuned=False),)
    )
    return toys.gathered(home, toys.Cards(board, {one.name: one for one in cards}, {task.name: task}), data)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real runs of two backbones on synthetic cells: the cells' folder and the home."""
    root, home = tmp_path_factory.mktemp("cells"), tmp_path_factory.mktemp("home")
    toy.write_cells(root, classes=("blast", "</b><img src=x onerror=alert(1)>"))
    benchmark(toy.request(root, home, "colour", "network", probes=["knn"], tuned=(False,)))
    return root, home


def test_examples_are_cells_of_other_groups_most_similar_first(ran: tuple[Path, Path]) -> None:
    root, home = ran
    cards = [toy.backbone("colour"), toy.backbone("network")]
    board = _toy_board(home, toy.task(root), cards, (root,))
    gallery = board.galleries["toy"]
    assert set(gallery.strips) == {"colour", "network"}
    for strips in gallery.strips.values():
        assert len(strips) == 3
        for strip in strips:
            assert len(strip.neighbours) == 6
            assert strip.query.uri.startswith("data:image/webp;base64,")
            assert strip.query.group not in {one.group for one in strip.neighbours}
            values = [one.similarity for one in strip.neighbours]
            assert values == sorted(values, reverse=True)
            assert all(one.same == (one.label == strip.query.label) for one in strip.neighbours)
    queries = [[strip.query.uri for strip in strips] for strips in gallery.strips.values()]
    assert queries[0] == queries[1]
    page = build(board, SilentReporter())[task_page_name("toy")].decode()
    assert page.count("data:image/webp") == 2 * 3 * 7
    assert "onerror=alert(1)>" not in page


def test_examples_are_not_shown_without_images_licence_or_the_same_cells(
    ran: tuple[Path, Path], tmp_path: Path
) -> None:
    root, home = ran
    card = toy.task(root)
    board = _toy_board(home, card, [toy.backbone("colour")], ())
    assert "no --data" in board.galleries["toy"].remark
    runs = list(board.runs.values())
    reporter = SilentReporter()
    hidden = gallery_of(card.model_copy(update={"show_images": False}), runs, Source(home, (root,)), reporter)
    assert not hidden.strips
    assert "licence" in hidden.remark
    other = toy.write_cells(tmp_path, classes=("blast", "</b><img src=x onerror=alert(1)>"), seed=1).parent
    changed = gallery_of(toy.task(other), runs, Source(home, (other,)), reporter)
    assert "not those that the results were made on" in changed.remark
    gone = gallery_of(toy.task(tmp_path / "nowhere"), runs, Source(home, (tmp_path,)), reporter)
    assert gone.remark.startswith("No examples: ")
    empty = gallery_of(card, runs, Source(tmp_path / "empty", (root,)), reporter)
    assert not empty.strips
    assert empty.remark


def test_reasons_on_a_site_name_no_folder_of_the_machine_that_made_it(tmp_path: Path) -> None:
    row = _row(
        "knn", value=None, status="not run", reason=f"Not in {tmp_path}/data or {Path.home()}/x; see -h."
    )
    (seen,) = anonymous([row], (tmp_path, tmp_path / "data"))
    assert seen.reason == "Not in data or ~/x; see -h."
    assert anonymous([_row("knn")], (Path("/"),)) == [_row("knn")]


def test_queries_are_of_different_classes_and_the_same_each_time() -> None:
    labels = ["a"] * 50 + ["b"] * 50 + ["c"] * 50 + ["d"]
    rows = queries_of("task", labels)
    assert len({labels[row] for row in rows}) == 3
    assert rows.tolist() == queries_of("task", labels).tolist()
    assert rows.tolist() != queries_of("another", labels).tolist()
    assert sorted(queries_of("task", ["a", "a"]).tolist()) == [0, 1]


def test_signed_ranks_are_exact_without_and_with_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 8, 12, 30):
        differences = rng.normal(0.3, 1, n)
        assert signed_rank_p(differences) == pytest.approx(float(wilcoxon(differences).pvalue))
    tied = np.array([1.0, 1.0, -1.0, 2.0, 2.0, -2.0, 3.0, 0.0, 4.0])
    kept = tied[tied != 0]
    ranks = rankdata(np.abs(kept))
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([False, True], repeat=len(kept))])
    seen = ranks[kept > 0].sum()
    brute = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    assert signed_rank_p(tied) == pytest.approx(brute)
    assert signed_rank_p(np.zeros(9)) == 1.0
    assert signed_rank_p(rng.normal(0.3, 1, 80)) < 1.0
