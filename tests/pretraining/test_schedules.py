"""Schedules are iBOT's tables, number by number."""

from __future__ import annotations

import numpy as np
import pytest

from cytobench.pretraining.schedules import cosine, scaled_learning_rate, teacher_temperatures


def test_learning_rate_is_the_reference_table() -> None:
    table = cosine(2e-3, 1e-6, steps=20, warmup_steps=5)
    assert len(table) == 20
    np.testing.assert_allclose(table[:6], [0, 5e-4, 1e-3, 1.5e-3, 2e-3, 2e-3], rtol=0, atol=1e-15)
    np.testing.assert_allclose(table[6], 1.97815853e-3, rtol=0, atol=1e-11)
    np.testing.assert_allclose(table[-1], 2.28414731e-5, rtol=0, atol=1e-13)


def test_weight_decay_and_momentum_are_the_reference_tables() -> None:
    decay = cosine(0.04, 0.4, steps=10)
    np.testing.assert_allclose(decay[[0, 1, -1]], [0.04, 0.0488098271, 0.391190173], rtol=0, atol=1e-9)
    momentum = cosine(0.996, 1, steps=10)
    np.testing.assert_allclose(momentum[[0, 1, -1]], [0.996, 0.996097887, 0.999902113], rtol=0, atol=1e-9)


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        cosine(1.0, 0.0, steps=3, warmup_steps=4)


def test_teacher_temperature_rises_linearly_then_stays() -> None:
    table = teacher_temperatures(0.04, 0.07, epochs=6, warmup_epochs=3)
    np.testing.assert_allclose(table, [0.04, 0.055, 0.07, 0.07, 0.07, 0.07], rtol=0, atol=1e-15)
    late = teacher_temperatures(0.04, 0.07, epochs=6, warmup_epochs=3, start_epoch=2)
    np.testing.assert_allclose(late, [0.04, 0.04, 0.04, 0.055, 0.07, 0.07], rtol=0, atol=1e-15)


def test_a_short_run_gets_the_beginning_of_a_long_warm_up() -> None:
    short = teacher_temperatures(0.04, 0.07, epochs=10, warmup_epochs=30)
    np.testing.assert_array_equal(short, np.linspace(0.04, 0.07, 30)[:10])


def test_learning_rate_scales_with_the_batch() -> None:
    assert scaled_learning_rate(5e-4, 1024) == pytest.approx(2e-3)
    assert scaled_learning_rate(4e-3, 256, "sqrt") == pytest.approx(2e-3)
    assert scaled_learning_rate(4e-3, 256, "none") == 4e-3
