"""OralScreen's mosaics, one JPEG a slide, cut on their 80 px grid into the patches the reader expects."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from cytobench import images
from cytobench.datasets.listing import images_in, refuse
from cytobench.datasets.oral_cytology import PARTS
from cytobench.progress import Reporter

SIDE = 80
CANCER = frozenset({"12", "36", "37", "38"})
HEALTHY = frozenset({"03", "04", "05", "06", "07", "08"})
_NAME = re.compile(r"slide_mosaic(?P<part>[12]_(?:oldsmear|newsmear))/mosaic_(?P<slide>\d+)\.jpe?g$", re.I)


def prepare(source: Path, target: Path, reporter: Reporter) -> None:
    """Cut the mosaics below `source` into `<part>/<Cancer|Healthy>/slide<nn>/r<row>c<column>.png`.

    `source` holds `slide_mosaic1_oldsmear/mosaic_03.jpg` and its siblings at any depth. Raises DataError when
    there are none, when a slide is none of the ten, or when a mosaic's sides are no multiples of 80 px.
    """
    mosaics = [(path, match) for path in images_in(source, deep=True) if (match := _match(path))]
    problems = [
        f"{path.name} shows the slide {match['slide']}, which is none of the ten"
        for path, match in mosaics
        if match["slide"] not in CANCER | HEALTHY
    ]
    sizes = {path: images.size(path) for path, _ in mosaics}
    problems += [
        f"{path.parent.name}/{path.name} is {width}x{height} px, no grid of {SIDE} px"
        for path, (width, height) in sizes.items()
        if width % SIDE or height % SIDE
    ]
    if not mosaics:
        problems.append("no slide_mosaic1_oldsmear/mosaic_03.jpg or one of its siblings in it")
    if problems:
        refuse(source, problems)
    with reporter.task("cutting mosaics", len(mosaics)) as step:
        for path, match in mosaics:
            _cut(path, target / _part(match["part"]) / _label(match["slide"]) / f"slide{match['slide']}")
            step.advance(1, path.name)


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.search(path.as_posix())


def _part(mosaic: str) -> str:
    return next(part for part in PARTS if part.endswith(mosaic[1:].lower()))


def _label(slide: str) -> str:
    return "Cancer" if slide in CANCER else "Healthy"


def _cut(mosaic: Path, folder: Path) -> None:
    """Write the patches of one mosaic; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = images.decode(mosaic)
    for row in range(pixels.shape[0] // SIDE):
        for column in range(pixels.shape[1] // SIDE):
            place = folder / f"r{row:02d}c{column:02d}.png"
            if not place.is_file():
                patch = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                temporary = folder / f".{place.name}"
                Image.fromarray(patch).save(temporary, format="PNG")
                temporary.replace(place)
