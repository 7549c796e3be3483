"""What saw it: the id of a space changes with everything that changes features, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytobench.errors import StoreError
from cytobench.features.space import canonical_json, space_id

IDENTITY = {"sha256": "ab" * 32, "pooling": "cls", "preprocess": {"size": 224, "mean": [0.5, 0.25, 0.125]}}


def test_order_of_keys_and_kind_of_sequence_do_not_matter() -> None:
    turned = {key: IDENTITY[key] for key in reversed(IDENTITY)}
    turned["preprocess"] = {"mean": (0.5, 0.25, 0.125), "size": 224.0}
    assert space_id(turned) == space_id(IDENTITY)
    assert len(space_id(IDENTITY)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "ac" * 32},
        {"pooling": "mean"},
        {"preprocess": {"size": 224, "mean": [0.5, 0.25, 0.1250000001]}},
        {"preprocess": {"size": 223, "mean": [0.5, 0.25, 0.125]}},
        {"precision": "bf16"},
    ],
)
def test_another_checkpoint_mean_size_or_precision_is_another_space(change: dict[str, object]) -> None:
    assert space_id({**IDENTITY, **change}) != space_id(IDENTITY)


def test_canonical_json_is_compact_sorted_ascii() -> None:
    assert canonical_json({"b": [1.0, True, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,true,null]}'


@pytest.mark.parametrize(
    "value", [Path("weights.pth"), float("nan"), np.float32(1), object(), {1: 2}, b"x", len]
)
def test_what_json_cannot_hold_exactly_is_refused_by_name(value: object) -> None:
    with pytest.raises(StoreError, match=r"identity\.arch"):
        space_id({"identity": 1, "arch": value})
