"""A data set: drawn nuclei of one, two or three lobes, from six donors whose stains differ.

Its layout is its own: `pictures/0001.png` … and a text file `labels.txt` with lines `0001 bilobed donor-3`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFilter

from cytobench.datasets import DatasetInfo
from cytobench.errors import DataError
from cytobench.progress import Reporter

KINDS = ("round", "bilobed", "segmented")
DONORS, PICTURES = 6, 120
DATASET = DatasetInfo(
    name="example-lobes",
    title="Drawn nuclei of one, two or three lobes",
    reader="cytobench_example.lobes:read",
    folders=("example-lobes-1",),  # another number when generate() draws something else
    licence="CC0-1.0",
    citation="drawn by the example plugin",
    url="",
    generated=True,
    group="donor",
)


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a picture, `lobes` and `donor` from labels.txt.

    Raises DataError naming every line that is no label and every picture that is missing.
    """
    listed = root / "labels.txt"
    if not listed.is_file():
        raise DataError(f"{root} holds no labels.txt: unpack the data set there again.")
    rows, problems = [], []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split()
        if len(parts) != 3 or parts[1] not in KINDS:
            problems.append(f"line {number} of labels.txt is no label")
            continue
        picture = root / "pictures" / f"{parts[0]}.png"
        if not picture.is_file():
            problems.append(f"pictures/{parts[0]}.png is missing")
        rows.append((parts[0], str(picture), parts[1], parts[2]))
    if problems:
        raise DataError(f"{root}: {'; '.join(problems)}.")
    return pl.DataFrame(rows, schema=["sample", "image", "lobes", "donor"], orient="row")


def generate(root: Path, *, reporter: Reporter) -> None:
    """Draw the pictures and write their labels into the empty folder `root`."""
    rng = np.random.default_rng(1)
    stains = rng.normal(0, 10, (DONORS, 3))
    (root / "pictures").mkdir()
    lines = []
    with reporter.task("drawing example nuclei", PICTURES) as step:
        for number in range(PICTURES):
            kind, donor = number % len(KINDS), number // len(KINDS) % DONORS
            _nucleus(kind + 1, stains[donor], rng).save(root / "pictures" / f"{number:04d}.png")
            lines.append(f"{number:04d} {KINDS[kind]} donor-{donor}\n")
            step.advance(1)
    (root / "labels.txt").write_text("".join(lines), encoding="utf-8")


def _nucleus(lobes: int, stain: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draw a cell of 64 x 64 px whose lobes have together the area of one round nucleus."""
    picture = Image.new("RGB", (64, 64), tuple(int(v) for v in np.clip(stain / 3 + (238, 226, 234), 0, 255)))
    draw = ImageDraw.Draw(picture)
    colour = tuple(int(v) for v in np.clip(stain + np.array((96, 52, 138)), 0, 255))
    radius, turn = rng.uniform(12, 18) / lobes**0.5, rng.uniform(0, 2 * np.pi)
    middle = 32 + rng.normal(0, 3, 2)
    for lobe in range(lobes):
        angle = turn + 2 * np.pi * lobe / lobes
        away = 0 if lobes == 1 else radius * 1.1
        x, y = middle + away * np.array((np.cos(angle), np.sin(angle))) + rng.normal(0, 1.5, 2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), dtype=float)
    return Image.fromarray(np.clip(blurred + rng.normal(0, 6, blurred.shape), 0, 255).astype(np.uint8))
