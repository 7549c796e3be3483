"""Red blood cells in smear fields with typed points (Naruenatthanaset et al., arXiv:2012.01321).

Layout: `Dataset/<id>.jpg` fields, `Label/<id>.txt` with one cell a line: `x y type`, the centre in pixels.
Source: https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench import images, manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.listing import byte_twins, images_in, locate, refuse
from cytobench.errors import counted

TYPES = (
    "normal cell",
    "macrocyte",
    "microcyte",
    "spherocyte",
    "target cell",
    "stomatocyte",
    "ovalocyte",
    "teardrop",
    "burr cell",
    "schistocyte",
    "uncategorised",
    "hypochromia",
    "elliptocyte",
)
FIELDS_PER_BLOCK = 20


@dataclass(frozen=True)
class _Point:
    line: int
    x: int
    y: int
    cell_type: str


def read(root: Path, *, border: int = 40) -> pl.DataFrame:
    """Return the manifest: a row a point at least `border` px inside its field, `label` = `cell_type`.

    Consecutive ids show one smear, so `block` = id // 20 must stay together (`block_parity`: even, odd);
    `field` is the id. Of byte-identical fields the lowest id is kept. Raises DataError that names every bad
    line.
    """
    folder = locate(root, ("Dataset",))
    fields = {image.stem: image for image in images_in(folder / "Dataset")}
    labels = {
        path.stem: path for path in sorted((folder / "Label").glob("*.txt")) if not path.name.startswith(".")
    }
    _refuse_bad_names(folder, fields, labels)
    labelled = [fields[stem] for stem in sorted(fields, key=int) if stem in labels]
    twins = byte_twins(labelled)
    _tell(fields, labelled, twins)
    kept = [image for image in labelled if image not in twins]
    problems: list[str] = []
    rows = [row for image in kept for row in _rows(image, _points(labels[image.stem], problems), border)]
    if problems:
        refuse(folder / "Label", problems)
    names = ("sample", "image", "box", "label", "cell_type", "field", "block", "block_parity")
    return manifest.conform(pl.DataFrame(rows, schema=_SCHEMA, orient="row").select(names))


_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.String,
    "image": pl.String,
    "box": pl.List(pl.Int32),
    "label": pl.String,
    "cell_type": pl.String,
    "field": pl.String,
    "block": pl.String,
    "block_parity": pl.String,
}


def _rows(image: Path, points: list[_Point], border: int) -> list[tuple[object, ...]]:
    width, height = images.size(image)
    block = int(image.stem) // FIELDS_PER_BLOCK
    parity = "odd" if block % 2 else "even"
    return [
        (
            f"Dataset/{image.name}#{p.line}",
            str(image.absolute()),
            [p.x, p.y, 0, 0],
            p.cell_type,
            p.cell_type,
            image.stem,
            str(block),
            parity,
        )
        for p in points
        if border <= p.x < width - border and border <= p.y < height - border
    ]


def _points(path: Path, problems: list[str]) -> list[_Point]:
    """Parse a label file; what is wrong with its lines is added to `problems`."""
    points = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            x, y, kind = (int(part) for part in parts)
            points.append(_Point(number, x, y, TYPES[kind] if kind >= 0 else TYPES[len(TYPES)]))
        except ValueError:
            problems.append(
                f"{path.name} line {number} is '{line.strip()}', not three whole numbers x y type"
            )
        except IndexError:
            problems.append(
                f"{path.name} line {number} has the cell type {kind}, known are 0 to {len(TYPES) - 1}"
            )
    return points


def _refuse_bad_names(folder: Path, fields: dict[str, Path], labels: dict[str, Path]) -> None:
    problems = []
    odd = [path.name for path in fields.values() if not path.stem.isdecimal()]
    if odd:
        problems.append(f"fields are named by a number, these are not: {manifest.name_some(odd)}")
    if not labels:
        problems.append("no label file in Label/: download the whole release")
    orphans = [path.name for stem, path in labels.items() if stem not in fields]
    if orphans:
        problems.append(f"label files without their field in Dataset/: {manifest.name_some(orphans)}")
    if problems:
        refuse(folder, problems)


def _tell(fields: dict[str, Path], labelled: list[Path], twins: dict[Path, Path]) -> None:
    unlabelled = len(fields) - len(labelled)
    if unlabelled:
        bare = counted(unlabelled, "Chula field")
        warnings.warn(f"left out: {bare} without a label file", DataWarning, stacklevel=3)
    if twins:
        pairs = ", ".join(f"{twin.stem} (as {first.stem})" for twin, first in twins.items())
        text = f"left out: {counted(len(twins), 'Chula field')} equal to another byte for byte: {pairs}"
        warnings.warn(text, DataWarning, stacklevel=3)
