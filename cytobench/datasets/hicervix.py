"""Cervical cells of liquid-based slides in a tree of three levels (HiCervix, Cai et al. 2024).

Layout: `train/`, `val/`, `test/` with one JPEG a cell, and `train.csv`, `val.csv`, `test.csv` with the
columns image_name, class_name, class_id, level_1, level_2, level_3, the levels below a cell's own class left
empty. There are no slide or patient ids. Source: https://zenodo.org/records/11087263.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.labels_csv import read_labels
from cytobench.datasets.listing import images_in, locate, refuse
from cytobench.errors import counted

SPLITS = ("train", "val", "test")
_NEGATIVE = ("Normal", "ECC", "RPC", "MPC", "PG", "Atrophy", "EMC", "HCG")
_SQUAMOUS = ("ASC-US", "LSIL", "ASC-H", "HSIL", "SCC")
_ORGANISMS = ("FUNGI", "ACTINO", "TRI", "HSV", "CC")
TREE: dict[str, tuple[str, ...]] = {
    **{name: ("negative", name) for name in _NEGATIVE},
    **{name: ("ASC", name) for name in _SQUAMOUS},
    **{name: ("microbe", name) for name in _ORGANISMS},
    "AGC": ("AGC",),
    "AGC-NOS": ("AGC", "AGC-NOS"),
    "AGC-FN": ("AGC", "AGC-FN"),
    "ADC": ("AGC", "ADC"),
    "AGC-ECC-NOS": ("AGC", "AGC-NOS", "AGC-ECC-NOS"),
    "AGC-EMC-NOS": ("AGC", "AGC-NOS", "AGC-EMC-NOS"),
    "ADC-ECC": ("AGC", "ADC", "ADC-ECC"),
    "ADC-EMC": ("AGC", "ADC", "ADC-EMC"),
}
"""For each annotated class the names from the widest level down to itself."""
UNREFINED = ("AGC", "AGC-NOS", "ADC")
"""Classes that have others below them: their cells carry no label at the levels below."""
_COLUMNS = ("image_name", "class_name", "level_1", "level_2", "level_3")


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell with its official `split`.

    `label` = `class_name` (26 annotated classes). `level_1` (4 classes), `level_2` (21), `level_3` (23): a
    class that ends above a level stands for itself there, as in the authors' evaluation, and a cell that was
    annotated no finer than AGC, AGC-NOS or ADC has none below. Images without a label are left out with a
    warning; raises DataError that names all problems: labels for missing images, unknown classes, levels that
    contradict the tree, cells listed twice, folders or files that are not there.
    """
    folder = locate(root, SPLITS, within=("HiCervix", "hicervix"))
    problems: list[str] = []
    rows: list[tuple[str | None, ...]] = []
    unlabelled: list[str] = []
    for split in SPLITS:
        rows += _part(folder, split, problems, unlabelled)
    twice = [str(name) for name, n in Counter(row[0] for row in rows).items() if n > 1]
    if twice:
        problems.append(f"listed twice: {manifest.name_some(sorted(twice))}")
    if problems:
        refuse(folder, problems)
    if unlabelled:
        text = f"{len(unlabelled)} HiCervix images have no label: {manifest.name_some(unlabelled)}"
        warnings.warn(text + "; they were left out", DataWarning, stacklevel=2)
    names = ("sample", "image", "split", "label", "level_1", "level_2", "level_3")
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return manifest.conform(table.with_columns(pl.col("label").alias("class_name")))


def level_of(class_name: str, level: int) -> str | None:
    """Return the name of a class at a level, None where its cells were not annotated that finely."""
    path = TREE[class_name]
    if len(path) >= level:
        return path[level - 1]
    return None if class_name in UNREFINED else class_name


def _part(
    folder: Path, split: str, problems: list[str], unlabelled: list[str]
) -> list[tuple[str | None, ...]]:
    if not (folder / split).is_dir():
        problems.append(f"the folder {split} is missing")
    lines = read_labels(folder / f"{split}.csv", _COLUMNS, problems)
    images = {image.name: image for image in images_in(folder / split)} if (folder / split).is_dir() else {}
    unknown = sorted({line["class_name"] for line in lines if line["class_name"] not in TREE})
    if unknown:
        problems.append(f"{split}.csv has the unknown classes {', '.join(unknown)}")
    known = [line for line in lines if line["class_name"] in TREE]
    astray = [line["image_name"] for line in known if not _agrees(line)]
    if astray:
        problems.append(f"{split}.csv: levels contradict the class of {manifest.name_some(astray)}")
    lost = [line["image_name"] for line in known if line["image_name"] not in images]
    if lost and images:
        problems.append(
            f"{counted(len(lost), 'image')} of {split}.csv not in {split}/: {manifest.name_some(lost)}; "
            "finish the download"
        )
    elif lost:
        problems.append(f"{split}/ holds no image")
    if lines:
        listed = {line["image_name"] for line in lines}
        unlabelled += [f"{split}/{name}" for name in images if name not in listed]
    return [_row(split, images[line["image_name"]], line) for line in known if line["image_name"] in images]


def _agrees(line: dict[str, str]) -> bool:
    path = TREE[line["class_name"]]
    return tuple(line[f"level_{k}"] for k in (1, 2, 3)) == path + ("",) * (3 - len(path))


def _row(split: str, image: Path, line: dict[str, str]) -> tuple[str | None, ...]:
    name = line["class_name"]
    levels = (level_of(name, level) for level in (1, 2, 3))
    return image.name, str(image.absolute()), split, name, *levels
