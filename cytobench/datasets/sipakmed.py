"""Pap-smear cells and the cluster images they were cropped from, 5 classes (SIPaKMeD, Plissiti et al. 2018).

Layout: `im_<Class>/CROPPED/<cluster>_<cell>.bmp` or, as archives that hold their own folder unpack,
`im_<Class>/im_<Class>/CROPPED/…`; beside the folder CROPPED the cluster images `<cluster>.bmp`; contours of
nucleus and cytoplasm as `.dat` files are not read. Source: https://www.cs.uoi.gr/~marina/sipakmed.html.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.listing import folders_in, images_in, locate, refuse
from cytobench.errors import CardError

CLASSES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")
DIAGNOSES = {
    "Dyskeratotic": "abnormal",
    "Koilocytotic": "abnormal",
    "Metaplastic": "benign",
    "Parabasal": "normal",
    "Superficial-Intermediate": "normal",
}
"""The three groups of the authors: metaplastic cells are benign, but no normal squamous cells."""
_CELL = re.compile(r"^(\d+)_(\d+)$")
_CLUSTER = re.compile(r"^\d+$")


@dataclass(frozen=True)
class _Class:
    """One class: its cropped cells by name, and its cluster images by number without leading zeros."""

    name: str
    cells: tuple[Path, ...]
    clusters: dict[str, Path]


def read(root: Path, *, images: str = "cells") -> pl.DataFrame:
    """Return the manifest: a row a cropped cell, or a whole cluster image with `images="clusters"`.

    `label` = `cell_type` (5 classes), `diagnosis` (normal, benign, abnormal); `cluster` = class and number of
    the cluster image: cells of one image never stand on both sides of a split. Warns of cluster images
    without cells and of cells whose cluster image is not there; raises DataError that names every missing
    class, odd name and unknown folder at once.
    """
    if images not in ("cells", "clusters"):
        raise CardError(f"The option images of the reader sipakmed is cells or clusters, not '{images}'.")
    folder = locate(root, [f"im_{name}" for name in CLASSES], within=("SIPaKMeD", "sipakmed", "archive"))
    problems = [
        f"the folder im_{name} is missing" for name in CLASSES if not (folder / f"im_{name}").is_dir()
    ]
    strange = [
        one.name for one in folders_in(folder) if one.name.startswith("im_") and one.name[3:] not in CLASSES
    ]
    if strange:
        problems.append(f"no classes of this set: {', '.join(strange)}")
    found = [_class(folder, name, problems) for name in CLASSES if (folder / f"im_{name}").is_dir()]
    if problems:
        refuse(folder, problems)
    _tell(found)
    rows = [row for one in found for row in (_cells(one) if images == "cells" else _clusters(one))]
    names = ("sample", "image", "cell_type", "cluster")
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    diagnosis = pl.col("cell_type").replace_strict(DIAGNOSES, return_dtype=pl.String).alias("diagnosis")
    return manifest.conform(table.with_columns(pl.col("cell_type").alias("label"), diagnosis))


def _class(folder: Path, name: str, problems: list[str]) -> _Class:
    outer = folder / f"im_{name}"
    inner = outer / f"im_{name}"
    inner = inner if inner.is_dir() else outer
    cropped = inner / "CROPPED"
    cells = images_in(cropped) if cropped.is_dir() else []
    if not cells:
        problems.append(
            f"{inner.relative_to(folder).as_posix()}/CROPPED holds no cell: unpack the archive again"
        )
    odd = [cell.name for cell in cells if _CELL.match(cell.stem) is None]
    clusters = {one.stem.lstrip("0") or "0": one for one in images_in(inner) if _CLUSTER.match(one.stem)}
    odd += [one.name for one in images_in(inner) if not _CLUSTER.match(one.stem)]
    if odd:
        problems.append(
            f"im_{name}: cells are named <cluster>_<cell>.bmp and clusters <number>.bmp, these are not: "
            f"{manifest.name_some(odd)}"
        )
    return _Class(name, tuple(cells), clusters)


def _number(cell: Path) -> str:
    return cell.stem.partition("_")[0].lstrip("0") or "0"


def _cells(one: _Class) -> list[tuple[str, ...]]:
    return [
        (f"im_{one.name}/CROPPED/{cell.name}", str(cell.absolute()), one.name, f"{one.name}_{_number(cell)}")
        for cell in one.cells
    ]


def _clusters(one: _Class) -> list[tuple[str, ...]]:
    return [
        (f"im_{one.name}/{image.name}", str(image.absolute()), one.name, f"{one.name}_{number}")
        for number, image in one.clusters.items()
    ]


def _tell(found: list[_Class]) -> None:
    bare = [
        f"{one.name}/{n}" for one in found for n in sorted(one.clusters.keys() - set(map(_number, one.cells)))
    ]
    lone = [
        f"{one.name}/{n}" for one in found for n in sorted(set(map(_number, one.cells)) - one.clusters.keys())
    ]
    for names, what in (
        (bare, "SIPaKMeD cluster images have no cropped cell"),
        (lone, "SIPaKMeD clusters have cropped cells but no image of their own"),
    ):
        if names:
            text = f"{len(names)} {what}: {manifest.name_some(names)}"
            warnings.warn(text, DataWarning, stacklevel=3)
