"""A small network learns what synthetic cells are: by what its answers tell of them, never by the loss."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cytobench.pretraining.engine import Run, train
from cytobench.pretraining.neighbours import Labelled, embed, knn_accuracy
from cytobench.pretraining.pool import PoolWriter, Source
from cytobench.pretraining.recipe import check, override, preset
from cytobench.progress import SilentReporter

CLASSES = 8
RECIPE = check(
    override(
        preset("cytofm-vitti16"),
        {
            "network": {
                "options": {"patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": 2},
                "drop_path": 0.0,
            },
            "head": {"out_dim": 256, "patch_out_dim": 256, "hidden_dim": 128, "bottleneck_dim": 64},
            "crops": {"global_size": 32, "local_size": 16, "local_count": 2},
            "loss": {"centring": "ema", "patch_centre": "all"},
            "masking": {"exact": False},
            # what views share is what is learnt: colour says nothing here, so views must not share it
            "augmentation": {
                "brightness": 0.5,
                "contrast": 0.5,
                "saturation": 0.5,
                "hue": 0.5,
                "grey_p": 0.2,
                "stain_sigma": 0.2,
                "blur_p": [0.0, 0.0, 0.0],
            },
            "schedule": {"epochs": 6, "epoch_steps": 100, "lr": 8e-3, "warmup_epochs": 1, "momentum": 0.99},
            "data": {"batch": 32, "side": 32},
            "running": {"log_steps": 50, "precision": "fp32", "compile": "no", "checkpoint_steps": 10_000},
        },
        where="test",
    )
)


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of eight kinds told apart by size and elongation; their colour says nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    y, x = np.mgrid[:32, :32] / 32 - 0.5
    pictures = []
    for kind in labels:
        long = (0.12, 0.19, 0.27, 0.36)[kind // 2] * rng.uniform(0.93, 1.07)
        wide = long * (1.0, 0.5)[kind % 2]
        angle, (dx, dy) = rng.uniform(0, np.pi), rng.uniform(-0.08, 0.08, 2)
        u = (x - dx) * np.cos(angle) + (y - dy) * np.sin(angle)
        v = (y - dy) * np.cos(angle) - (x - dx) * np.sin(angle)
        soft = 1 / (1 + np.exp(40 * (np.hypot(u / long, v / wide) - 1)))[..., None]
        ground, body = rng.uniform(180, 250, 3), rng.uniform(30, 170, 3)
        picture = ground * (1 - soft) + body * soft + rng.normal(0, 5, (32, 32, 3))
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(pictures), labels


@pytest.mark.slow
def test_answers_come_to_depend_on_the_cell_and_neighbours_to_be_of_its_kind(tmp_path: Path) -> None:
    """Mutual information of image and prototype in nats, use of all prototypes, nearest neighbours."""
    pictures, _ = blobs(1024, seed=0)
    writer = PoolWriter(tmp_path / "pool", 32)
    writer.add(pictures)
    pool = writer.finish([Source("blobs", "", len(pictures), {})], "0" * 64, {})
    held_out, labels = blobs(400, seed=1)
    labelled = Labelled("blobs", held_out, labels, np.arange(400), tuple("abcdefgh"))
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(0)
    from cytobench.pretraining.build import make_model

    change = RECIPE.augmentation
    fresh = make_model(RECIPE).teacher.backbone
    before = knn_accuracy(embed(fresh, held_out, change.mean, change.std), labels, np.arange(400))
    outcome = train(Run(RECIPE, pool, folder, torch.device("cpu"), labelled=[labelled]), SilentReporter())
    last = list(csv.DictReader((folder / "log.csv").open()))[-1]
    information = float(last["marginal_entropy"]) - float(last["teacher_entropy"])
    assert information > 0.3
    assert float(last["marginal_entropy"]) > 0.6 * math.log(256)
    assert float(last["knn"]) > before + 0.02
    assert outcome.best_score >= float(last["knn"])
