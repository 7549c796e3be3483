"""How a loaded backbone behaves: the same twice, alone as in a batch, finite on anything, alive.

Differences are measured as |a - b| / |b|, the length of the difference of two feature vectors by the length
of one of them, and the largest over the crops counts. Sums in another order change float32 features of deep
networks by some 1e-6 of their length; features are stored at half precision, which rounds each value by up
to 2^-11 = 5e-4. So 1e-4 separates harmless rounding from a dependence on the batch, and is still far below
what storing does. Half precisions round each step at 2^-11 (fp16) or 2^-8 (bf16): ten times these is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytobench.checks.asking import answer, failure
from cytobench.checks.specimens import Crop
from cytobench.errors import CytoBenchError
from cytobench.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from cytobench.encoders import Encoder

Features = npt.NDArray[np.float32]
TOLERANCE: Mapping[str, float] = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 4e-2}
"""Largest harmless difference, as a share of a feature vector's length, at each precision."""
_DEAD = 1e-6
_WIDTH_OF_HALF = 65504.0
_LOST_BY_HALF = 1e-2


@dataclass(frozen=True)
class Subject:
    """A loaded backbone and prepared crops: `batch`, prepared [n, …]; `features`: float32 [n, d] of it."""

    encoder: Encoder
    batch: npt.NDArray[Any]
    features: Features
    handcrafted: bool = False

    @property
    def tolerance(self) -> float:
        """The largest harmless difference at the encoder's precision."""
        return TOLERANCE[str(self.encoder.identity.get("precision", "fp32"))]


def behaviour(
    subject: Subject, extremes: Mapping[str, Crop], reload: Callable[[], Encoder] | None
) -> list[Finding]:
    """Return a finding for each question; `reload` loads the backbone a second time (None: too costly)."""
    return [
        answer("determinism", lambda: _determinism(subject, reload)),
        answer("batch invariance", lambda: _batch_invariance(subject)),
        answer("order invariance", lambda: _order_invariance(subject)),
        answer("extreme inputs", lambda: _extremes(subject, extremes)),
        answer("sensitivity", lambda: _sensitivity(subject, extremes)),
        answer("storage at half precision", lambda: _half_precision(subject)),
    ]


def difference(found: Features, expected: Features) -> float:
    """Return the largest |a - b| / |b| over the rows, both float32 [n, d]; 0 where both are zero."""
    lengths = np.linalg.norm(expected.astype(np.float64), axis=1)
    apart = np.linalg.norm(found.astype(np.float64) - expected, axis=1)
    return float(np.max(np.where(apart == 0.0, 0.0, apart / np.maximum(lengths, 1e-30))))


def _determinism(subject: Subject, reload: Callable[[], Encoder] | None) -> Finding:
    question = "determinism"
    again = difference(subject.encoder.encode(subject.batch), subject.features)
    if again > subject.tolerance:
        return Finding(
            question,
            "fail",
            f"The same crops twice give features that differ by {_share(again)}.",
            "Turn off whatever is random when features are computed (dropout, random crops, noise).",
        )
    if reload is None:
        return Finding(
            question, "pass", f"The same crops twice: {_equal(again)}; loaded once (it takes long)."
        )
    second = reload()
    anew = difference(second.encode(subject.batch), subject.features)
    if anew > subject.tolerance or dict(second.identity) != dict(subject.encoder.identity):
        return Finding(
            question,
            "fail",
            f"Loaded a second time, the backbone gives features that differ by {_share(anew)}.",
            'Some weights are drawn at random when it is built: load all of them, or set weights = "random", '
            "which draws them by the card's seed.",
        )
    return Finding(question, "pass", f"The same crops twice: {_equal(again)}; loaded twice: {_equal(anew)}.")


def _batch_invariance(subject: Subject) -> Finding:
    alone = np.concatenate([subject.encoder.encode(one[None]) for one in subject.batch])
    apart = difference(alone, subject.features)
    if apart > subject.tolerance:
        return Finding(
            "batch invariance",
            "fail",
            f"A crop alone and the same crop in a batch of {len(subject.batch)} differ by {_share(apart)}, "
            f"{_of_spread(subject, alone)} of what sets two different crops apart.",
            "The features depend on their neighbours: use the running statistics of batch normalisation, and "
            "nothing that looks across a batch.",
        )
    return Finding(
        "batch invariance",
        "pass",
        f"Alone or in a batch of {len(subject.batch)}: {_equal(apart)} ({subject.tolerance:g} is harmless: "
        "sums in another order).",
    )


def _order_invariance(subject: Subject) -> Finding:
    back = subject.encoder.encode(np.ascontiguousarray(subject.batch[::-1]))[::-1]
    apart = difference(np.asarray(back), subject.features)
    if apart > subject.tolerance:
        return Finding(
            "order invariance",
            "fail",
            f"In a batch turned round the features of a crop differ by {_share(apart)}.",
            "The place in a batch must not matter: look for code that mixes rows.",
        )
    return Finding("order invariance", "pass", f"In a batch turned round: {_equal(apart)}.")


def _extremes(subject: Subject, extremes: Mapping[str, Crop]) -> Finding:
    bad: list[str] = []
    for name, crop in extremes.items():
        try:
            _of_one(subject.encoder, crop)
        except CytoBenchError as error:
            bad.append(f"{name}: {error}")
        except Exception as error:  # code of other people
            bad.append(f"{name}: {failure(error)}")
    if bad:
        return Finding(
            "extreme inputs",
            "fail",
            f"No usable features of {len(bad)} of {len(extremes)} extreme crops.",
            "Blank and tiny crops do occur in data sets, and a single one stops an extraction.",
            tuple(bad),
        )
    return Finding("extreme inputs", "pass", f"Finite features of crops that are {', '.join(extremes)}.")


def _sensitivity(subject: Subject, extremes: Mapping[str, Crop]) -> Finding:
    plain = [_of_one(subject.encoder, extremes[name]) for name in ("black", "white", "noise")]
    features = np.concatenate([subject.features, *plain]).astype(np.float64)
    spread = _spread(features)
    if spread < _DEAD:
        return Finding(
            "sensitivity",
            "fail",
            f"Cells, black, white and noise all get the same features (they differ by {_share(spread)}).",
            "The network is dead: check that its weights were loaded, and its input.",
        )
    still = int((features.std(axis=0) == 0.0).sum())
    of = f"{still} of {features.shape[1]} features do not vary over {len(features)} crops"
    if still == 0:
        return Finding(
            "sensitivity",
            "pass",
            f"Crops differ by up to {_share(spread)} of a vector's length; all features vary.",
        )
    if subject.handcrafted and still < features.shape[1] / 2:  # bins of colours that no test crop has
        return Finding(
            "sensitivity", "pass", f"Crops differ by up to {_share(spread)} of a vector's length; {of}."
        )
    return Finding(
        "sensitivity",
        "warn",
        f"{of}.",
        "Features that never vary tell nothing; see whether part of the weights is missing.",
    )


def _half_precision(subject: Subject) -> Finding:
    question, largest = "storage at half precision", float(np.abs(subject.features).max())
    if largest > _WIDTH_OF_HALF:
        return Finding(
            question,
            "warn",
            f"Features reach {largest:.3g}, beyond {_WIDTH_OF_HALF:,.0f}, the end of half precision.",
            "They are stored at single precision then, at twice the disk; a last norm layer would help.",
        )
    lost = difference(subject.features.astype(np.float16).astype(np.float32), subject.features)
    if lost > _LOST_BY_HALF:
        return Finding(
            question,
            "warn",
            f"Rounding to half precision changes features by {_share(lost)} (the largest is {largest:.3g}).",
            "Scale the features up: values below 6e-5 lose their digits.",
        )
    return Finding(question, "pass", f"Rounding changes {_share(lost)}; the largest value is {largest:.3g}.")


def _of_one(encoder: Encoder, crop: Crop) -> Features:
    return encoder.encode(np.asarray(encoder.prepare(crop))[None])


def _spread(features: npt.NDArray[Any]) -> float:
    """Return the largest distance from the mean vector, as a share of the mean length."""
    values = np.asarray(features, dtype=np.float64)
    apart = np.linalg.norm(values - values.mean(axis=0), axis=1).max()
    return float(apart / max(np.linalg.norm(values, axis=1).mean(), 1e-30))


def _of_spread(subject: Subject, alone: Features) -> str:
    values = subject.features.astype(np.float64)
    spread = float(np.linalg.norm(values - values.mean(axis=0), axis=1).mean())
    apart = float(np.linalg.norm(alone - values, axis=1).max())
    return f"{100.0 * apart / max(spread, 1e-30):.3g} %"


def _share(value: float) -> str:
    return f"{100.0 * value:.0f} %" if value >= 0.1 else f"{100.0 * value:.2g} %"


def _equal(value: float) -> str:
    return "equal bit for bit" if value == 0.0 else f"equal to {value:.1g} of a vector's length"
