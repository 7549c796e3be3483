"""Masks have iBOT's distribution; exact masks have a constant count."""

from __future__ import annotations

import numpy as np
import pytest

from cytobench.pretraining.masking import Masking, draw, exact_count, index_masks

GRID = (14, 14)


def test_block_masks_have_the_statistics_of_the_reference() -> None:
    counts = draw(Masking(), 6000, GRID, np.random.default_rng(0)).sum(axis=(1, 2))
    masked = counts[counts > 0]
    assert 1 - len(masked) / 6000 == pytest.approx(0.5, abs=0.03)
    assert masked.mean() == pytest.approx(57.5, abs=1.0)
    assert masked.max() <= 98
    assert 5 <= masked.min() <= 20


def one_crop_at_a_time(target: float, rng: np.random.Generator) -> np.ndarray:
    """Cover a crop with rectangles, one after another, as BEiT's algorithm 1 and iBOT's constants say."""
    mask = np.zeros(GRID, dtype=bool)
    while (room := target - mask.sum()) > 0:
        for _ in range(10):
            area, aspect = 16 + (room - 16) * rng.random(), np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
            h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if h >= 14 or w >= 14:
                continue
            top, left = rng.integers(0, 14 - h + 1), rng.integers(0, 14 - w + 1)
            block = mask[top : top + h, left : left + w]
            if 0 < (~block).sum() <= room:
                block[:] = True
                break
        else:
            break
    return mask


def shape_statistics(masks: np.ndarray) -> np.ndarray:
    """Mean and spread of counts, rows and columns touched, and boundaries met down and across."""
    counts = masks.sum(axis=(1, 2))
    touched = [masks.any(axis=axis).sum(axis=1).mean() for axis in (1, 2)]
    edges = [(masks[:, 1:] != masks[:, :-1]).sum((1, 2)).mean(), np.diff(masks, axis=2).sum((1, 2)).mean()]
    return np.array([counts.mean(), counts.std(), *touched, *edges])


def test_drawing_crops_together_has_the_distribution_of_drawing_them_in_turn() -> None:
    rng = np.random.default_rng(5)
    targets = rng.uniform(0.1, 0.5, size=2500) * 196
    in_turn = np.stack([one_crop_at_a_time(target, rng) for target in targets])
    together = draw(Masking(ratios=(0.3,), variations=(0.2,)), 2500, GRID, rng)
    np.testing.assert_allclose(shape_statistics(together), shape_statistics(in_turn), rtol=0.04)


@pytest.mark.parametrize("shape", ["block", "random"])
def test_a_mask_never_exceeds_its_target(shape: str) -> None:
    masking = Masking(shape=shape, ratios=(0.3,), variations=(0.0,))
    counts = draw(masking, 400, GRID, np.random.default_rng(1)).sum(axis=(1, 2))
    assert counts.max() <= 0.3 * 196
    if shape == "random":
        assert set(counts) == {int(0.3 * 196)}


def test_block_masks_are_blocks() -> None:
    """Neighbours of masked patches are mostly masked, unlike those of scattered ones."""

    def share_of_masked_right_neighbours(shape: str) -> float:
        masking = Masking(shape=shape, ratios=(0.3,), variations=(0.0,))
        masks = draw(masking, 300, GRID, np.random.default_rng(2))
        return float(masks[:, :, 1:][masks[:, :, :-1]].mean())

    assert share_of_masked_right_neighbours("block") > 0.7
    assert share_of_masked_right_neighbours("random") < 0.4


def test_masks_are_reproducible_and_differ_between_crops() -> None:
    first = draw(Masking(), 20, GRID, np.random.default_rng(3))
    np.testing.assert_array_equal(first, draw(Masking(), 20, GRID, np.random.default_rng(3)))
    assert len({mask.tobytes() for mask in first}) > 5


@pytest.mark.parametrize("shape", ["block", "random"])
def test_exact_masks_have_the_same_total_in_every_batch(shape: str) -> None:
    masking = Masking(shape=shape, exact=True)
    rng = np.random.default_rng(4)
    batches = [draw(masking, 32, GRID, rng) for _ in range(6)]
    assert {int(masks.sum()) for masks in batches} == {exact_count(masking, 32, 196)}
    assert {int((masks.sum(axis=(1, 2)) > 0).sum()) for masks in batches} == {16}
    assert exact_count(masking, 32, 196) / (32 * 196) == pytest.approx(0.15, abs=0.002)
    assert len({masks.tobytes() for masks in batches}) == 6


def test_index_and_weights_say_what_the_masks_say() -> None:
    masks = np.zeros((3, 2, 2), dtype=bool)
    masks[0, 0, 1] = True
    masks[2] = True
    batch = index_masks(masks, dtype=np.float64)
    np.testing.assert_array_equal(batch.patch_index, [1, 8, 9, 10, 11])
    np.testing.assert_allclose(batch.weight, [1 / 3, *[1 / 12] * 4], rtol=1e-15)
    padded = index_masks(masks, multiple=4)
    assert len(padded.patch_index) == 8
    np.testing.assert_array_equal(padded.weight[5:], 0)
    assert len(index_masks(np.zeros((2, 4), dtype=bool)).patch_index) == 0
    with pytest.raises(ValueError, match="5 patches are masked"):
        index_masks(masks, length=4)


def test_a_ratio_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Masking(ratios=(0.9,), variations=(0.2,))
