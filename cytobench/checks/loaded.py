"""A backbone brought to life: how it loads, is fed, behaves, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.cards import BackboneCard
from cytobench.checks.asking import Hearing, answer, failure
from cytobench.checks.backbone import dimension, measured_dim
from cytobench.checks.behaviour import Subject, behaviour
from cytobench.checks.contract import preparation
from cytobench.checks.cost import memory, speed
from cytobench.checks.specimens import Crop, cells, extremes
from cytobench.encoders import Encoder, load
from cytobench.errors import CytoBenchError
from cytobench.findings import Finding
from cytobench.progress import Reporter, SilentReporter

_CELLS, _FEW = 8, 4
_SLOW = 0.3  # seconds a crop; then fewer crops are looked at
_LONG = 6.0  # seconds to load; then it is loaded once only
_NORMALISERS = ("pixel_mean", "pixel_std", "image_mean", "image_std")


def examine(card: BackboneCard, *, home: Path, device: str, reporter: Reporter) -> list[Finding]:
    """Load the card's backbone, whose weights are at hand, and return findings on what it does.

    A card with a wrong dim is examined as if it were right, so that everything is said at once.
    """
    hearing, began = Hearing(reporter), time.perf_counter()
    card = _with_real_dim(card)
    try:
        encoder = _load(card, home, device, hearing)
    except Exception as error:
        return [Finding("loads", "fail", _why(error))]
    seconds = time.perf_counter() - began
    reload = (lambda: _load(card, home, device, SilentReporter())) if seconds < _LONG else None
    with reporter.task(f"examining {card.name}", None):
        crops = cells(_CELLS)
        found = [_loads(hearing, seconds), answer("preparation", lambda: preparation(encoder, crops))]
        doubly = _normalised_twice(card, encoder)
        found += [doubly] if doubly else []
        if any(finding.mark == "fail" for finding in found):
            return [*found, Finding("behaviour", "skip", "Not looked at: crops cannot be prepared.")]
        return [*found, *_behaviour(card, encoder, crops, reload)]


def _behaviour(
    card: BackboneCard, encoder: Encoder, crops: list[Crop], reload: Callable[[], Encoder] | None
) -> list[Finding]:
    batch = np.stack([np.asarray(encoder.prepare(crop)) for crop in crops])
    began = time.perf_counter()
    try:
        features = encoder.encode(batch)
    except Exception as error:
        real = _real_length(encoder, batch)
        if real not in (0, card.dim):
            return [dimension(card, real), Finding("behaviour", "skip", "Not looked at: correct dim first.")]
        return [Finding("features", "fail", _why(error))]
    if time.perf_counter() - began > _SLOW * len(crops):
        crops, batch, features = crops[:_FEW], batch[:_FEW], features[:_FEW]
    subject = Subject(encoder, batch, features, handcrafted=card.loader == "handcrafted")
    counted = card.loader in ("timm", "open_clip", "ibot")  # compared before it was loaded
    return [
        *([] if counted else [dimension(card, features.shape[1])]),
        *behaviour(subject, extremes(), reload),
        answer("speed", lambda: speed(encoder, crops)),
        answer("memory", lambda: memory(encoder)),
    ]


def _with_real_dim(card: BackboneCard) -> BackboneCard:
    try:
        measured = measured_dim(card)
    except Exception:  # said where the dimension is looked at
        return card
    return card.model_copy(update={"dim": measured}) if measured else card


def _load(card: BackboneCard, home: Path, device: str, reporter: Reporter) -> Encoder:
    from cytobench.digests import FileDigests

    return load(card, home=home, digests=FileDigests(home), device=device, download=False, reporter=reporter)


def _loads(hearing: Hearing, seconds: float) -> Finding:
    """Say how long it took, and what the loader had to do to make the weights fit."""
    resized = [text for text in hearing.said if "resampled" in text]
    if hearing.warned or resized:
        return Finding(
            "loads",
            "warn",
            f"In {seconds:.1f} s, but not as it is: see below.",
            "Compare with how the authors use their weights (branch, size of the input).",
            (*hearing.warned, *resized),
        )
    return Finding("loads", "pass", f"In {seconds:.1f} s.")


def _normalised_twice(card: BackboneCard, encoder: Encoder) -> Finding | None:
    """A network that holds its own mean and deviation may normalise what the harness has normalised."""
    module: Any = getattr(encoder, "module", None)
    wanted = card.preprocess
    if module is None or wanted is None or getattr(encoder, "own_prepare", False):
        return None
    held = [name for name, _ in module.named_buffers() if name.rpartition(".")[2] in _NORMALISERS]
    if not held or (set(wanted.mean) == {0.0} and set(wanted.std) == {1.0}):
        return None
    return Finding(
        "normalised once",
        "warn",
        f"The network holds {', '.join(held)} and may normalise pixels that are normalised already.",
        "If it does, write mean = [0, 0, 0] and std = [1, 1, 1] in preprocess.",
    )


def _real_length(encoder: Encoder, batch: npt.NDArray[Any]) -> int:
    """Return the length of the vectors that a network really gives, 0 where it gives none."""
    run: Any = getattr(encoder, "forward", None)
    try:
        shape = tuple(run(batch).shape) if run is not None else ()
    except Exception:  # said in its own words by the caller
        return 0
    return int(shape[1]) if len(shape) == 2 and shape[0] == len(batch) else 0


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, CytoBenchError) else failure(error)
