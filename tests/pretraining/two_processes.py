"""What each of two processes does in test_two_processes.py: training steps on its half of each batch."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import tiny_ibot
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cytobench.pretraining import optim
from cytobench.pretraining.ibot import IBOT, Masks, Objective
from cytobench.pretraining.masking import index_masks

OBJECTIVES = {
    "all": Objective(),
    "masked": Objective(patch_centre="masked"),
    "sinkhorn": Objective(centring="sinkhorn"),
}
IMAGES = 4  # of both processes together
STEPS = 2


def halves(step: int) -> tuple[list[Tensor], list[Tensor], np.ndarray]:
    """Return global crops, local crops and masks by crop; the second half of the images is masked more."""
    crops, local, _ = tiny_ibot.batch(IMAGES, seed=step)
    rng = np.random.default_rng(step)
    share = np.array([0.0, 0.1, 0.6, 0.8])
    tokens = rng.random((2, IMAGES, tiny_ibot.PATCHES)) < share[None, :, None]
    return list(crops.chunk(2)), list(local.chunk(2)), tokens


def train(model: nn.Module, images: slice) -> list[dict[str, float]]:
    """Take two steps on some of the images (all: one process; half: one of two)."""
    inner: IBOT = model.module if hasattr(model, "module") else model  # type: ignore[assignment]
    optimizer = optim.adamw(optim.parameter_groups(inner.student), lr=0.01)
    history = []
    for step in range(STEPS):
        crops, local, tokens = halves(step)
        mine = tokens[:, images].reshape(-1, tiny_ibot.PATCHES)
        losses = model(
            torch.cat([crop[images] for crop in crops]),
            torch.cat([crop[images] for crop in local]),
            Masks.of(index_masks(mine, dtype=np.float64)),
            tiny_ibot.temperatures(),
        )
        optimizer.zero_grad()
        losses["total"].backward()
        optim.clip_each(inner.student.parameters(), 0.1)
        optimizer.step()
        inner.ema_update(0.9)
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return history


def run(rank: int, folder: str) -> dict[str, Any]:
    """Train as process `rank` of two; return losses and weights, which the second leaves in `folder` too."""
    store = (Path(folder) / "store").as_uri()
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    results: dict[str, Any] = {}
    try:
        for name, objective in OBJECTIVES.items():
            model = nn.parallel.DistributedDataParallel(tiny_ibot.make(objective), broadcast_buffers=False)
            half = slice(rank * IMAGES // 2, (rank + 1) * IMAGES // 2)
            results[name] = {"losses": train(model, half), "state": model.module.state_dict()}
        if rank == 1:
            torch.save(results, Path(folder) / "second.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
    return results


def second(_: int, folder: str) -> None:
    """Be the second process."""
    torch.set_num_threads(1)
    run(1, folder)
