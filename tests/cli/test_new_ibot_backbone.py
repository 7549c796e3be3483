"""`new backbone --ibot` on real checkpoints: the shipped weights, and one as pretraining writes it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from cytobench.pretraining.heads import HeadShape
from cytobench.pretraining.ibot import IBOT, Objective
from cytobench.pretraining.masked_vit import ViTShape
from cytobench.registry import Registry

SHIPPED = Path(__file__).parents[2] / "backbones" / "cytofm" / "model.safetensors"


def _published(path: Path) -> Path:
    """Write a checkpoint as iBOT publishes them: student, teacher, loss centres and an epoch."""
    torch.manual_seed(0)
    vit = ViTShape(arch="vit_tiny_patch16_224", size=32, local_sizes=(16,), drop_path=0.0, options={})
    head = HeadShape(out_dim=24, patch_out_dim=20, hidden_dim=40, bottleneck_dim=12)
    torch.save({**IBOT(vit, head, Objective()).published_state(), "epoch": 3}, path)
    return path


@pytest.mark.parametrize("kind", ["shipped", "published"])
def test_a_card_written_from_a_checkpoint_passes_check_and_runs(
    cytobench, own_cells: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "shipped" and not SHIPPED.is_file():
        pytest.skip("the shipped weights lie in the checkout's folder of backbones")
    weights = SHIPPED if kind == "shipped" else _published(tmp_path / "checkpoint.pth")
    made = cytobench("new", "backbone", "mine", "--ibot", weights, "--out", own_cells)
    assert made.code == 0, made.err
    side = 80 if kind == "shipped" else 32
    assert f"arch was read off the weights: vit_tiny_patch16_224, images of {side} px" in made.err
    card = tomllib.loads((own_cells / "backbones" / "mine.toml").read_text())
    assert (card["loader"], card["dim"], card["preprocess"]["size"]) == ("ibot", 192, side)
    if kind == "shipped":
        ours = Registry.load().backbone("cytofm")
        assert (card["sha256"], card["dim"], card["arch"]) == (ours.sha256, ours.dim, ours.arch)
    checked = cytobench("check", "mine", "--plugin", own_cells, "--device", "cpu", "--json")
    (subject,) = json.loads(checked.out)
    assert checked.code == 0, subject
    assert {one["question"] for one in subject["findings"]} >= {"weights", "output dimension", "determinism"}
    assert all(one["mark"] != "fail" for one in subject["findings"])
    ran = cytobench(
        "run",
        "-b",
        "mine",
        "-t",
        "my-cells",
        "-p",
        "knn",
        "--trials",
        "0",
        "--device",
        "cpu",
        "--plugin",
        own_cells,
    )
    assert ran.code == 0, ran.err


def test_a_file_that_is_no_checkpoint_is_one_sentence(cytobench, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("not weights")
    made = cytobench("new", "backbone", "mine", "--ibot", tmp_path / "notes.pth", "--out", tmp_path)
    assert made.code == 1
    assert "notes.pth" in made.err
    assert "Traceback" not in made.err
    assert not (tmp_path / "backbones").exists()
