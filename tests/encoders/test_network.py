"""What every network encoder promises: finite features of the right length, the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cards import PREPROCESS, crops, load_tiny, tiny_card

from cytobench.cards import BackboneCard, Preprocess
from cytobench.encoders.network import Built, NetworkEncoder, choose_device
from cytobench.errors import EncoderError


class _Fixed(torch.nn.Module):
    """Returns the same features whatever it sees."""

    def __init__(self, features: list[float]) -> None:
        super().__init__()
        self.register_buffer("features", torch.tensor(features))

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.features.expand(len(pixels), -1)


def _encoder(features: list[float], dim: int) -> NetworkEncoder:
    return NetworkEncoder(
        Built(_Fixed(features)), name="fixed", dim=dim, identity={}, prepare=np.asarray, prepare_key="",
        preprocess=Preprocess(**PREPROCESS), precision="fp32", device=torch.device("cpu"),
    )  # fmt: skip


def test_a_value_that_is_not_finite_is_refused() -> None:
    assert _encoder([1.0, 2.0], 2).encode(crops(3)).tolist() == [[1.0, 2.0]] * 3
    for value in (float("nan"), float("inf")):
        with pytest.raises(EncoderError, match="3 of 3 images"):
            _encoder([1.0, value], 2).encode(crops(3))


def test_features_of_another_length_are_refused() -> None:
    with pytest.raises(EncoderError, match="dim = 3"):
        _encoder([1.0, 2.0], 3).encode(crops(2))


def test_an_images_features_do_not_depend_on_its_batch(home: Path) -> None:
    encoder = load_tiny(home, tiny_card())
    batch = crops(5)
    together = encoder.encode(batch)
    alone = np.concatenate([encoder.encode(batch[i : i + 1]) for i in range(5)])
    assert together.shape == (5, 192)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(batch), together)


def test_half_precision_is_close_and_has_an_identity_of_its_own(home: Path) -> None:
    full, half = load_tiny(home, tiny_card()), load_tiny(home, tiny_card(), precision="bf16")
    one, other = full.encode(crops(2)), half.encode(crops(2))
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(one - other).max() > 1e-5  # it was indeed computed differently
    assert full.identity["precision"] == "fp32"
    assert half.identity["precision"] == "bf16"


def test_read_only_batches_are_left_as_they_are(home: Path) -> None:
    batch = crops(1)
    batch.setflags(write=False)
    before = batch.copy()
    load_tiny(home, tiny_card()).encode(batch)
    np.testing.assert_array_equal(batch, before)


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_a_device_that_is_not_here_gets_one_sentence(device: str) -> None:
    with pytest.raises(EncoderError, match="device"):
        choose_device(device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_accelerator_agrees_with_the_processor(home: Path) -> None:
    from cytobench.digests import FileDigests
    from cytobench.encoders import load

    here = load_tiny(home, tiny_card())
    there = load(tiny_card(), home=home, digests=FileDigests(home), device="cuda")
    assert there.identity == here.identity
    np.testing.assert_allclose(there.encode(crops(4)), here.encode(crops(4)), atol=1e-4)


def _plugin(folder: Path, source: str) -> BackboneCard:
    """A plugin folder with one backbone card and a module beside it."""
    from cytobench.card_files import read_card

    (folder / "backbones").mkdir(parents=True)
    (folder / f"{folder.name}.py").write_text(source)
    (folder / "backbones" / "mine.toml").write_text(
        f'name = "mine"\ntitle = "Mine"\nloader = "{folder.name}:build"\narch = "sums"\nweights = '
        '"none"\ndim = 2\n'
        'pooling = "head"\ndomain = "none"\nlicence = "MIT"\ncitation = "none"\n'
        "preprocess = { size = 8, mean = [0.0, 0.0, 0.0], std = [1.0, 1.0, 1.0] }\n"
    )
    return read_card(BackboneCard, folder / "backbones" / "mine.toml")


MODULE = """
import torch

class Sums(torch.nn.Module):
    def forward(self, pixels):
        return pixels.flatten(1).sum(1, keepdim=True).repeat(1, 2)

def build(card, weights_path):
    assert card.name == "mine" and weights_path is None
    return Sums()
"""


def test_a_plugins_function_is_a_backbone(home: Path, tmp_path: Path) -> None:
    card = _plugin(tmp_path / "plugin_that_sums", MODULE)
    encoder = load_tiny(home, card)
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    np.testing.assert_allclose(encoder.encode(encoder.prepare(white[0])[None]), [[192.0, 192.0]])


def test_a_module_handed_over_in_training_mode_is_evaluated(home: Path, tmp_path: Path) -> None:
    source = MODULE.replace(
        "return Sums()", "return torch.nn.Sequential(Sums(), torch.nn.Dropout(0.5)).train()"
    )
    encoder = load_tiny(home, _plugin(tmp_path / "plugin_that_trains", source))
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    batch = np.stack([black, white] * 8)
    np.testing.assert_allclose(encoder.encode(batch), [[0.0, 0.0], [192.0, 192.0]] * 8)


def test_a_plugin_may_prepare_crops_itself(home: Path, tmp_path: Path) -> None:
    source = """
import torch

def build(card, weights_path):
    return torch.nn.Identity(), lambda crop: crop.mean(axis=(0, 1))[:2].astype("float32")
"""
    encoder = load_tiny(home, _plugin(tmp_path / "plugin_that_prepares", source))
    crop = np.zeros((5, 7, 3), np.uint8)
    crop[..., 1] = 9
    assert encoder.encode(np.stack([encoder.prepare(crop)])).tolist() == [[0.0, 9.0]]


BROKEN = {
    "raises": ("def build(card, path):\n    raise KeyError('x')\n", "failed with KeyError"),
    "returns nonsense": ("def build(card, path):\n    return 3\n", "returned int"),
    "has no function": ("", "has no function 'build'"),
    "cannot be imported": ("import no_such_package\n", "cannot import the loader"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_gets_one_clear_sentence(home: Path, tmp_path: Path, case: str) -> None:
    source, words = BROKEN[case]
    with pytest.raises(EncoderError) as caught:
        load_tiny(home, _plugin(tmp_path / f"plugin_{case.replace(' ', '_')}", source))
    assert words in str(caught.value)
    assert str(caught.value).startswith("mine: ")
