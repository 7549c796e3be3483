"""Random weights are the same on every machine and for every version of PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tiny_cards import load_tiny, tiny_card

from cytobench.encoders import random_weights, timm_vit
from cytobench.registry import Registry

GOLDEN = Path(__file__).with_name("golden_random_vit_tiny.json")


def golden_crop() -> np.ndarray:
    """A coloured ramp that any machine makes alike."""
    y, x = np.mgrid[0:224, 0:224]
    return np.stack([x % 256, y % 256, (x * y) % 256], axis=-1).astype(np.uint8)


def test_random_vit_tiny_gives_its_golden_vector(home: Path) -> None:
    encoder = load_tiny(home, Registry.load().backbone("random-vit-tiny"))
    features = encoder.encode(encoder.prepare(golden_crop())[None])[0]
    golden = np.array(json.loads(GOLDEN.read_text()), dtype=np.float32)
    cosine = float(features @ golden / np.linalg.norm(features) / np.linalg.norm(golden))
    assert cosine >= 0.999
    np.testing.assert_allclose(features, golden, atol=1e-3)


def test_torchs_own_generator_plays_no_part(home: Path) -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = timm_vit.create(tiny_card())
        random_weights.fill(model, 7)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_parameter_depends_on_seed_name_and_shape_only() -> None:
    first = random_weights.draw("blocks.0.mlp.fc1.weight", (8, 16), 0)
    np.testing.assert_array_equal(first, random_weights.draw("blocks.0.mlp.fc1.weight", (8, 16), 0))
    for other in (("blocks.1.mlp.fc1.weight", (8, 16), 0), ("blocks.0.mlp.fc1.weight", (8, 16), 1)):
        assert not np.array_equal(first, random_weights.draw(*other))
    assert not np.array_equal(
        first.ravel(), random_weights.draw("blocks.0.mlp.fc1.weight", (16, 8), 0).ravel()
    )


def test_the_draw_is_a_truncated_normal_with_plain_norms_and_biases() -> None:
    values = random_weights.draw("weight", (400, 500), 0)
    assert np.abs(values).max() <= 0.04
    assert abs(values.mean()) < 2e-4
    assert abs(values.std() / (0.02 * 0.8796) - 1) < 0.01  # a normal cut at two standard deviations
    assert random_weights.draw("norm.weight", (3,), 0).tolist() == [1.0, 1.0, 1.0]
    assert random_weights.draw("norm.bias", (3,), 0).tolist() == [0.0, 0.0, 0.0]
