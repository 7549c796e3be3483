"""Bone marrow cells of 945 patients with haematological diseases, 21 classes (Matek et al. 2021).

Layout: `BM_cytomorphology_data/<CODE>/<CODE>_00001.jpg` (250x250 px). A class of more than 1,000 cells is
cut into folders of 1,000, `BLA/0001-1000/BLA_00001.jpg`, the last one named by its end (`NGB/9001-9968`). In
Kaggle's copy, `bone_marrow_cell_dataset/<CODE>/…`, it may be flat; both give the same samples. Licence:
CC BY 4.0. There are no patient ids. Source: https://doi.org/10.7937/TCIA.AXH3-T579.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import ClassImage, find_folder, misnamed, repeated_names, sort_out
from cytobench.errors import CardError, counted, name_some

CELL_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "ABE": "abnormal eosinophil",
        "ART": "artefact",
        "BAS": "basophil",
        "BLA": "blast",
        "EBO": "erythroblast",
        "EOS": "eosinophil",
        "FGC": "faggot cell",
        "HAC": "hairy cell",
        "KSC": "smudge cell",
        "LYI": "immature lymphocyte",
        "LYT": "lymphocyte",
        "MMZ": "metamyelocyte",
        "MON": "monocyte",
        "MYB": "myelocyte",
        "NGB": "band neutrophil",
        "NGS": "segmented neutrophil",
        "NIF": "not identifiable",
        "OTH": "other cell",
        "PEB": "proerythroblast",
        "PLM": "plasma cell",
        "PMO": "promyelocyte",
    }
)
"""What the folder names stand for."""

_RANGE = re.compile(r"^0*(\d+)-0*(\d+)$")


def read(root: Path, *, at_most: int = 0) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type`, `code` = its folder; no groups.

    at_most: keep so many cells a class, drawn by the SHA-256 of their names, always the same (0: all). Raises
    DataError naming all problems; a folder with fewer cells than its name says is told as a DataWarning.
    """
    if at_most < 0:
        raise CardError(f"at_most = {at_most}: give the number of cells to keep a class, or 0 for all.")
    folder = find_folder(root, tuple(CELL_TYPES))
    found = sort_out(folder, tuple(CELL_TYPES))
    found.problems += misnamed(found.images) + repeated_names(found.images)
    found.left_out += _short_ranges(found.images)
    images = _drawn(found.checked(folder), at_most)
    return manifest.conform(
        pl.DataFrame(
            {
                "sample": [f"{image.label}/{image.name}" for image in images],
                "image": [image.path for image in images],
                "code": [image.label for image in images],
            },
            schema=dict.fromkeys(("sample", "image", "code"), pl.String),
        ).with_columns(
            pl.col("code").replace_strict(dict(CELL_TYPES)).alias(name) for name in ("label", "cell_type")
        )
    )


def _drawn(images: list[ClassImage], at_most: int) -> list[ClassImage]:
    if not at_most:
        return images
    by_class: dict[str, list[ClassImage]] = {}
    for image in images:
        by_class.setdefault(image.label, []).append(image)
    return [image for own in by_class.values() for image in sorted(own, key=_draw_key)[:at_most]]


def _draw_key(image: ClassImage) -> bytes:
    return hashlib.sha256(image.name.encode()).digest()


def _short_ranges(images: list[ClassImage]) -> list[str]:
    """Say which folders such as `0001-1000` hold fewer images than their name promises."""
    counts = Counter((image.label, image.below.rpartition("/")[0]) for image in images)
    short = []
    for (label, below), n in sorted(counts.items()):
        match = _RANGE.match(below)
        if match and n < (wanted := int(match[2]) - int(match[1]) + 1):
            short.append(f"{label}/{below} ({n} of {wanted})")
    return (
        [
            (
                f"{counted(len(short), 'folder holds', 'folders hold')} fewer cells than the name says: "
                f"{name_some(short)}"
            )
        ]
        if short
        else []
    )
