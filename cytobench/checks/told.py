"""The confound report: each description of a task's pictures asked for the label, in words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cytobench import images
from cytobench.checks.confounds import Confound, by_example, confound, one_number
from cytobench.checks.imprints import Imprints
from cytobench.checks.subject import Subject
from cytobench.features.prepare import default_workers
from cytobench.findings import Finding
from cytobench.progress import Reporter

_MEANING = {
    "file size": "the label goes along with how files were saved: compression, camera or origin may be "
    "what a model learns",
    "image size": "the label goes along with how images were cut: a view that pads or stretches shows it",
    "colour": "stain and illumination alone go far: a backbone that does not clearly beat this has shown "
    "nothing about cells",
    "sharpness": "the label goes along with focus or resampling, as where classes were processed differently",
}


def confounds(subject: Subject, imprints: Imprints, reporter: Reporter) -> list[Finding]:
    """Return how well each description tells the label, a finding each."""
    if subject.folds is None:
        return [
            Finding(f"label from {what}", "skip", "Not looked at: there are no folds to ask it of.")
            for what in _MEANING
        ]
    sizes, shapes = _measured(subject, reporter)
    files = np.array([sizes[image] for image in subject.items.images], np.float64)
    extent = np.array([shapes[image] for image in subject.items.images], np.float64)
    described_by = {
        "file size": None if (files == files[0]).all() else one_number(files),
        "image size": None
        if (extent == extent[0]).all()
        else np.concatenate([one_number(extent[:, 0]), one_number(extent[:, 1])], axis=1),
        "colour": imprints.colour.astype(np.float64),
        "sharpness": np.stack([imprints.sharpness, np.log(imprints.light[:, 2] + 1e-4)], axis=1),
    }
    same = {
        "file size": f"All files have {int(files[0]):,} bytes.",
        "image size": f"All images are {int(extent[0, 0])} x {int(extent[0, 1])} px.",
    }
    found = []
    with reporter.task("what tells the label", len(described_by)) as step:
        for what, values in described_by.items():
            if values is None:
                found.append(Finding(f"label from {what}", "pass", same[what]))
            else:
                means = by_example(np.asarray(values, np.float64), subject.examples)
                found.append(_confounded(what, confound(means, subject.examples, subject.folds)))
            step.advance(1, what)
    return found


def _confounded(what: str, told: Confound) -> Finding:
    if told.notable:
        return Finding(
            f"label from {what}",
            "warn",
            f"The label can be told from {what} alone: {told}; {_MEANING[what]}.",
            "Report this number beside every score, and say so in the card (known_confounds).",
        )
    return Finding(f"label from {what}", "pass", f"Hardly told from {what} alone: {told}.")


def _measured(subject: Subject, reporter: Reporter) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Return the bytes and the (width, height) of every image file."""
    paths = list(dict.fromkeys(subject.items.images))
    with ThreadPoolExecutor(default_workers()) as pool, reporter.task("image sizes", len(paths)) as step:
        shapes = {}
        for path, shape in zip(paths, pool.map(images.size, paths, chunksize=64), strict=True):
            shapes[path] = shape
            step.advance()
    return {path: Path(path).stat().st_size for path in paths}, shapes
