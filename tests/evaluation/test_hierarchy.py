"""Classes that form a tree: distance and levels by hand, in results, in comparisons, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_benchmark

from cytobench.card_files import parse_card
from cytobench.cards import TaskCard
from cytobench.errors import CardError
from cytobench.evaluation.hierarchy import (
    DISTANCE,
    Hierarchy,
    tree_metrics,
    tree_names,
    wider,
)
from cytobench.evaluation.ledger import load_run, run_folder
from cytobench.evaluation.metrics import LOWER_IS_BETTER, Predictions
from cytobench.evaluation.results import RunResult
from cytobench.evaluation.run import RunOutcome, benchmark
from cytobench.evaluation.uncertainty import interval_results, tree_views, with_groups
from cytobench.registry import Registry
from cytobench.statistics.weighted import weighted_metric

CLASSES = ("ECC-NOS", "EMC-NOS", "FN", "Normal", "Repair")
ABOVE = {
    "ECC-NOS": ("AGC", "AGC-NOS"),
    "EMC-NOS": ("AGC", "AGC-NOS"),
    "FN": ("AGC",),
    "Normal": ("negative",),
    "Repair": ("negative",),
}
TREE = Hierarchy.of(CLASSES, ABOVE)


def predictions(*, n_folds: int = 1) -> Predictions:
    """Five cells: right; sibling; same level 1 but another depth; another level 1; right, by a hair."""
    labels = np.array([0, 0, 0, 3, 3])
    odds = np.array(
        [
            [0.6, 0.1, 0.1, 0.1, 0.1],
            [0.3, 0.5, 0.1, 0.1, 0.0],
            [0.3, 0.2, 0.4, 0.1, 0.0],
            [0.2, 0.0, 0.4, 0.3, 0.1],
            [0.1, 0.1, 0.1, 0.4, 0.3],
        ]
    )
    return Predictions(labels, odds, np.arange(5) % n_folds)


def test_distances_are_those_of_the_published_code_by_hand() -> None:
    # siblings at one depth: one level up, ln 2; ECC-NOS and FN: depths 3 and 2, two levels up from the deeper
    # one, counted plainly; ECC-NOS and Normal: three levels up from the deeper one; FN and Normal: ln 3.
    expected = np.array(
        [
            [0, np.log(2), 2, 3, 3],
            [np.log(2), 0, 2, 3, 3],
            [2, 2, 0, np.log(3), np.log(3)],
            [3, 3, np.log(3), 0, np.log(2)],
            [3, 3, np.log(3), np.log(2), 0],
        ]
    )
    assert np.allclose(TREE.distances, expected)


def test_the_widest_level_alone_gives_the_relation_in_the_published_table() -> None:
    """HierSwin at level 1: accuracy 0.9208 and distance 0.0549 = (1 - 0.9208) ln 2."""
    flat = Hierarchy((("negative",), ("ASC",), ("AGC",), ("microbe",)))
    assert round((1 - 0.9208) * flat.distances[0, 1], 4) == 0.0549


def test_levels_sum_probabilities_up_the_tree_by_hand() -> None:
    found = tree_metrics(predictions(), TREE)
    assert found[DISTANCE] == pytest.approx((0 + np.log(2) + 2 + np.log(3) + 0) / 5)
    assert TREE.names(1) == ("AGC", "negative")
    assert TREE.names(2) == ("AGC-NOS", "FN", "Normal", "Repair")
    # level 1 masses of AGC: .8 .9 .9 .6 .3, so only the fourth cell is wrong
    assert wider(predictions(), TREE, 1).probabilities[:, 0] == pytest.approx([0.8, 0.9, 0.9, 0.6, 0.3])
    assert found["accuracy_at_level_1"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy_at_level_1"] == pytest.approx((1 + 1 / 2) / 2)
    # level 2: the third cell's AGC-NOS has .5 against FN .4, though its best leaf is FN
    assert found["accuracy_at_level_2"] == pytest.approx(4 / 5)
    assert set(found) == set(tree_names(TREE))


def test_less_distance_is_better_everywhere() -> None:
    assert DISTANCE in LOWER_IS_BETTER


def test_views_of_a_tree_weigh_groups_as_the_metrics_do() -> None:
    made = predictions()
    scored = with_groups(made, ["a", "b", "c", "d", "e"])
    found = tree_metrics(made, TREE)
    ones = np.ones((1, 5))
    for name, (plain, seen) in tree_views(scored, TREE).items():
        assert weighted_metric(plain, seen, ones)[0] == pytest.approx(found[name]), name


def test_intervals_are_given_for_every_metric_of_a_tree() -> None:
    rng = np.random.default_rng(0)
    n = 400
    labels = rng.integers(0, 5, n)
    odds = rng.random((n, 5)) + 0.3 * np.eye(5)[labels]
    made = Predictions(labels, odds / odds.sum(1, keepdims=True), np.zeros(n, dtype=np.int64))
    values = tree_metrics(made, TREE)
    found = interval_results(with_groups(made, [f"g{i % 50}" for i in range(n)]), values, TREE)
    assert set(found) == set(values)
    for name, one in found.items():
        assert one.low is not None
        assert one.high is not None
        assert one.low < values[name] < one.high


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hierarchy": {"a": ["x"], "x": ["y"]}}, "'x' stands above 'a'"),
        ({"hierarchy": {"a": ["x", "z"], "b": ["y", "z"]}}, "'z' stands in two places"),
        ({"hierarchy": {"a": ["x"], "b": ["x"]}, "classes": ["a", "c"]}, "only one of them has b, c"),
        ({"hierarchy": {"a": ["a"], "b": []}}, "comes to one name twice"),
        ({"hierarchy": {"a": [], "b": []}}, "no class has another above it"),
    ],
)
def test_what_is_no_tree_is_said(change: dict[str, Any], said: str) -> None:
    raw = {"name": "t", "title": "t", "dataset": "pbc", "group": "g", "view": {"kind": "box"}}
    with pytest.raises(CardError, match=said):
        parse_card(TaskCard, raw | change, source=None)


def test_the_identity_of_tasks_without_a_tree_does_not_know_of_trees() -> None:
    for card in Registry.load(entry_points=False).tasks.values():
        assert ("hierarchy" in card.semantics()) is (card.hierarchy is not None)


SEMANTICS_OF_HERLEV_7 = (
    '{"accept_ungrouped": false, "bag": null, "classes": null, "dataset": "herlev", "exclude": [], '
    '"group": "group", "label": "cell_type", "metric": "balanced_accuracy", "name": "herlev-7", '
    '"options": {}, "pretrain": "never", "same_group_neighbours": true, "sealed": null, '
    '"split": {"folds": 5, "kind": "grouped-kfold", "seed": 0}, "sub_bags": null, "unit": "cell", '
    '"view": {"kind": "window", "min_tissue": 0.0, "pad": "white", "size": 384.0, "stride": null, '
    '"unit": "px"}}'
)


def test_the_semantics_of_an_old_card_are_byte_for_byte_what_they_were() -> None:
    card = Registry.load(entry_points=False).tasks["herlev-7"]
    assert json.dumps(card.semantics(), sort_keys=True) == SEMANTICS_OF_HERLEV_7


def _run(root: Path, **changes: Any) -> RunOutcome:
    request = toy_benchmark.request(
        root, root / "home", "colour", tasks=[toy_benchmark.task(root, **changes)], probes=("linear",)
    )
    return next(one for one in benchmark(request) if not one.tuned)


def _stored(root: Path, result: RunResult) -> Path:
    return run_folder(root / "home", result.task, result.backbone, result.probe, result.run_id)


def test_a_run_keeps_its_tree_and_is_scored_anew_from_its_predictions(tmp_path: Path) -> None:
    toy_benchmark.write_cells(tmp_path)
    tree = {"blast": ("immature",), "lymphocyte": ("mature",), "monocyte": ("mature",)}
    result = _run(tmp_path, hierarchy=tree).result
    assert result is not None
    assert result.hierarchy == {name: list(above) for name, above in tree.items()}
    assert result.metrics["accuracy_at_level_1"] >= result.metrics["accuracy"]
    assert DISTANCE in result.intervals
    stored = load_run(_stored(tmp_path, result))
    assert stored.result.hierarchy == result.hierarchy
    assert stored.result.metrics == pytest.approx(result.metrics)
    wrong = (stored.predictions["label"] != stored.predictions["predicted"]).mean()
    assert result.metrics[DISTANCE] >= wrong * np.log(2) - 1e-9

    plain = _run(tmp_path).result
    assert plain is not None
    assert plain.run_id != result.run_id
    assert not [name for name in plain.metrics if "level" in name or "distance" in name]
    assert "hierarchy" not in json.loads((_stored(tmp_path, plain) / "result.json").read_text())


def test_a_tree_that_names_other_classes_than_the_data_is_refused(tmp_path: Path) -> None:
    toy_benchmark.write_cells(tmp_path)
    outcome = _run(tmp_path, hierarchy={"blast": ("immature",), "plasma": ("mature",)})
    assert outcome.status == "failed"
    assert "hierarchy must name exactly the classes" in outcome.reason
