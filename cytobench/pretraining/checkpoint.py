"""A run's state on disk: weights in iBOT's published layout, optimiser, every generator's state, position.

Written whole or not at all; a run that is killed at any moment goes on from the last one, bit for bit.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cytobench.errors import PretrainingError, UsageError
from cytobench.features.durable import save_durably
from cytobench.pretraining.distributed import gather_objects, my_rank, world_size
from cytobench.pretraining.ibot import IBOT

NAME = "checkpoint.pth"
_FORMAT = 1


@dataclass(frozen=True)
class Position:
    """Where a run is: steps done, seconds spent, the best score of the nearest neighbours and its step."""

    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best_step: int = -1


def save(
    path: Path,
    model: IBOT,
    optimizer: torch.optim.Optimizer,
    position: Position,
    *,
    recipe: Mapping[str, Any],
    pool: str,
) -> None:
    """Write a checkpoint; all processes call it, the first one writes. Raises StoreError on a full disk.

    pool: digest of the pictures trained on.
    """
    generators = gather_objects(_generators())
    state = {
        **model.published_state(),
        "optimizer": optimizer.state_dict(),
        "generators": generators,
        "position": vars(position),
        "recipe": dict(recipe),
        "pool": pool,
        "format": _FORMAT,
    }
    if my_rank() == 0:
        # PyTorch hides what the disk says when it writes to a file by itself
        whole = io.BytesIO()
        torch.save(state, whole)
        save_durably(path, lambda file: file.write(whole.getbuffer()), option="--out")


def load(path: Path, model: IBOT, optimizer: torch.optim.Optimizer, *, rank: int, pool: str) -> Position:
    """Bring model, optimiser and generators to where the checkpoint left them; return its position.

    Raises PretrainingError for a damaged file or one of another version, UsageError for other pictures.
    """
    state = read(path)
    if state["pool"] != pool:
        raise UsageError(
            f"{path} was trained on other pictures than are given now (pool {state['pool'][:12]}, not "
            f"{pool[:12]}): give the same --images, or another --out."
        )
    model.load_published_state(state)
    try:
        optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError) as error:
        raise PretrainingError(
            f"{path} does not fit this run ({error}): start anew in another --out."
        ) from error
    generators = state["generators"]
    # with another number of processes, stochastic depth and exact masks are drawn anew
    if len(generators) == world_size():
        _set_generators(generators[rank])
    return Position(**state["position"])


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint's parts on the CPU, read without running code; raises PretrainingError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise PretrainingError(
            f"{path} is damaged ({first}): delete it to start anew, or bring back a copy."
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise PretrainingError(
            f"{path} was not written by this version of CytoBench: start in another --out."
        )
    return dict(state)


def _generators() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    states["numpy"] = [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position)]
    states["numpy"] += [int(has_gauss), float(cached)]
    return states


def _set_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
