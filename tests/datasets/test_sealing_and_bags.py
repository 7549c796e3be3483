"""What is set aside for pretraining, and how bags are cut."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytobench.cards import SealedShare, SealedValues, SubBags
from cytobench.datasets.bags import cut_bags, refuse_torn_bags
from cytobench.datasets.sealing import split_sealed
from cytobench.errors import DataError

WHERE = "some-task"


def cells(n_groups: int, per_group: int = 3) -> pl.DataFrame:
    rows = [
        {
            "sample": f"g{group:03d}/{cell}",
            "label": "ab"[cell % 2],
            "group": f"g{group:03d}",
            "bag": f"g{group:03d}",
        }
        for group in range(n_groups)
        for cell in range(per_group)
    ]
    return pl.DataFrame(rows)


def test_a_share_seals_whole_groups_and_about_that_many() -> None:
    table = cells(1000)
    kept, sealed = split_sealed(table, SealedShare(share=0.2, seed=0), where=WHERE)
    assert not set(kept["group"]) & set(sealed["group"])
    assert len(kept) + len(sealed) == len(table)
    assert 160 <= sealed["group"].n_unique() <= 240
    other = split_sealed(table, SealedShare(share=0.2, seed=1), where=WHERE)[1]
    assert set(other["group"]) != set(sealed["group"])


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(10, 60))
def test_a_group_is_sealed_alike_in_any_order_and_any_subset(random: object, keep: int) -> None:
    table = cells(60)
    sealed = set(split_sealed(table, SealedShare(share=0.3), where=WHERE)[1]["group"])
    some = list(range(60))
    random.shuffle(some)  # type: ignore[attr-defined]
    names = [f"g{index:03d}" for index in some[:keep]]
    part = table.filter(pl.col("group").is_in(names)).sample(fraction=1.0, shuffle=True, seed=keep)
    assert set(split_sealed(part, SealedShare(share=0.3), where=WHERE)[1]["group"]) == sealed & set(names)


def test_values_seal_their_rows() -> None:
    table = cells(4).with_columns(pl.Series("parity", ["even", "odd"] * 2).repeat_by(3).explode())
    kept, sealed = split_sealed(table, SealedValues(column="parity", values=("even",)), where=WHERE)
    assert sorted(sealed["group"].unique()) == ["g000", "g002"]
    assert sorted(kept["group"].unique()) == ["g001", "g003"]
    assert split_sealed(table, None, where=WHERE)[1].is_empty()


@pytest.mark.parametrize(
    ("sealing", "reason"),
    [
        (SealedValues(column="half", values=("a",)), "'half' does not exist"),
        (SealedValues(column="label", values=("z",)), "no row has label = z"),
        (SealedValues(column="label", values=("a",)), "tears these groups apart: g000"),
        (SealedValues(column="label", values=("a", "b")), "leaves no row"),
    ],
)
def test_sealing_that_cannot_be_carried_out_is_refused(sealing: SealedValues, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        split_sealed(cells(3), sealing, where=WHERE)


def parts_of(table: pl.DataFrame) -> dict[str, set[str]]:
    return {bag[0]: set(rows["sample"]) for bag, rows in table.group_by("bag")}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 16), st.integers(0, 9))
def test_sub_bags_partition_each_bag_evenly_in_any_row_order(sizes: list[int], size: int, seed: int) -> None:
    rows = [
        {"sample": f"b{bag}/{cell}", "label": "x", "group": f"s{bag % 2}", "bag": f"b{bag}"}
        for bag, n in enumerate(sizes)
        for cell in range(n)
    ]
    table = pl.DataFrame(rows)

    cut = cut_bags(table, SubBags(size=size, seed=seed))

    assert cut.drop("bag").equals(table.drop("bag").sort("sample"))
    for bag, n in enumerate(sizes):
        lengths = [len(v) for k, v in parts_of(cut).items() if k.startswith(f"b{bag}/")]
        assert sum(lengths) == n
        assert len(lengths) == max(1, round(n / size))
        assert max(lengths) - min(lengths) <= 1
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=1)
    assert cut_bags(shuffled, SubBags(size=size, seed=seed)).equals(cut)
    alone = table.filter(pl.col("bag") == "b0")
    assert parts_of(cut_bags(alone, SubBags(size=size, seed=seed))).items() <= parts_of(cut).items()


def test_another_seed_cuts_otherwise() -> None:
    table = cells(1, per_group=40)
    first, second = (cut_bags(table, SubBags(size=8, seed=seed)) for seed in (0, 1))
    assert parts_of(first) != parts_of(second)


def test_bags_with_two_labels_or_groups_are_told_at_once() -> None:
    table = cells(2).with_columns(pl.lit("one").alias("bag"))
    with pytest.raises(DataError, match="1 bag has more than one label: one; 1 bag has more than one group"):
        refuse_torn_bags(table, where=WHERE)
    with pytest.raises(DataError, match="rows have no bag: g000/0"):
        refuse_torn_bags(table.with_columns(pl.lit(None, dtype=pl.String).alias("bag")), where=WHERE)
