"""The examination of a backbone that is a folder of features another tool computed."""

from __future__ import annotations

import numpy as np

from cytobench.cards import BackboneCard
from cytobench.datasets.slide_files import SlideFile, read_features, read_slide, slides_in
from cytobench.errors import DataError, WeightsError, counted
from cytobench.features.precomputed import folder_of
from cytobench.findings import Finding
from cytobench.progress import Reporter


def check_features(card: BackboneCard, reporter: Reporter) -> list[Finding]:
    """Read every slide's file: can it be read, has it the card's width, are its numbers finite."""
    try:
        slides = slides_in(folder_of(card))
    except (DataError, WeightsError) as error:
        return [Finding("features", "fail", str(error))]
    damaged, wide, odd = list[str](), list[str](), list[str]()
    rows = 0
    with reporter.task(f"reading the slides of {card.name}", len(slides)) as step:
        for slide, path in slides.items():
            try:
                file = read_slide(path)
                odd += [] if _finite(file) else [slide]
                wide += [] if file.dim == card.dim else [f"{slide}: {file.dim}"]
                rows += file.rows
            except DataError as error:
                damaged.append(str(error))
            step.advance(1, slide)
    read = f"{counted(rows, 'tile')} of {counted(len(slides), 'slide')}."
    return [
        _told("features", damaged, "files cannot be read", "Compute or copy them again.", read),
        _told("output dimension", wide, f"slides are not of the card's width {card.dim}",
              "Correct dim, or the folder in weights.", f"{card.dim}, as the card says."),
        _told("finite", odd, "slides hold numbers that are not finite",
              "Compute them again.", "All numbers are finite."),
        Finding("behaviour", "skip", "There is no network here that could be examined."),
    ]  # fmt: skip


def _finite(file: SlideFile) -> bool:
    return all(bool(np.isfinite(part).all()) for part in read_features(file.path))


def _told(question: str, cases: list[str], says: str, cure: str, well: str) -> Finding:
    if not cases:
        return Finding(question, "pass", well)
    return Finding(question, "fail", f"{len(cases):,} {says}.", cure, tuple(cases))
