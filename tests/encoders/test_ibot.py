"""iBOT checkpoints: the network is iBOT's, every published layout loads, and wrong files get one sentence."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import ibot_reference
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_cards import PREPROCESS, Heard, crops, load_tiny, tiny_card

from cytobench.cards import BackboneCard
from cytobench.encoders import checkpoint, ibot, random_weights, timm_vit
from cytobench.errors import EncoderError, WrongWeightsError
from cytobench.progress import SilentReporter

State = dict[str, torch.Tensor]


def _state(seed: int = 1) -> State:
    """A backbone in iBOT's own parameter names, with weights large enough that every part matters."""
    model = timm_vit.create(tiny_card())
    random_weights.fill(model, seed)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in state.items():
        noise = torch.from_numpy(random_weights.draw(key, (1, *value.shape), seed + 99))[0]
        state[key] = value + 2 * noise
    return state


def _card(path: Path, **changes: Any) -> BackboneCard:
    return tiny_card(loader="ibot", weights=str(path), **changes)


def _training_checkpoint(teacher: State, student: State) -> dict[str, Any]:
    """What main_ibot.py saves after an epoch, heads, optimiser and arguments included."""
    head = {"head.mlp.0.weight": torch.ones(3, 3), "head.last_layer.weight_g": torch.ones(3, 1)}
    return {
        "student": {
            f"module.{key}": value
            for key, value in ({f"backbone.{k}": v for k, v in student.items()} | head).items()
        }
        | {"module.backbone.masked_embed": torch.zeros(1, 192)},
        "teacher": {f"backbone.{key}": value for key, value in teacher.items()} | head,
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(5e-4), "params": [0]}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_tiny", lr=5e-4, pred_ratio=[0, 0.3], patch_size=np.int64(16)),
        "fp16_scaler": {"scale": 65536.0},
        "ibot_loss": {"center": torch.zeros(1, 8)},
    }


def _saved(tmp_path: Path, content: Any, name: str = "checkpoint.pth") -> Path:
    path = tmp_path / name
    torch.save(content, path)
    return path


def _expected(state: State, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = (torch.tensor(PREPROCESS[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    pixels = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255.0 - mean) / std
    with torch.no_grad():
        cls, patches = ibot_reference.forward(state, pixels, heads=3)
    return cls.numpy(), patches.mean(dim=1).numpy()


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean"])
def test_the_network_is_ibots(home: Path, tmp_path: Path, pooling: str) -> None:
    state, batch = _state(), crops(2)
    dim = 384 if pooling == "cls+mean" else 192
    encoder = load_tiny(home, _card(_saved(tmp_path, state), pooling=pooling, dim=dim))
    cls, mean = _expected(state, batch)
    expected = {"cls": cls, "mean": mean, "cls+mean": np.concatenate([cls, mean], axis=1)}[pooling]
    np.testing.assert_allclose(encoder.encode(batch), expected, atol=1e-5, rtol=0)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # two crops told apart: this test can fail


def test_the_teacher_is_preferred_and_named_the_student_comes_on_request(home: Path, tmp_path: Path) -> None:
    teacher, student, batch = _state(1), _state(2), crops(1)
    path = _saved(tmp_path, _training_checkpoint(teacher, student))
    for branch, state in (("teacher", teacher), ("student", student)):
        heard = Heard()
        encoder = load_tiny(home, _card(path, branch=branch), reporter=heard)
        np.testing.assert_allclose(encoder.encode(batch), _expected(state, batch)[0], atol=1e-5, rtol=0)
        assert f"{branch} branch" in "\n".join(heard.said)


LAYOUTS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state},
    "module.": lambda state: {f"module.{key}": value for key, value in state.items()},
    "backbone.": lambda state: {f"backbone.{key}": value for key, value in state.items()},
    "module.backbone.": lambda state: {f"module.backbone.{key}": value for key, value in state.items()},
    "backbone.module.": lambda state: {f"backbone.module.{key}": value for key, value in state.items()},
    "masked_embed": lambda state: {**state, "masked_embed": torch.zeros(1, 192)},
    "head": lambda state: {**state, "head.mlp.0.weight": torch.ones(2, 2)},
    "teacher only": lambda state: {"teacher": state},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_circulation_loads(tmp_path: Path, layout: str) -> None:
    state = _state()
    path = _saved(tmp_path, LAYOUTS[layout](state))
    heard = Heard()
    loaded = ibot.build(_card(path), path, heard).module.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert bool(heard.warned) == (layout == "masked_embed")  # only a student has one


def test_safetensors_load_whatever_the_file_is_called(tmp_path: Path) -> None:
    state = _state()
    for path in (tmp_path / "model.safetensors", tmp_path / "blob-without-suffix"):
        save_file(state, path)
        loaded = ibot.build(_card(path), path, SilentReporter()).module.model.state_dict()
        assert torch.equal(loaded["pos_embed"], state["pos_embed"])


def test_position_embeddings_are_resized_only_with_a_warning(tmp_path: Path) -> None:
    state = _state()
    state["pos_embed"] = state["pos_embed"][:, : 1 + 6 * 6]  # as trained on 96-pixel images
    path, heard = _saved(tmp_path, state), Heard()
    loaded = ibot.build(_card(path), path, heard).module.model.state_dict()
    assert loaded["pos_embed"].shape == (1, 197, 192)
    assert torch.equal(loaded["pos_embed"][:, 0], state["pos_embed"][:, 0])
    assert len(heard.warned) == 1
    assert "37 position embeddings and 197" in heard.warned[0]


def test_no_warning_where_nothing_is_resized(tmp_path: Path) -> None:
    path, heard = _saved(tmp_path, _state()), Heard()
    ibot.build(_card(path), path, heard)
    assert not heard.warned


def _vit_small() -> State:
    state = {"patch_embed.proj.weight": torch.zeros(384, 3, 16, 16), "cls_token": torch.zeros(1, 1, 384)}
    return state | {f"blocks.{block}.norm1.weight": torch.zeros(384) for block in range(12)}


def _missing_one() -> State:
    state = _state()
    del state["blocks.1.mlp.fc2.bias"]
    return state


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "another architecture": (_vit_small, {}, EncoderError, 'arch = "vit_small_patch16_224"'),
    "another depth": (_state, {"arch_options": {"depth": 3}}, EncoderError, "depth 2"),
    "not a ViT": (
        lambda: {"layers.0.weight": torch.ones(2)},
        {},
        EncoderError,
        "no plain vision transformer",
    ),
    "student only": (lambda: {"student": _state()}, {}, WrongWeightsError, 'branch = "student"'),
    "teacher only": (
        lambda: {"teacher": _state()},
        {"branch": "student"},
        WrongWeightsError,
        'branch = "teacher"',
    ),
    "a key too many": (
        lambda: _state() | {"extra": torch.ones(1)},
        {},
        WrongWeightsError,
        "1 unexpected (extra)",
    ),
    "a key too few": (_missing_one, {}, WrongWeightsError, "1 missing (blocks.1.mlp.fc2.bias)"),
    "no weights": (lambda: {"epoch": 3}, {}, WrongWeightsError, "holds no weights"),
    "a list": (lambda: [1, 2], {}, WrongWeightsError, "holds a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_gets_one_clear_sentence(home: Path, tmp_path: Path, case: str) -> None:
    content, changes, kind, words = WRONG[case]
    path = _saved(tmp_path, content())
    with pytest.raises(kind) as caught:
        load_tiny(home, _card(path, **changes))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def _truncated(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_named_as_such(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(_state(), path)
    else:
        torch.save(_state(), path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WrongWeightsError, match="truncated") as caught:
        checkpoint.read(_truncated(path, share))
    assert "\n" not in str(caught.value)


NO_CHECKPOINTS = {
    "empty": b"",
    "text": b"hello",
    "page": b"<!DOCTYPE html><html>quota</html>",
    "image": b"\x89PNG",
}


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_a_file_that_is_no_checkpoint_is_named_as_such(tmp_path: Path, kind: str) -> None:
    content = NO_CHECKPOINTS[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WrongWeightsError, match=r"no checkpoint|a web page"):
        checkpoint.read(path)


class _Trojan:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TROJAN_TARGET"],)


def test_code_inside_a_checkpoint_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "it-ran"
    monkeypatch.setenv("TROJAN_TARGET", str(target))
    path = _saved(tmp_path, {"teacher": _state(), "args": _Trojan()})
    with pytest.raises(WrongWeightsError, match=r"run code of its own \(.*mkdir\)"):
        checkpoint.read(path)
    assert not target.exists()
