"""Few-shot draws, changed crops, thinned bags: what is drawn, what is changed, and what stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cytobench import images, perturb
from cytobench.cards import Split, View
from cytobench.digests import FileDigests
from cytobench.errors import UsageError
from cytobench.evaluation.dilution import dilution_curve, telling_instances
from cytobench.evaluation.examples import Examples, examples_of
from cytobench.evaluation.extras import extras
from cytobench.evaluation.few_shot import PROBES, _draw, few_shot_curves
from cytobench.evaluation.folds import generator, outer_folds
from cytobench.evaluation.run import benchmark
from cytobench.features.items import items_of
from cytobench.perturb import GRID, Perturbation
from cytobench.probes.bags import Bags
from cytobench.probes.prototype import prototype_probabilities
from cytobench.progress import SilentReporter
from tests.evaluation.toy_benchmark import bag_task, request, write_cells

BOX = View(kind="window", size=40, pad="edge")


def _cells(n: int = 120, n_groups: int = 12) -> tuple[np.ndarray, Examples]:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "sample": [f"{i:03d}" for i in range(n)],
            "label": [("a", "b", "c")[i % 3] for i in range(n)],
            "group": [f"g{(i // 3) % n_groups:02d}" for i in range(n)],
        }
    )
    examples = examples_of(table, ("a", "b", "c"), "cell")
    features = rng.standard_normal((n, 6)).astype(np.float32)
    features[np.arange(n), examples.labels] += 2.0
    return features, examples


def test_more_shots_help_and_draws_differ_by_seed() -> None:
    features, examples = _cells()
    folds = outer_folds(examples, Split(folds=3))
    curves = few_shot_curves(
        features, examples, folds, shots=[16, 1, 4], seeds=5, metric="balanced_accuracy", key=("t", 0)
    )
    assert len(curves) == len(PROBES) * 3 * 5
    means = {
        (probe, shots): value
        for probe, shots, value in curves.group_by("probe", "shots").agg(pl.col("value").mean()).iter_rows()
    }
    for probe in PROBES:
        assert means[probe, 16] > means[probe, 1]
        assert curves.filter((pl.col("probe") == probe) & (pl.col("shots") == 1))["value"].n_unique() > 1
    again = few_shot_curves(
        features, examples, folds, shots=[1, 4, 16], seeds=5, metric="balanced_accuracy", key=("t", 0)
    )
    assert again.equals(curves)


def test_shots_come_from_different_groups_and_few_begin_many() -> None:
    _, examples = _cells()
    train = np.arange(120)
    drawn = _draw(examples, train, 24, generator("x"))
    for code, rows in enumerate(drawn):
        assert len(rows) == 24
        assert (examples.labels[rows] == code).all()
        assert len(set(examples.group_codes[rows[:12]].tolist())) == 12  # each group gives one first
    assert [len(rows) for rows in _draw(examples, train, 500, generator("x"))] == [40, 40, 40]
    assert all(
        (few == many[:3]).all()
        for few, many in zip(_draw(examples, train, 3, generator("x")), drawn, strict=True)
    )


@pytest.mark.parametrize(("shots", "seeds"), [([], 1), ([0], 1), ([1], 0)])
def test_no_shots_or_no_seeds_are_refused(shots: list[int], seeds: int) -> None:
    features, examples = _cells()
    with pytest.raises(UsageError, match="at least 1"):
        few_shot_curves(
            features,
            examples,
            outer_folds(examples, Split(folds=3)),
            shots=shots,
            seeds=seeds,
            metric="accuracy",
            key=(),
        )


def test_prototypes_by_hand() -> None:
    train = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]], dtype=np.float32)  # mean 0
    found = prototype_probabilities(
        train, np.array([0, 0, 2]), np.array([[1.0, 1.0]], dtype=np.float32), n_classes=3
    )
    unit = np.array([1.0, 1.0]) / np.sqrt(2)
    distances = [np.square(unit - [0.5, 0.5]).sum(), np.square(unit + unit).sum()]
    odds = np.exp(-np.array(distances))
    assert found[0].tolist() == pytest.approx([odds[0] / odds.sum(), 0.0, odds[1] / odds.sum()], abs=1e-6)


def _picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(60, 220, (100, 120, 3)).astype(np.uint8)


@pytest.mark.parametrize("change", GRID, ids=lambda one: f"{one.kind} {one.level}")
def test_every_change_changes_a_crop_and_keeps_its_size(change: Perturbation) -> None:
    wide = View(kind="window", size=90, pad="edge")
    plain = images.cut(_picture(), (50, 40, 10, 10), wide)
    changed = perturb.cut(_picture(), (50, 40, 10, 10), wide, None, change, b"\x20")
    assert changed.shape == plain.shape
    assert changed.dtype == np.uint8
    assert (changed != plain).mean() > 0.2
    assert np.array_equal(changed, perturb.cut(_picture(), (50, 40, 10, 10), wide, None, change, b"\x20"))


def test_no_change_is_the_ordinary_crop() -> None:
    plain = images.cut(_picture(), (50, 40, 10, 10), BOX)
    assert np.array_equal(perturb.cut(_picture(), (50, 40, 10, 10), BOX, None, None), plain)
    for change in (Perturbation("stain", 0.0), Perturbation("shift", 0.0), Perturbation("scale", 1.0)):
        assert np.array_equal(perturb.cut(_picture(), (50, 40, 10, 10), BOX, None, change), plain)
    turned = perturb.cut(_picture(), (50, 40, 10, 10), BOX, None, Perturbation("hue", 0.0))
    assert np.abs(turned.astype(int) - plain).max() <= 1


def test_stain_follows_beer_and_lambert_and_scale_magnifies() -> None:
    grey = np.full((50, 50, 3), 127, dtype=np.uint8)
    thick = perturb.cut(grey, None, View(kind="box"), None, Perturbation("stain", 1.0))
    assert thick[0, 0, 0] == round(256 * (128 / 256) ** 2 - 1)
    disc = np.full((100, 100, 3), 255, dtype=np.uint8)
    y, x = np.mgrid[:100, :100] - 49.5
    disc[np.hypot(x, y) < 10] = 0
    dark = {
        level: (perturb.cut(disc, (49, 49, 2, 2), BOX, None, Perturbation("scale", level)) < 128).mean()
        for level in (0.75, 1.0, 1.25)
    }
    assert dark[1.25] / dark[1.0] == pytest.approx(1.25**2, rel=0.06)
    assert dark[0.75] / dark[1.0] == pytest.approx(0.75**2, rel=0.06)


def test_blur_keeps_the_mean_and_takes_the_contrast() -> None:
    whole = View(kind="box", pad="edge")
    plain = images.cut(_picture(), None, whole)
    spreads = [plain.std()]
    for level in (0.01, 0.02, 0.04):
        blurred = perturb.cut(
            _picture(), None, View(kind="box", pad="edge"), None, Perturbation("defocus", level)
        )
        assert blurred.mean() == pytest.approx(plain.mean(), abs=1.0)
        spreads.append(blurred.std())
    assert spreads == sorted(spreads, reverse=True)


def test_changed_items_have_their_own_identity(tmp_path: Path) -> None:
    Image.fromarray(_picture()).save(tmp_path / "a.png")
    table = pl.DataFrame({"image": [str(tmp_path / "a.png")]})
    digests = FileDigests(tmp_path)
    ids = {items_of(table, BOX, digests, change=change).ids.tobytes() for change in (None, *GRID)}
    assert len(ids) == len(GRID) + 1


def test_runs_are_stressed_and_few_shot_without_touching_their_results(tmp_path: Path) -> None:
    write_cells(tmp_path)
    wanted = request(tmp_path, tmp_path / "home", "colour", "majority", probes=["linear", "knn"])
    outcomes = benchmark(wanted)
    results = [one.result for one in outcomes if one.result is not None]
    changes = [Perturbation("hue", 0.2), Perturbation("shift", 0.1)]
    found = extras(
        wanted, results, SilentReporter(), stress=True, shots=[1, 3], shot_seeds=2, perturbations=changes
    )
    assert found.problems == ()
    assert set(found.stress["backbone"]) == {"colour"}
    assert found.stress["n"].unique().to_list() == [48]
    by_kind = {
        (probe, kind): value
        for probe, kind, value in found.stress.select("probe", "kind", "value").iter_rows()
    }
    tuned = {one.probe: one.value for one in results if one.tuned and one.backbone == "colour"}
    for probe in ("linear", "knn"):
        assert by_kind[probe, "none"] == pytest.approx(tuned[probe])  # all cells, clean: the run itself
        assert by_kind[probe, "hue"] < by_kind[probe, "none"]  # colours are all there is to see
    assert set(found.shots["shots"]) == {1, 3}
    assert found.dilution.is_empty()
    assert [one.result for one in benchmark(wanted)] == [one.result for one in outcomes]


def test_bags_are_stressed_through_their_models(tmp_path: Path) -> None:
    write_cells(tmp_path, classes=("benign", "malignant"))
    wanted = request(
        tmp_path, tmp_path / "home", "colour", tasks=[bag_task(tmp_path)], probes=["abmil"], trials=2
    )
    results = [one.result for one in benchmark(wanted) if one.result is not None]
    found = extras(
        wanted,
        results,
        SilentReporter(),
        stress=True,
        shots=[1],
        shot_seeds=1,
        perturbations=[Perturbation("hue", 0.1)],
    )
    assert found.stress["kind"].to_list() == ["none", "hue"]
    clean = next(one.value for one in results if one.tuned)
    assert found.stress["value"][0] == pytest.approx(clean)
    assert found.shots.is_empty()


def test_truth_of_instances_is_what_negative_bags_never_hold() -> None:
    table = pl.DataFrame(
        {"label": ["a", "a", "b", "b"], "instance_label": ["clean", "other", "clean", "infected"]}
    )
    assert telling_instances(table, ("a", "b")).tolist() == [False, False, False, True]  # type: ignore[union-attr]
    assert telling_instances(table, ("b", "a")).tolist() == [False, True, False, False]  # type: ignore[union-attr]
    assert telling_instances(table.drop("instance_label"), ("a", "b")) is None


def test_thinner_bags_are_harder_and_have_the_share_they_say() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for bag in range(40):
        for cell in range(60):
            rows.append(
                (f"{bag:02d}/{cell:02d}", f"{bag:02d}", "ab"[bag % 2], f"{bag:02d}", bag % 2 and cell < 30)
            )
    table = pl.DataFrame(rows, schema=["sample", "bag", "label", "group", "telling"], orient="row")
    examples = examples_of(table, ("a", "b"), "bag")
    telling = table["telling"].to_numpy().astype(bool)
    bags = examples.arrange((telling[:, None] + rng.standard_normal((len(table), 1))).astype(np.float32))
    assert isinstance(bags, Bags)
    folds = outer_folds(examples, Split(folds=4))

    def predict(k: int, thinned: Bags) -> np.ndarray:
        score = 1 / (1 + np.exp(-3 * thinned.mean()[:, 0].astype(float)))
        return np.stack([1 - score, score], axis=1)

    curve = dilution_curve(bags, telling[examples.order], examples, folds, predict, key=("t", 0))
    assert curve["fraction"].to_list() == [0.5, 0.25, 0.1, 0.05, 0.025]
    values = dict(zip(curve["fraction"], curve["value"], strict=True))
    assert values[0.5] > values[0.1] > 0.5
    assert curve["bags"][0] == 20
    sizes = dict(zip(curve["fraction"], curve["instances"], strict=True))
    assert sizes[0.5] == pytest.approx(60)
    assert sizes[0.1] == pytest.approx(30, abs=4)  # 30 other cells are all there are


def test_a_bag_that_cannot_be_thinned_so_far_is_left_out() -> None:
    from cytobench.evaluation.dilution import _thinned

    telling = np.array([True] * 3 + [False] * 7)
    rng = np.random.default_rng(0)
    half = _thinned(np.arange(10), telling, 0.5, rng)
    assert telling[half].sum() == 3
    assert len(half) == 6
    assert len(_thinned(np.arange(10), telling, 0.025, rng)) == 0
    assert len(_thinned(np.arange(3, 10), telling, 0.1, rng)) == 0
