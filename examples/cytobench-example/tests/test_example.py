"""What a plugin's own tests should hold: its cards, its reader and its probe do what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cytobench_example import lobes, shrunken

from cytobench.errors import DataError
from cytobench.probes.custom import TrainingPart, require_probabilities
from cytobench.progress import SilentReporter
from cytobench.registry import Registry


def test_the_cards_are_found() -> None:
    registry = Registry.load()
    assert not [one for one in registry.broken if "example" in one.origin]
    assert registry.task("example-lobes").dataset == "cytobench_example.lobes:read"
    assert registry.probe("shrunken-centroids").unit == "cell"


def test_the_reader_reads_what_is_generated_and_says_what_is_missing(tmp_path: Path) -> None:
    lobes.generate(tmp_path, reporter=SilentReporter())
    table = lobes.read(tmp_path)
    assert len(table) == lobes.PICTURES
    assert table["donor"].n_unique() == lobes.DONORS
    (tmp_path / "pictures" / "0007.png").unlink()
    with pytest.raises(DataError, match=r"pictures/0007\.png is missing"):
        lobes.read(tmp_path)


def test_the_probe_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    features = (rng.normal(size=(40, 5)) + 4 * labels[:, None]).astype(np.float32)
    part = TrainingPart(features, labels, np.arange(40), 2, rng)
    for amount in shrunken.GRID["amount"][1:]:
        made = require_probabilities(shrunken.fit_and_predict(part, features, amount=amount), (40, 2))
        assert (made.argmax(1) == labels).mean() > 0.9
