"""Bags through the whole protocol: tuning that cannot see test bags, attention of test folds, few groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from cytobench.cards import Split
from cytobench.evaluation import ledger
from cytobench.evaluation.evaluate import Evaluation, evaluate
from cytobench.evaluation.examples import Examples, examples_of
from cytobench.evaluation.folds import inner_folds, outer_folds
from cytobench.evaluation.mil import DEFAULT, PATIENCE, RUNGS, UNTUNED_EPOCHS, Mil
from cytobench.evaluation.recipes import Training
from cytobench.evaluation.run import benchmark
from cytobench.evaluation.search import Budget
from cytobench.evaluation.storage import open_storage
from cytobench.evaluation.studies import Finished, SharedStudy
from cytobench.probes.bags import Bags
from tests.evaluation.toy_benchmark import bag_task, request, write_cells


def _problem(n: int = 18) -> tuple[Bags, Examples]:
    rng = np.random.default_rng(0)
    rows = []
    for bag in range(n):
        for cell in range(int(rng.integers(2, 9))):
            rows.append((f"{bag:02d}/{cell}", f"{bag:02d}", "ab"[bag % 2], f"p{bag // 2:02d}-{bag % 2}"))
    table = pl.DataFrame(rows, schema=["sample", "bag", "label", "group"], orient="row")
    features = rng.standard_normal((len(table), 5)).astype(np.float32)
    features[table["label"].to_numpy() == "b", 0] += 1.0
    examples = examples_of(table, ("a", "b"), "bag")
    bags = examples.arrange(features)
    assert isinstance(bags, Bags)
    return bags, examples


def _evaluate(bags: Bags, examples: Examples, journal: Path, *, tuned: bool = True) -> Evaluation:
    folds = outer_folds(examples, Split(folds=3))
    budget = Budget(9, lambda: open_storage(None, journal), journal.name)
    return evaluate(
        bags,
        examples,
        folds,
        Mil("abmil"),
        tuned=tuned,
        metric="balanced_accuracy",
        key=("toy", 0),
        budget=budget,
    )


def _poisoned(examples: Examples, rows: npt.NDArray[np.int64]) -> Examples:
    labels = examples.labels.copy()
    labels[rows] = 1 - labels[rows]
    return Examples(
        examples.samples,
        labels,
        examples.groups,
        examples.splits,
        examples.classes,
        examples.member,
        examples.unit,
    )


def test_labels_of_test_bags_change_neither_parameters_nor_predictions(tmp_path: Path) -> None:
    bags, examples = _problem()
    folds = outer_folds(examples, Split(folds=3))
    clean = _evaluate(bags, examples, tmp_path / "run-a")
    for k in range(len(folds)):
        test = folds.test(k)
        poisoned = _poisoned(examples, test)
        budget = Budget(9, lambda k=k: open_storage(None, tmp_path / f"poisoned-{k}"), "run-a")
        again = evaluate(
            bags,
            poisoned,
            folds,
            Mil("abmil"),
            tuned=True,
            metric="balanced_accuracy",
            key=("toy", 0),
            budget=budget,
        )
        assert again.folds[k] == clean.folds[k]
        mine = np.isin(clean.rows, test)
        assert np.array_equal(again.probabilities[mine], clean.probabilities[mine])
        trials = [row for row in clean.trials if row["outer_fold"] == folds.names[k]]
        assert trials == [row for row in again.trials if row["outer_fold"] == folds.names[k]]


def test_features_of_test_bags_change_nothing_that_is_fitted(tmp_path: Path) -> None:
    bags, examples = _problem()
    folds = outer_folds(examples, Split(folds=3))
    clean = _evaluate(bags, examples, tmp_path / "run-a")
    other = Bags(bags.features.copy(), bags.offsets)
    for bag in folds.test(1):
        start, end = bags.offsets[bag : bag + 2]
        other.features[start:end] *= -3.0
    again = evaluate(
        other,
        examples,
        folds,
        Mil("abmil"),
        tuned=True,
        metric="balanced_accuracy",
        key=("toy", 0),
        budget=Budget(9, lambda: open_storage(None, tmp_path / "b"), "run-a"),
    )
    assert again.folds[1] == clean.folds[1]
    assert again.folds[0] != clean.folds[0] or again.folds[2] != clean.folds[2]


def test_attention_is_told_for_every_instance_of_every_tested_bag(tmp_path: Path) -> None:
    bags, examples = _problem()
    found = _evaluate(bags, examples, tmp_path / "a", tuned=False)
    assert sorted(found.attention) == list(range(len(examples)))
    for bag, weights in found.attention.items():
        assert len(weights) == bags.sizes[bag]
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert all(int(fold.params["epochs"]) >= 1 for fold in found.folds)


def _training(n: int = 18) -> tuple[Training, npt.NDArray[np.int16]]:
    bags, examples = _problem(n)
    training = Training(bags, examples.labels, examples.group_codes, 2, ("toy",))
    folds = inner_folds(training.labels, training.groups, ("toy",))
    assert folds is not None
    return training, folds


def test_a_setting_above_the_limit_is_given_up_and_the_others_do_not_notice() -> None:
    training, folds = _training()
    recipe = Mil("abmil")
    settings = [dict(DEFAULT), {**DEFAULT, "lr": 1e-4}, {**DEFAULT, "lr": 1e-2}]
    free = recipe.try_out(training, folds, settings, "accuracy", {})
    at = RUNGS[0]
    order = sorted(range(3), key=lambda i: free[i].reports[at])
    limit = (free[order[1]].reports[at] + free[order[2]].reports[at]) / 2
    held = recipe.try_out(training, folds, settings, "accuracy", {at: limit})
    assert [one.pruned for one in held] == [i == order[2] for i in range(3)]
    for i in order[:2]:
        assert held[i].inner_values == free[i].inner_values
        assert held[i].epochs == free[i].epochs
        assert held[i].loss == pytest.approx(free[i].loss, abs=1e-5)
    assert set(held[order[2]].reports) == {at}
    assert not np.isnan(free[0].last_class).any()


def test_training_ends_when_validation_stops_improving() -> None:
    training, folds = _training()
    (tried,) = Mil("abmil").try_out(training, folds, [{**DEFAULT, "lr": 1e-2}], "accuracy", {})
    assert tried.epochs <= 60 - PATIENCE


def test_an_interrupted_search_of_a_real_model_equals_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags, examples = _problem()
    whole = _evaluate(bags, examples, tmp_path / "a" / "run")
    told, count = SharedStudy.tell, 0

    def failing(self: SharedStudy, done: Finished) -> None:
        nonlocal count
        count += 1
        if count == 13:
            raise KeyboardInterrupt
        told(self, done)

    with monkeypatch.context() as patch:
        patch.setattr(SharedStudy, "tell", failing)
        with pytest.raises(KeyboardInterrupt):
            _evaluate(bags, examples, tmp_path / "b" / "run")
    again = _evaluate(bags, examples, tmp_path / "b" / "run")
    assert again.trials == whole.trials
    assert again.folds == whole.folds
    assert np.array_equal(again.probabilities, whole.probabilities)


def test_large_bags_are_fitted_a_few_models_at_a_time_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, folds = _training()
    settings = [dict(DEFAULT), {**DEFAULT, "lr": 1e-4}, {**DEFAULT, "lr": 1e-2}]
    together = Mil("abmil").try_out(training, folds, settings, "accuracy", {})
    monkeypatch.setattr("cytobench.evaluation.mil._ROWS_IN_MEMORY", 40)
    apart = Mil("abmil").try_out(training, folds, settings, "accuracy", {})
    assert [one.inner_values for one in apart] == [one.inner_values for one in together]
    assert [one.loss for one in apart] == pytest.approx([one.loss for one in together], abs=1e-6)


def test_without_inner_folds_the_default_number_of_epochs_is_used() -> None:
    training, _ = _training(4)
    assert Mil("abmil").default(training, None) == {**DEFAULT, "epochs": UNTUNED_EPOCHS}


def test_a_bag_run_is_stored_with_trials_and_attention_and_answered_from_disk(tmp_path: Path) -> None:
    write_cells(tmp_path, classes=("benign", "malignant"))
    wanted = request(
        tmp_path,
        tmp_path / "home",
        "colour",
        tasks=[bag_task(tmp_path)],
        probes=["abmil", "dsmil", "max-linear"],
        trials=3,
    )
    outcomes = benchmark(wanted)
    assert {one.status for one in outcomes} == {"done"}, [one.reason for one in outcomes]
    tuned = next(one.result for one in outcomes if one.probe == "abmil" and one.tuned)
    assert tuned is not None
    folder = ledger.run_folder(tmp_path / "home", "toy-bags", "colour", "abmil", tuned.run_id)
    attention = pl.read_parquet(folder / "attention.parquet")
    assert attention.columns == ["bag", "sample", "fold", "weight"]
    assert len(attention) == 48
    sums = attention.group_by("bag").agg(pl.col("weight").sum())["weight"]
    assert sums.to_list() == pytest.approx([1.0] * 8, abs=1e-5)
    trials = pl.read_parquet(folder / "trials.parquet")
    assert trials.group_by("outer_fold").len()["len"].to_list() == [3, 3]
    again = benchmark(wanted)
    assert {one.status for one in again} == {"cached"}
    assert [one.result for one in again] == [one.result for one in outcomes]
    (folder / "attention.parquet").write_bytes(b"damage")
    assert [one.status for one in benchmark(wanted)].count("done") == 1


def test_another_budget_is_another_run_and_the_untuned_one_is_shared(tmp_path: Path) -> None:
    write_cells(tmp_path, classes=("benign", "malignant"))
    options = {"tasks": [bag_task(tmp_path)], "probes": ["abmil"]}
    first = benchmark(request(tmp_path, tmp_path / "home", "colour", trials=2, **options))
    second = benchmark(request(tmp_path, tmp_path / "home", "colour", trials=3, **options))
    assert [one.status for one in first] == ["done", "done"]
    assert {one.tuned: one.status for one in second} == {False: "cached", True: "done"}
