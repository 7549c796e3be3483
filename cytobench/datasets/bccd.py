"""Blood smear fields with boxes round red cells, white cells and platelets (BCCD, Shenggan 2017).

Layout: `BCCD/JPEGImages/<field>.jpg`, `BCCD/Annotations/<field>.xml` (Pascal VOC),
`BCCD/ImageSets/Main/{train,val,test}.txt`. Source: https://github.com/Shenggan/BCCD_Dataset.
"""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.listing import images_in, locate, refuse
from cytobench.errors import counted

_SPLITS = ("train", "val", "test")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.String,
    "image": pl.String,
    "box": pl.List(pl.Int32),
    "label": pl.String,
    "cell_type": pl.String,
    "field": pl.String,
    "split": pl.String,
}


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a box, `label` = `cell_type`, its `field`, and the official `split`.

    Boxes without area are left out with a warning. Raises DataError that names every bad file.
    """
    folder = locate(root, ("JPEGImages",), within=("BCCD",))
    problems: list[str] = []
    split_of = _official_split(folder, problems)
    rows: list[tuple[object, ...]] = []
    empty: list[str] = []
    for image in images_in(folder / "JPEGImages"):
        split = split_of.get(image.stem)
        if split is None:
            problems.append(f"{image.name} is in none of ImageSets/Main/train.txt, val.txt and test.txt")
        for number, (name, box) in enumerate(
            _objects(folder / "Annotations" / f"{image.stem}.xml", problems)
        ):
            sample = f"BCCD/JPEGImages/{image.name}#{number}"
            if box[2] <= 0 or box[3] <= 0:
                empty.append(f"{image.stem} ({name} at {box[0]},{box[1]})")
                continue
            rows.append((sample, str(image.absolute()), box, name, name, image.stem, split))
    if problems:
        refuse(folder, problems)
    if empty:
        text = f"left out: {counted(len(empty), 'BCCD box', 'BCCD boxes')} of no area: {', '.join(empty)}"
        warnings.warn(text, DataWarning, stacklevel=2)
    return manifest.conform(pl.DataFrame(rows, schema=_SCHEMA, orient="row"))


def _official_split(folder: Path, problems: list[str]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    listed: Counter[str] = Counter()
    for split in _SPLITS:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            problems.append(f"ImageSets/Main/{split}.txt is missing")
            continue
        names = path.read_text(encoding="utf-8").split()
        listed.update(names)
        split_of |= dict.fromkeys(names, split)
    twice = [name for name, n in listed.items() if n > 1]
    if twice:
        problems.append(f"these fields stand in two official splits: {manifest.name_some(sorted(twice))}")
    return split_of


def _objects(path: Path, problems: list[str]) -> list[tuple[str, list[int]]]:
    """Return (type, [x, y, w, h]) of each object of a VOC file; what is wrong is added to `problems`."""
    if not path.is_file():
        problems.append(f"Annotations/{path.name} is missing")
        return []
    try:
        return [_object(element) for element in ET.parse(path).getroot().iter("object")]
    except (ET.ParseError, ValueError) as error:
        problems.append(f"Annotations/{path.name} is damaged ({error})")
        return []


def _object(element: ET.Element) -> tuple[str, list[int]]:
    left, top, right, bottom = (int(element.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS)
    name = element.findtext("name", "")
    if not name:
        raise ValueError("an object without a name")
    return name, [left, top, right - left, bottom - top]
