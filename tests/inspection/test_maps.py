"""Points and pictures of maps: what is coloured, thinned, numbered, and other people's words in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex

from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError
from cytobench.evaluation.plan import TaskPlan, plan_task
from cytobench.inspection.embedding import Map, as_record, batch_lines, map_of
from cytobench.inspection.maps import MOST, _styles, by_class, by_confounder, draw, page, save
from cytobench.inspection.points import Points, points_of, stratified
from cytobench.probes.bags import Bags
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import bag_task, request, task, write_cells

HOSTILE = "\"><script>alert('x')</script>$x^{$ \\frac{ _b 日本"


def _plan(root: Path, home: Path, *, bags: bool = False) -> TaskPlan:
    write_cells(root)
    card = bag_task(root) if bags else task(root)
    return plan_task(card, request(root, home, tasks=[card]), FileDigests(home), SilentReporter())


def _points(labels: list[str], batches: list[str | None], name: str = "slide") -> Points:
    table = pl.DataFrame(
        {
            "sample": [str(k) for k in range(len(labels))],
            "label": labels,
            "group": batches,
            "confounder": batches,
        },
        schema_overrides={"group": pl.String, "confounder": pl.String},
    )
    classes = tuple(dict.fromkeys(labels))
    return Points(table, np.arange(len(labels)), len(labels), "cell", classes, name)


def _map(points: Points, seed: int = 0) -> Map:
    rows = np.random.default_rng(seed).normal(size=(len(points), 6)).astype(np.float32)
    return map_of("net", rows, points)


def test_the_confounder_is_the_first_column_that_varies(tmp_path: Path, home: Path) -> None:
    found = points_of(_plan(tmp_path, home))
    assert found.confounder == "patient"
    assert len(found) == found.of == 48
    assert found.batches == [f"p{k}" for k in range(8)]


def test_any_column_may_be_named_and_an_unknown_one_is_answered_with_those_there_are(
    tmp_path: Path, home: Path
) -> None:
    plan = _plan(tmp_path, home)
    assert points_of(plan, colour="diagnosis").confounder == "diagnosis"
    with pytest.raises(UsageError, match=r"no column 'diagnosys'.*did you mean 'diagnosis'.*patient"):
        points_of(plan, colour="diagnosys")


def test_a_column_of_one_value_parts_nothing(tmp_path: Path, home: Path) -> None:
    path = write_cells(tmp_path)
    pl.read_csv(path).with_columns(pl.lit("here").alias("site")).write_csv(path)
    card = task(tmp_path)
    plan = plan_task(card, request(tmp_path, home), FileDigests(home), SilentReporter())
    assert points_of(plan).confounder == "patient"
    with pytest.raises(UsageError, match="'site' does not part"):
        points_of(plan, colour="site")


def test_a_bag_is_one_point_at_the_mean_of_its_instances(tmp_path: Path, home: Path) -> None:
    plan = _plan(tmp_path, home, bags=True)
    bags, instances = points_of(plan), points_of(plan, instances=True)
    assert (bags.unit, len(bags), instances.unit, len(instances)) == ("bag", 8, "instance", 48)
    assert bags.confounder == ""  # one patient a bag: nothing that bags share
    assert instances.confounder == "patient"
    rows = np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32)
    arranged = plan.examples.arrange(rows)
    assert isinstance(arranged, Bags)
    np.testing.assert_allclose(bags.features(arranged)[2], rows[12:18].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(instances.features(arranged), rows)


def test_thinning_keeps_the_shares_of_classes_and_loses_none() -> None:
    labels = np.array(["a"] * 900 + ["b"] * 99 + ["c"], object)
    rows = stratified(labels, 100, 3)
    assert len(rows) == 100
    assert np.unique(labels[rows], return_counts=True)[1].tolist() == [90, 9, 1]
    assert (rows == stratified(labels, 100, 3)).all()
    assert (rows != stratified(labels, 100, 4)).any()
    assert len(stratified(labels, 0, 0)) == len(stratified(labels, 5000, 0)) == 1000


def test_up_to_twenty_values_have_a_colour_and_shape_of_their_own() -> None:
    styles = {(to_hex(colour), mark) for colour, mark in _styles(MOST)}
    assert len(styles) == MOST
    few = _styles(9)
    assert len({mark for _, mark in few}) == len({to_hex(colour) for colour, _ in few}) == 9


def test_of_many_values_the_largest_are_coloured_and_the_rest_are_said_to_be_grey() -> None:
    batches = [f"s{k:03d}" for k in range(50) for _ in range(3 + (k >= 40))]
    points = _points(["a", "b"] * (len(batches) // 2), batches)
    found = by_confounder(points)
    assert len(found.names) == 12
    assert found.rest == f"grey: 38 smaller ones ({(found.codes < 0).sum()})"
    assert {name.split()[1] for name in found.names} >= {f"s{k:03d}" for k in range(40, 50)}


def test_points_without_a_value_are_grey_and_enter_no_figure() -> None:
    batches: list[str | None] = ["x", "y"] * 20 + [None] * 20
    points = _points(["a", "b", "b"] * 20, batches)
    assert by_confounder(points).rest == "grey: not given (20)"
    found = _map(points).mixed
    assert found is not None
    assert found.cells == 40


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    points = _points(["a", "b"] * 30, ["x", "y", "z"] * 20)
    for suffix in (".png", ".svg"):
        made = [save(draw("t", [_map(points)], points), tmp_path / f"{k}{suffix}") for k in range(2)]
        assert made[0].read_bytes() == made[1].read_bytes()


def test_both_panels_of_all_backbones_have_one_scale_under_pca() -> None:
    points = _points(["a", "b"] * 30, ["x", "y", "z"] * 20)
    figure = draw("t", [_map(points), _map(points, 1)], points)
    spans = {tuple(np.round(np.ptp([axis.get_xlim(), axis.get_ylim()], axis=1), 9)) for axis in figure.axes}
    assert len(figure.axes) == 4
    assert len(spans) == 1


def test_a_point_belongs_to_its_class_in_the_picture() -> None:
    points = _points(["a", "b", "b"] * 10, ["x", "y"] * 15)
    assert by_class(points).names == ("1  a (10)", "2  b (20)")
    drawn = draw("t", [_map(points)], points).axes[0].collections
    assert sum(len(one.get_offsets()) for one in drawn) == 30


@pytest.mark.filterwarnings("error")
def test_other_peoples_words_are_text_in_picture_and_page(tmp_path: Path) -> None:
    points = _points([HOSTILE, "b"] * 20, [HOSTILE * 3, "", "z", "\n"] * 10, HOSTILE)
    figure = draw(HOSTILE, [_map(points)], points)
    save(figure, tmp_path / "a.png")
    svg = save(figure, tmp_path / "a.svg").read_text(encoding="utf-8")
    made = page(HOSTILE, [_map(points)], points, figure)
    for text in (svg, made):
        assert "<script>alert" not in text
    assert "default-src 'none'" in made


def test_figures_are_the_same_in_words_json_and_arrays() -> None:
    points = _points(["a", "b"] * 30, ["x", "y", "z"] * 20)
    one = _map(points)
    record = as_record(one, "t", points)
    assert one.mixed is not None
    assert record["mixing"]["score"] == one.mixed.score
    assert f"mixing {one.mixed.score:.2f}" in " ".join(batch_lines(one, "slide"))
    assert record["readings"]["mixing"] == "mixed or nearly so"


def test_a_single_class_is_drawn_without_a_silhouette() -> None:
    points = _points(["a"] * 30, ["x", "y", "z"] * 10)
    one = _map(points)
    assert one.by_class is None
    assert np.isfinite(one.projection.points).all()
    assert draw("t", [one], points).axes


def test_features_that_are_no_numbers_are_refused() -> None:
    points = _points(["a", "b"] * 5, ["x", "y"] * 5)
    rows = np.ones((10, 2), np.float32)
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        map_of("net", rows, points)
    with pytest.raises(DataError, match="the same for every point"):
        map_of("net", np.ones((10, 2), np.float32), points)
