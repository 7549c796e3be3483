"""A user's own backbone: one card in a plugin folder, or a name that needs no card at all."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

SMALL = {"img_size": 32, "patch_size": 16, "depth": 1, "embed_dim": 24, "num_heads": 2}
CARD = """
name = "my-net"
title = "My own network"
loader = "timm"
arch = "vit_tiny_patch16_224"
arch_options = { img_size = 32, patch_size = 16, depth = 1, embed_dim = 24, num_heads = 2 }
weights = "../weights/my-net.safetensors"
dim = 24
pooling = "cls"
preprocess = { size = 32, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }
domain = "cytology"
licence = "private"
citation = "me"
"""


def _network(**options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **options)


@pytest.fixture
def own_backbone(own_cells: Path) -> Path:
    """The plugin folder of `own_cells` with a backbone card and its weights beside it."""
    (own_cells / "backbones").mkdir()
    (own_cells / "weights").mkdir()
    (own_cells / "backbones" / "my-net.toml").write_text(CARD)
    save_file(_network(**SMALL).state_dict(), own_cells / "weights" / "my-net.safetensors")
    return own_cells


def _run(cytobench, plugin: Path, backbone: str):
    names = ["-b", backbone, "-t", "my-cells", "-p", "knn", "--trials", "0", "--device", "cpu"]
    return cytobench("run", *names, "--plugin", plugin)


def test_a_backbone_card_in_a_plugin_folder_is_run(cytobench, own_backbone: Path, home: Path) -> None:
    ran = _run(cytobench, own_backbone, "my-net")
    assert ran.code == 0, ran.err
    (result,) = home.glob("results/my-cells/my-net/knn/*/result.json")
    assert json.loads(result.read_text())["n"] == 24


def test_changed_weights_are_noticed_and_moved_ones_are_not(cytobench, own_backbone: Path) -> None:
    _run(cytobench, own_backbone, "my-net")
    weights = own_backbone / "weights" / "my-net.safetensors"
    (own_backbone / "elsewhere").mkdir()
    moved = weights.rename(own_backbone / "elsewhere" / weights.name)
    card = own_backbone / "backbones" / "my-net.toml"
    card.write_text(CARD.replace("../weights", "../elsewhere"))
    assert "1 answered from the caches" in _run(cytobench, own_backbone, "my-net").err
    torch.manual_seed(1)
    changed = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **SMALL)
    save_file(changed.state_dict(), moved)
    assert "1 computed" in _run(cytobench, own_backbone, "my-net").err


def test_an_ibot_checkpoint_needs_no_card(cytobench, own_cells: Path, tmp_path: Path) -> None:
    teacher = {f"backbone.{name}": value for name, value in _network().state_dict().items()}
    student = {f"module.{name}": value + 1.0 for name, value in teacher.items()}
    checkpoint = {
        "student": student,
        "teacher": teacher,
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_tiny"),
    }
    path = tmp_path / "checkpoint.pth"
    torch.save(checkpoint, path)
    ran = _run(cytobench, own_cells, f"ibot:{path}?arch=vit_tiny_patch16_224")
    assert ran.code == 0, ran.err
    assert "teacher" in ran.err


def test_weights_of_another_architecture_are_one_sentence(cytobench, own_backbone: Path) -> None:
    card = own_backbone / "backbones" / "my-net.toml"
    card.write_text(
        CARD.replace("embed_dim = 24", "embed_dim = 48").replace("dim = 24\npool", "dim = 48\npool")
    )
    ran = _run(cytobench, own_backbone, "my-net")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "my-net" in ran.out + ran.err


def test_a_damaged_checkpoint_is_a_failure_not_an_absence(cytobench, own_backbone: Path) -> None:
    weights = own_backbone / "weights" / "my-net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ran = _run(cytobench, own_backbone, "my-net")
    assert ran.code == 1
    assert "my-net: failed: " in ran.out
    assert "truncated" in ran.out
    assert "1 failed" in ran.err
