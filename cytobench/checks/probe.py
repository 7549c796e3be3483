"""The examination of a plugin's probe: it can be imported, declares what can be used, and predicts."""

from __future__ import annotations

import numpy as np

from cytobench.cards import ProbeCard
from cytobench.errors import ProbeError
from cytobench.evaluation.custom import Custom, custom_recipe
from cytobench.evaluation.recipes import Features, Training
from cytobench.findings import Finding
from cytobench.probes.bags import Bags

_CLASSES, _OF_EACH, _DIM, _INSTANCES = 3, 8, 6, 4
_APART = 6.0  # standard deviations between the means of the drawn classes


def check_probe(card: ProbeCard) -> list[Finding]:
    """Return findings on the probe's function, tried on a few drawn examples; takes no data."""
    try:
        recipe = custom_recipe(card)
    except ProbeError as error:
        return [
            Finding("function", "fail", str(error)),
            Finding("probabilities", "skip", "Not looked at: the function cannot be used."),
        ]
    count = len(recipe.candidates())
    tuned = f"{count} settings to tune over" if recipe.grid else "nothing to tune"
    said = f"{card.function}, for {card.unit}s: {tuned}, version {recipe.version or 'not said'}."
    if recipe.version:
        return [Finding("function", "pass", said), _predicts(recipe, card.unit)]
    cure = "Declare VERSION in its module, and raise it when the function changes: stored results are kept."
    return [Finding("function", "warn", said, cure), _predicts(recipe, card.unit)]


def _predicts(recipe: Custom, unit: str) -> Finding:
    """Fit with the defaults and with each setting, twice with the defaults, on classes far apart."""
    training, test, truth = _drawn(unit)
    groups = np.arange(len(truth))
    try:
        first, again = (
            recipe.predict(training, recipe.default(training), test, groups).probabilities for _ in range(2)
        )
        for params in recipe.candidates():
            recipe.predict(training, params, test, groups)
    except ProbeError as error:
        return Finding("probabilities", "fail", str(error))
    if not np.array_equal(first, again):
        return Finding(
            "probabilities",
            "fail",
            f"The same training part twice gives probabilities {np.abs(first - again).max():.1g} apart.",
            "Draw every random number from training.rng.",
        )
    right = float((first.argmax(axis=1) == truth).mean())
    said = f"{right:.0%} of {len(truth)} drawn {unit}s of {_CLASSES} well parted classes are told right"
    if right <= 1 / _CLASSES:
        return Finding("probabilities", "warn", f"{said}, no more than by chance.", "Look for mixed-up rows.")
    return Finding("probabilities", "pass", f"{said}; the same twice.")


def _drawn(unit: str) -> tuple[Training, Features, np.ndarray]:
    """Draw examples of classes whose means lie far apart, to train on and to test."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(_CLASSES), _OF_EACH)

    def features() -> Features:
        size = _INSTANCES if unit == "bag" else 1
        centres = _APART * np.eye(_CLASSES, _DIM)[np.repeat(labels, size)]
        rows = (centres + rng.standard_normal(centres.shape)).astype(np.float32)
        return Bags(rows, np.arange(len(labels) + 1) * size) if unit == "bag" else rows

    groups = np.arange(len(labels)) % _OF_EACH
    return Training(features(), labels, groups, _CLASSES, ("check",)), features(), labels
