"""Attention of bags against what is known: figures by hand, order, refusals, and fields under their heat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench.cards import TaskCard
from cytobench.digests import FileDigests
from cytobench.errors import StoreError, UsageError
from cytobench.evaluation.plan import TaskPlan, plan_task
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.run import benchmark
from cytobench.inspection.bag_attention import Weighed, choose, truth_figures, weighed_bags
from cytobench.inspection.bag_pictures import strips_of_bags
from cytobench.inspection.overlay import painted
from cytobench.inspection.stored import attention_of_run, predictions_of_runs
from cytobench.pictures.sheet import QUERY
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import bag_task, request, task, write_cells


def _weighed(
    bag: str, weights: list[float], telling: list[int], *, group: str = "g", label: str = "ill"
) -> Weighed:
    order = np.argsort(-np.array(weights))
    return Weighed(
        bag,
        group,
        label,
        "ill",
        0.9,
        "1",
        order,
        np.array(weights)[order],
        np.array(telling, dtype=bool)[order],
    )


def test_figures_against_truth_by_hand() -> None:
    perfect = _weighed("a", [0.5, 0.3, 0.1, 0.1], [1, 1, 0, 0])
    # two of three pairs in order; precision 1/2 at the only positive
    partly = _weighed("b", [0.4, 0.3, 0.2, 0.1], [0, 1, 0, 0])
    pure = _weighed("c", [0.25] * 4, [0] * 4)
    found = truth_figures([perfect, partly, pure])
    assert found is not None
    assert (found.bags, found.instances, found.positive) == (2, 8, 3)
    assert found.auroc == pytest.approx((1 + 2 / 3) / 2)
    assert found.average_precision == pytest.approx((1 + 1 / 2) / 2)
    assert found.chance_precision == pytest.approx((0.5 + 0.25) / 2)
    assert found.pooled_auroc == pytest.approx((4 * 1 + 3 * 2 / 3) / 7)
    # relative weights, heaviest first: 2.0+, 1.6-, 1.2+ and 1.2+ (tied), ...
    assert found.pooled_precision == pytest.approx((1 + 2 * 3 / 4) / 3)
    assert found.pooled_chance == pytest.approx(3 / 8)
    assert found.low is None  # one group


def test_attention_that_knows_nothing_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    bags = [
        _weighed(f"{k}", rng.dirichlet(np.ones(30)).tolist(), (rng.random(30) < 0.3).tolist(), group=f"g{k}")
        for k in range(200)
    ]
    found = truth_figures(bags)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert found.auroc == pytest.approx(0.5, abs=0.03)
    assert found.pooled_precision == pytest.approx(found.pooled_chance, abs=0.03)


def test_no_truth_no_figures() -> None:
    assert truth_figures([replace(_weighed("a", [0.6, 0.4], [1, 0]), telling=None)]) is None
    assert truth_figures([_weighed("a", [0.6, 0.4], [0, 0])]) is None


def test_bags_are_chosen_by_turns_of_class_and_verdict() -> None:
    bags = [_weighed(f"i{k}", [0.6, 0.4], [1, 0]) for k in range(5)]
    bags += [_weighed(f"h{k}", [0.6, 0.4], [0, 0], label="healthy") for k in range(5)]
    chosen = choose(bags, [], 4, seed=0)
    assert sorted(one.label for one in chosen) == ["healthy", "healthy", "ill", "ill"]
    assert choose(bags, [], 4, seed=0) == choose(bags, [], 4, seed=0)
    assert [one.bag for one in choose(bags, ["h3", "i0"], 4, seed=0)] == ["h3", "i0"]
    with pytest.raises(UsageError, match="No tested bag is named z; there are i0"):
        choose(bags, ["z"], 4, seed=0)


@pytest.fixture
def ran(tmp_path: Path, home: Path) -> tuple[TaskPlan, dict[str, RunResult], Path]:
    """A toy bag task with what is known of each instance, and its runs by probe."""
    write_cells(tmp_path)
    table = pl.read_csv(tmp_path / "cells.csv")
    table = table.with_columns(
        pl.when(pl.col("diagnosis") == "blast")
        .then(pl.lit("healthy"))
        .otherwise(pl.lit("ill"))
        .alias("diagnosis")
    )
    bad = (pl.col("diagnosis") == "ill") & (pl.int_range(pl.len()) % 2 == 0)
    table = table.with_columns(
        pl.when(bad).then(pl.lit("bad")).otherwise(pl.lit("good")).alias("instance_label")
    )
    table.write_csv(tmp_path / "cells.csv")
    card = bag_task(tmp_path)
    asked = request(tmp_path, home, "colour", tasks=[card], tuned=(False,))
    runs = {one.probe: one.result for one in benchmark(asked) if one.result is not None}
    plan = plan_task(card, asked, FileDigests(home), SilentReporter())
    return plan, runs, home


def _bags(plan: TaskPlan, run: RunResult, home: Path, attention: pl.DataFrame | None) -> list[Weighed]:
    return weighed_bags(plan, run, predictions_of_runs([run], home)[run.backbone], attention)


def test_every_instance_keeps_its_own_weight_whatever_the_order(
    ran: tuple[TaskPlan, dict[str, RunResult], Path],
) -> None:
    plan, runs, home = ran
    run = runs["abmil"]
    stored = attention_of_run(run, home)
    assert stored is not None
    bags = _bags(plan, run, home, stored.sample(fraction=1.0, shuffle=True, seed=3))
    samples, truth = plan.data.table["sample"].to_list(), plan.data.table["instance_label"].to_list()
    weight = dict(zip(stored["sample"], stored["weight"], strict=True))
    assert [one.bag for one in bags] == sorted(plan.examples.samples)
    for one in bags:
        assert one.telling is not None
        assert (np.diff(one.weights) <= 0).all()
        assert one.weights.sum() == pytest.approx(1)
        for k, row in enumerate(one.rows.tolist()):
            assert one.weights[k] == pytest.approx(weight[samples[row]], rel=1e-4)
            assert one.telling[k] == (truth[row] == "bad")


def test_other_instances_and_probes_without_attention_are_refused(
    ran: tuple[TaskPlan, dict[str, RunResult], Path],
) -> None:
    plan, runs, home = ran
    stored = attention_of_run(runs["abmil"], home)
    assert stored is not None
    with pytest.raises(StoreError, match="not of its instances"):
        _bags(plan, runs["abmil"], home, stored[1:])
    mean = runs["mean-linear"]
    with pytest.raises(UsageError, match="choose abmil or dsmil"):
        _bags(plan, mean, home, attention_of_run(mean, home))


def test_truly_positive_instances_are_framed(ran: tuple[TaskPlan, dict[str, RunResult], Path]) -> None:
    plan, runs, home = ran
    bags = _bags(plan, runs["abmil"], home, attention_of_run(runs["abmil"], home))
    one = next(one for one in bags if one.label == "ill")
    assert one.telling is not None
    tiles = [tile for strip in strips_of_bags(plan, [one], SilentReporter()) for tile in strip.tiles]
    assert len(tiles) == len(one.rows)
    assert [tile.frame == QUERY for tile in tiles] == one.telling.tolist()
    assert tiles[0].lines == (f"{one.relative[0]:.2f} x even share", "bad" if one.telling[0] else "good")
    assert (tiles[0].pixels == plan.items.crops([int(one.rows[0])])[0]).all()


def _tiled(root: Path, home: Path) -> TaskPlan:
    for k in range(4):
        noise = np.random.default_rng(k).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{k}.png")
    rows = [(f"{k}.png", f"f{k}", "ab"[k % 2]) for k in range(4)]
    pl.DataFrame(rows, schema=["image", "field", "verdict"], orient="row").write_csv(root / "cells.csv")
    card: TaskCard = task(
        root, unit="bag", bag="field", group="field", label="verdict", split={"folds": 2},
        view={"kind": "tile", "size": 20, "stride": 20},
    )  # fmt: skip
    return plan_task(card, request(root, home, tasks=[card]), FileDigests(home), SilentReporter())


def test_a_field_is_coloured_where_its_heavy_tile_is(tmp_path: Path, home: Path) -> None:
    plan = _tiled(tmp_path, home)
    mine = np.flatnonzero(plan.examples.member == 1)
    heavy = next(row for row in mine if plan.items.box(int(row)) == (40, 20, 20, 20))
    rows = np.array([heavy, *(row for row in mine if row != heavy)])
    weights = np.array([0.5, *([0.5 / (len(rows) - 1)] * (len(rows) - 1))])
    one = Weighed("f1", "f1", "b", "b", 0.9, "1", rows, weights)
    first, *_ = strips_of_bags(plan, [one], SilentReporter())
    bare, under = (tile.pixels.astype(int) for tile in first.tiles)
    assert first.tiles[0].lines == ("field 1 of 1, 100 % of the attention",)
    assert first.tiles[1].lines == ("dark 0, bright 6.0 x an even share",)
    assert bare.shape == (60, 80, 3)
    expected = painted(first.tiles[0].pixels, np.full((60, 80), 6.0), top=6.0)
    assert (under[20:40, 40:60] == expected[20:40, 40:60]).all()
    assert np.abs(under - expected)[:20].mean() > 20
