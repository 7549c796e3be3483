"""Whether a backbone is fed as it was trained: range, normalisation, order of colours, size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytobench.cards import BackboneCard, Preprocess, Triple
from cytobench.checks.published import KNOWN, Published, published, uses_quick_gelu
from cytobench.checks.specimens import Crop
from cytobench.findings import Finding, Mark

if TYPE_CHECKING:
    from cytobench.encoders import Encoder

QUESTION = "normalisation"
_CLOSE = 0.002
_DENORMALISED = 8.0  # no usual mean and deviation takes a pixel of 0..1 so far


def normalisation(card: BackboneCard) -> Finding:
    """Compare the card's preprocessing with the record of its weights, else with what is in common use."""
    wanted = card.preprocess
    if wanted is None:
        return Finding(QUESTION, "skip", "The card leaves preprocessing to the backbone's own code.")
    record = published(card)
    slip = _slip(wanted, record)
    if slip is not None:
        return slip
    if record is None:
        return _unrecorded(card, wanted)
    differing = _differences(wanted, record)
    if differing:
        return Finding(
            QUESTION,
            "warn",
            f"Unlike {record.source}: {'; '.join(differing)}.",
            "Keep it only where you know that these weights want it so.",
        )
    if record.quick_gelu is not None and record.quick_gelu != uses_quick_gelu(card):
        word = "need" if record.quick_gelu else "do not know"
        return Finding(
            QUESTION,
            "fail",
            f"The weights {word} QuickGELU ({record.source}), and the card's tower is built the other way.",
            f"Set arch_options.quick_gelu = {str(record.quick_gelu).lower()} in the card.",
        )
    return Finding(QUESTION, "pass", f"As in {record.source}; {_range(wanted)}.")


def _slip(wanted: Preprocess, record: Published | None) -> Finding | None:
    """Name the classic mistakes; None where there is none."""
    if max(wanted.mean) > 1.0:
        return Finding(
            QUESTION,
            "fail",
            f"mean = {_shown(wanted.mean)} is in units of 0..255; a card wants those of 0..1.",
            "Divide mean and std by 255.",
        )
    right = {record.source: (record.mean, record.std)} if record else KNOWN
    for whose, (mean, std) in right.items():
        backwards = (mean[::-1], std[::-1])
        if mean != mean[::-1] and _same((wanted.mean, wanted.std), backwards):
            return Finding(
                QUESTION,
                "fail",
                f"mean and std are those of {whose.removesuffix(chr(39) + 's')} in the order blue, green, "
                "red; crops come as red, green, blue.",
                "Turn mean and std round.",
            )
    if _same((wanted.mean, wanted.std), ((0.0,) * 3, (1.0,) * 3)):
        told = record is not None and not _same((record.mean, record.std), ((0.0,) * 3, (1.0,) * 3))
        mark: Mark = "fail" if told else "warn"
        source = f", but {record.source} has mean {_shown(record.mean)}" if told and record else ""
        return Finding(
            QUESTION,
            mark,
            f"Pixels are handed over as 0..1, not normalised{source}.",
            "Put the mean and std of the training into preprocess, unless the network normalises by itself.",
        )
    return None


def _unrecorded(card: BackboneCard, wanted: Preprocess) -> Finding:
    for whose, values in KNOWN.items():
        if _same((wanted.mean, wanted.std), values):
            told = "" if card.weights in ("random", "none") else "There is no record to compare with; "
            return Finding(QUESTION, "pass", f"{told}{whose} mean and std; {_range(wanted)}.")
    return Finding(
        QUESTION,
        "warn",
        f"mean = {_shown(wanted.mean)}, std = {_shown(wanted.std)} are none of those in common use, and "
        "there is no record of these weights to compare with.",
        "Compare with the transform in the authors' code.",
    )


def _differences(wanted: Preprocess, record: Published) -> list[str]:
    pairs = [
        ("mean", _shown(wanted.mean), _shown(record.mean), _near(wanted.mean, record.mean)),
        ("std", _shown(wanted.std), _shown(record.std), _near(wanted.std, record.std)),
    ]
    if record.size is not None:
        pairs.append(("size", f"{wanted.size} px", f"{record.size} px", wanted.size == record.size))
    if record.interpolation in ("bicubic", "bilinear", "lanczos", "nearest"):
        same = wanted.interpolation == record.interpolation
        pairs.append(("interpolation", wanted.interpolation, record.interpolation, same))
    if record.crop_pct is not None:
        same = abs(wanted.crop_pct - record.crop_pct) < _CLOSE
        pairs.append(("crop_pct", f"{wanted.crop_pct:g}", f"{record.crop_pct:g}", same))
    return [f"{name} {here} instead of {there}" for name, here, there, same in pairs if not same]


def _range(wanted: Preprocess) -> str:
    low = min(-m / s for m, s in zip(wanted.mean, wanted.std, strict=True))
    high = max((1.0 - m) / s for m, s in zip(wanted.mean, wanted.std, strict=True))
    return f"the network sees values from {low:.2f} to {high:.2f}"


def _near(one: Triple, other: Triple) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < _CLOSE


def _same(one: tuple[Triple, Triple], other: tuple[Triple, Triple]) -> bool:
    return _near(one[0], other[0]) and _near(one[1], other[1])


def _shown(values: Triple) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


def preparation(encoder: Encoder, crops: list[Crop]) -> Finding:
    """Prepare crops of several shapes: outputs must stack, come out the same in threads, leave crops alone.

    Of a backbone's own `prepare`, range and order of the colours are looked at, too.
    """
    question = "preparation"
    before = [crop.copy() for crop in crops]
    ready = [np.asarray(encoder.prepare(crop)) for crop in crops]
    shapes = sorted({one.shape for one in ready})
    if len(shapes) > 1:
        return Finding(
            question,
            "fail",
            f"Crops of different shapes are prepared to different shapes ({shapes[0]} and {shapes[-1]}), "
            "which make no batch.",
            "Resize every crop to one size in the backbone's prepare function.",
        )
    if any((old != new).any() for old, new in zip(before, crops, strict=True)):
        return Finding(
            question, "fail", "prepare changes the crop it is given.", "Work on a copy: others use the crop."
        )
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda crop: np.asarray(encoder.prepare(crop)), crops * 2))
    if any(not np.array_equal(one, again[at], equal_nan=True) for at, one in enumerate(ready * 2)):
        return Finding(
            question,
            "fail",
            "prepare gives something else for the same crop when several threads call it.",
            "Remove random steps and shared state from the prepare function.",
        )
    shown = " x ".join(map(str, shapes[0]))
    said = f"Crops, uint8 RGB of any shape, become {ready[0].dtype} {shown}"
    if getattr(encoder, "own_prepare", False) and ready[0].ndim == 3:
        odd = _own_range(encoder)
        if odd:
            return Finding(question, "warn", f"{said}; {odd}", "Compare with the transform of the training.")
    return Finding(question, "pass", f"{said}.")


def _own_range(encoder: Encoder) -> str:
    """Say what is odd about the values that a backbone's own `prepare` makes of plain colours."""
    black, white = (_plain(encoder, (level,) * 3) for level in (0, 255))
    red = _by_channel(_plain(encoder, (255, 0, 0)))
    if max(abs(float(black.min())), abs(float(white.max()))) > _DENORMALISED:
        return f"white becomes {float(white.max()):.4g}: the pixels are not normalised."
    if float(black.min()) == 0.0 and float(white.max()) == 1.0:
        return "black becomes 0 and white 1: the pixels are scaled, not normalised."
    if red is not None and red[2] > red[0]:
        return "red becomes the last channel: colours are in the order blue, green, red."
    return ""


def _plain(encoder: Encoder, colour: tuple[int, ...]) -> npt.NDArray[Any]:
    crop = np.empty((64, 64, 3), np.uint8)
    crop[:] = colour
    return np.asarray(encoder.prepare(crop), dtype=np.float64)


def _by_channel(prepared: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the mean of each of three channels of [3, h, w] or [h, w, 3], None for any other shape."""
    if prepared.shape[0] == 3:
        return np.asarray(prepared.mean(axis=(1, 2)))
    return np.asarray(prepared.mean(axis=(0, 1))) if prepared.shape[-1] == 3 else None
