"""Folds keep groups whole, classes balanced, and depend on nothing but names, labels and the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cytobench.cards import Split
from cytobench.errors import CardError, DataError, ProtocolError
from cytobench.evaluation.examples import Examples, examples_of
from cytobench.evaluation.folds import Folds, inner_folds, outer_folds
from cytobench.probes.bags import Bags


def _cells(n_groups: int = 12, per_group: int = 6, classes: str = "abc", *, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"g{group:02d}/{cell}.png", classes[rng.integers(len(classes))], f"g{group:02d}")
        for group in range(n_groups)
        for cell in range(per_group)
    ]
    return pl.DataFrame(rows, schema=["sample", "label", "group"], orient="row")


def _examples(table: pl.DataFrame, unit: str = "cell") -> Examples:
    return examples_of(table, sorted(table["label"].unique()), unit)


def _by_sample(folds: Folds) -> dict[str, int]:
    return dict(zip(folds.samples, folds.fold.tolist(), strict=True))


def test_each_example_is_tested_once_and_no_group_is_on_both_sides() -> None:
    examples = _examples(_cells())
    folds = outer_folds(examples, Split(folds=4))
    groups = np.asarray(examples.groups)
    tested = np.concatenate([folds.test(k) for k in range(4)])
    assert sorted(tested) == list(range(len(examples)))
    for k in range(4):
        assert not set(groups[folds.train(k)]) & set(groups[folds.test(k)])


def test_classes_are_spread_evenly_when_every_example_is_its_own_group() -> None:
    table = _cells(60, 1).with_columns(pl.col("sample").alias("group"))
    examples = _examples(table)
    folds = outer_folds(examples, Split(folds=3))
    for code in range(3):
        counts = np.bincount(folds.fold[examples.labels == code], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    table = _cells()
    straight = outer_folds(_examples(table), Split(folds=4))
    shuffled = outer_folds(_examples(table.sample(fraction=1, shuffle=True, seed=3)), Split(folds=4))
    assert _by_sample(straight) == _by_sample(shuffled)
    assert straight.digest == shuffled.digest


@pytest.mark.parametrize("grouped", [True, False])
def test_the_seed_changes_folds_and_digest_and_nothing_else_does(grouped: bool) -> None:
    table = _cells() if grouped else _cells().with_columns(pl.col("sample").alias("group"))
    made = [outer_folds(_examples(table), Split(folds=4, seed=1), seed=seed) for seed in (0, 0, 1)]
    assert made[0].digest == made[1].digest != made[2].digest
    assert outer_folds(_examples(table), Split(folds=4, seed=2)).digest == made[2].digest


def test_the_number_of_folds_can_be_overridden() -> None:
    assert len(outer_folds(_examples(_cells()), Split(folds=5), folds=3)) == 3


def test_folds_are_over_bags_and_a_bag_is_never_split() -> None:
    table = _cells(12, 6).with_columns(
        pl.col("group").alias("bag"),
        (pl.col("group").str.slice(1).cast(pl.Int32) // 2).cast(pl.String).alias("group"),
    )
    table = table.with_columns(pl.col("label").first().over("bag"))
    examples = _examples(table, "bag")
    assert len(examples) == 12
    assert examples.samples[0] == "g00"
    folds = outer_folds(examples, Split(folds=3))
    assert all(len(set(folds.fold[2 * i : 2 * i + 2].tolist())) == 1 for i in range(6))


def test_bags_hold_their_own_rows_whatever_the_order_of_rows() -> None:
    table = pl.DataFrame(
        {
            "sample": ["3", "1", "2"],
            "bag": ["y", "x", "x"],
            "label": ["b", "a", "a"],
            "group": ["y", "x", "x"],
        }
    )
    features = np.array([[9.0], [1.0], [2.0]], dtype=np.float32)
    bags = _examples(table, "bag").arrange(features)
    assert isinstance(bags, Bags)
    assert bags.mean().tolist() == [[1.5], [9.0]]
    assert bags.max().tolist() == [[2.0], [9.0]]
    assert bags.sizes.tolist() == [2, 1]
    cells = _examples(table, "cell").arrange(features)
    assert isinstance(cells, np.ndarray)
    assert cells.tolist() == [[1.0], [2.0], [9.0]]


def test_a_bag_with_two_labels_is_refused_by_name() -> None:
    table = _cells().with_columns(pl.lit("one").alias("bag"))
    with pytest.raises(DataError, match="bags one hold more than one label"):
        _examples(table, "bag")


def test_fewer_groups_than_folds_says_how_many_there_are() -> None:
    with pytest.raises(ProtocolError, match=r"only 3 \(.*--folds 3"):
        outer_folds(_examples(_cells(3)), Split(folds=5))


def test_a_class_in_one_group_only_names_class_and_fold() -> None:
    table = _cells().with_columns(
        pl.when(pl.col("group") == "g03").then(pl.lit("rare")).otherwise("label").alias("label")
    )
    with pytest.raises(ProtocolError, match=r"Class 'rare' is missing .* fold \d.*exclude = \[\"rare\"\]"):
        outer_folds(_examples(table), Split(folds=4))


def test_a_class_may_be_missing_from_a_test_fold() -> None:
    table = _cells().with_columns(
        pl.when(pl.col("group").is_in(["g03", "g07"])).then(pl.lit("rare")).otherwise("label").alias("label")
    )
    folds = outer_folds(_examples(table), Split(folds=5))
    examples = _examples(table)
    rare = examples.classes.index("rare")
    holding = [k for k in range(5) if (examples.labels[folds.test(k)] == rare).any()]
    assert len(holding) == 2


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ProtocolError, match="carry one label"):
        outer_folds(_examples(_cells(classes="a")), Split(folds=3))


def test_two_classes_of_ten_samples_make_five_folds() -> None:
    table = pl.DataFrame({"sample": [f"{i:02d}" for i in range(20)], "label": ["a", "b"] * 10})
    folds = outer_folds(_examples(table.with_columns(pl.col("sample").alias("group"))), Split(folds=5))
    assert np.bincount(folds.fold).tolist() == [4] * 5


def test_an_official_split_trains_on_train_and_val_and_tests_on_test_alone() -> None:
    table = _cells().with_columns(
        pl.col("group")
        .replace_strict({"g00": "test", "g01": "val", "g02": None}, default="train")
        .alias("split")
    )
    examples = _examples(table)
    folds = outer_folds(examples, Split(kind="official"))
    groups = np.asarray(examples.groups)
    assert set(groups[folds.test(0)]) == {"g00"}
    assert set(groups[folds.train(0)]) == set(groups) - {"g00", "g02"}


def test_a_group_on_both_sides_of_an_official_split_is_named() -> None:
    rows = _cells().with_row_index()
    table = rows.with_columns(
        pl.when(pl.col("index").is_between(3, 11))
        .then(pl.lit("test"))
        .otherwise(pl.lit("train"))
        .alias("split")
    )
    with pytest.raises(ProtocolError, match="groups g00 are both"):
        outer_folds(_examples(table), Split(kind="official"))


def test_a_class_that_is_only_tested_is_refused() -> None:
    table = _cells().with_columns(
        pl.when(pl.col("group") == "g00").then(pl.lit("test")).otherwise(pl.lit("train")).alias("split"),
        pl.when(pl.col("group") == "g00").then(pl.lit("new")).otherwise("label").alias("label"),
    )
    with pytest.raises(ProtocolError, match="'new' is missing from the training part"):
        outer_folds(_examples(table), Split(kind="official"))


def test_a_split_file_beside_the_card_decides_and_must_name_every_sample(tmp_path: Path) -> None:
    table = _cells()
    listed = table.select("sample", (pl.col("group") > "g05").cast(pl.Int8).alias("fold"))
    listed.write_csv(tmp_path / "split.csv")
    split = Split(kind="file", path="split.csv")
    folds = outer_folds(_examples(table), split, card_dir=tmp_path)
    assert _by_sample(folds) == dict(listed.iter_rows())
    listed.head(3).write_csv(tmp_path / "split.csv")
    with pytest.raises(ProtocolError, match=r"has no fold for g00/3\.png"):
        outer_folds(_examples(table), split, card_dir=tmp_path)
    with pytest.raises(ProtocolError, match=r"none\.csv cannot be read"):
        outer_folds(_examples(table), Split(kind="file", path="none.csv"), card_dir=tmp_path)


def test_a_split_file_stays_where_its_card_is_unless_its_path_is_written_in_full(tmp_path: Path) -> None:
    table = _cells()
    plugin = tmp_path / "plugin"
    (plugin / "tasks").mkdir(parents=True)
    listed = table.select("sample", (pl.col("group") > "g05").cast(pl.Int8).alias("fold"))
    for folder in (tmp_path, plugin):
        listed.write_csv(folder / "split.csv")

    def read(path: str, card_dir: Path | None = plugin / "tasks") -> int:
        return len(outer_folds(_examples(table), Split(kind="file", path=path), card_dir=card_dir))

    assert read("../split.csv") == read(str(tmp_path / "split.csv")) == read("split.csv", tmp_path) == 2
    for path, card_dir in (("../../split.csv", plugin / "tasks"), ("../split.csv", plugin)):
        with pytest.raises(CardError, match=r"leaves .*plugin: move it there"):
            read(path, card_dir)
    with pytest.raises(CardError, match="read from no file"):
        read("split.csv", None)


def test_leaving_one_group_out_tests_each_group_alone() -> None:
    examples = _examples(_cells(8))
    folds = outer_folds(examples, Split(kind="leave-one-group-out"))
    assert folds.names == tuple(f"g{i:02d}" for i in range(8))
    assert {examples.groups[row] for row in folds.test(5)} == {"g05"}
    assert folds.pooled_ranking


def test_inner_folds_keep_groups_whole_and_are_drawn_from_their_key() -> None:
    examples = _examples(_cells())
    labels, groups = examples.labels, examples.group_codes
    made = {key: inner_folds(labels, groups, key) for key in [("task", 0, "0"), ("task", 0, "1")]}
    again = inner_folds(labels, groups, ("task", 0, "0"))
    first, second = made.values()
    assert first is not None
    assert again is not None
    assert second is not None
    assert first.tolist() == again.tolist() != second.tolist()
    assert all(len(set(first[groups == group])) == 1 for group in np.unique(groups))


def test_inner_folds_shrink_with_the_number_of_groups_and_end_in_none() -> None:
    labels, groups = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    few = inner_folds(labels, groups, ("t",))
    assert few is not None
    assert len(np.unique(few)) == 3
    assert inner_folds(labels, np.zeros(6, dtype=int), ("t",)) is None
