"""The null probe predicts base rates."""

from __future__ import annotations

import numpy as np
import pytest

from cytobench.errors import ProtocolError
from cytobench.probes.null import majority_probabilities


def test_every_row_gets_the_training_class_frequencies():
    probabilities = majority_probabilities(np.array([2, 0, 2, 2]), 3, 4)
    np.testing.assert_array_equal(probabilities, [[0.25, 0.0, 0.75, 0.0]] * 3)


def test_no_training_row_is_an_error():
    with pytest.raises(ProtocolError, match="no labelled training row"):
        majority_probabilities(np.array([], dtype=int), 3, 4)
