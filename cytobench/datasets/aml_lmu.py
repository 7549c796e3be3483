"""White blood cells of 100 patients with acute myeloid leukaemia and 100 without (Matek et al. 2019, LMU).

Layout: `AML-Cytomorphology_LMU/<CODE>/<CODE>_0001.tiff` (400x400 px), 15 classes. `annotations.dat`, a file
of its own, lies in that folder or beside it: a line an image, `<CODE>/<file> <label> <first> <second>`,
separated by spaces; the last two are second looks at some of the cells, `nan` elsewhere. There are no patient
ids. Licence: CC BY 3.0 as others quote it. Source: https://doi.org/10.7937/tcia.2019.36f5o9ld.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import (
    ClassImage,
    Found,
    find_folder,
    misnamed,
    repeated_names,
    sort_out,
)
from cytobench.errors import counted, name_some

CELL_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "BAS": "basophil",
        "EBO": "erythroblast",
        "EOS": "eosinophil",
        "KSC": "smudge cell",
        "LYA": "atypical lymphocyte",
        "LYT": "typical lymphocyte",
        "MMZ": "metamyelocyte",
        "MOB": "monoblast",
        "MON": "monocyte",
        "MYB": "myelocyte",
        "MYO": "myeloblast",
        "NGB": "band neutrophil",
        "NGS": "segmented neutrophil",
        "PMB": "bilobed promyelocyte",
        "PMO": "promyelocyte",
    }
)
"""What the folder names stand for, as the collection's abbreviations.txt has it."""

ANNOTATIONS = "annotations.dat"
_FOLDER = "AML-Cytomorphology_LMU"
_COLUMNS = 4
_SECOND_LOOKS = ("first_relabel", "second_relabel")


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type`, `code` = its folder; no groups.

    With annotations.dat there are `first_relabel` and `second_relabel`, the code a second look gave (null
    where there was none). Raises DataError naming all problems: classes that are missing, images the
    annotations name that are not here, labels that are not those of the folders.
    """
    folder = find_folder(root, tuple(CELL_TYPES))
    found = sort_out(folder, tuple(CELL_TYPES))
    found.problems += misnamed(found.images) + repeated_names(found.images)
    looks = _second_looks(root, folder, found)
    images = found.checked(folder)
    table = pl.DataFrame(
        {
            "sample": [f"{_FOLDER}/{image.label}/{image.name}" for image in images],
            "image": [image.path for image in images],
            "code": [image.label for image in images],
        },
        schema=dict.fromkeys(("sample", "image", "code"), pl.String),
    ).with_columns(
        pl.col("code").replace_strict(dict(CELL_TYPES)).alias(name) for name in ("label", "cell_type")
    )
    if looks is not None:
        given = [looks.get((image.label, image.name), (None, None)) for image in images]
        table = table.with_columns(
            pl.Series(name, [pair[k] for pair in given], dtype=pl.String)
            for k, name in enumerate(_SECOND_LOOKS)
        )
    return manifest.conform(table)


_Looks = dict[tuple[str, str], tuple[str | None, str | None]]


def _second_looks(root: Path, folder: Path, found: Found) -> _Looks | None:
    """Read annotations.dat by (code, file name); what contradicts the folders is added to `found`."""
    places = dict.fromkeys((folder / ANNOTATIONS, folder.parent / ANNOTATIONS, root / ANNOTATIONS))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    here = {(image.label, image.name): image for image in found.images}
    looks: _Looks = {}
    broken, other, lost = [], [], []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != _COLUMNS or "/" not in parts[0]:
            broken.append(f"line {number} ('{line.strip()}')")
            continue
        code, name = parts[0].split("/")[-2:]
        if parts[1] != code:
            other.append(f"{code}/{name} ({parts[1]})")
        if (code, name) not in here:
            lost.append(f"{code}/{name}")
        looks[code, name] = (_code(parts[2]), _code(parts[3]))
    found.problems += _said(path, broken, other, lost)
    found.left_out += _unnamed(here, looks)
    return looks


def _code(text: str) -> str | None:
    return None if text.lower() == "nan" else text


def _said(path: Path, broken: list[str], other: list[str], lost: list[str]) -> list[str]:
    said = []
    if broken:
        said.append(
            f"{counted(len(broken), 'line')} of {path.name} not '<CODE>/<file> <label> <first> <second>': "
            f"{name_some(broken)}"
        )
    if other:
        said.append(
            f"{path.name} gives {counted(len(other), 'image')} another label than the folder: "
            f"{name_some(other)}"
        )
    if lost:
        said.append(
            f"{path.name} names {counted(len(lost), 'image that is', 'images that are')} not here: "
            f"{name_some(lost)}; the download is not complete"
        )
    return said


def _unnamed(here: Mapping[tuple[str, str], ClassImage], looks: _Looks) -> list[str]:
    unnamed = [f"{code}/{name}" for code, name in here if (code, name) not in looks]
    return (
        [f"{counted(len(unnamed), 'image is', 'images are')} not in {ANNOTATIONS}: {name_some(unnamed)}"]
        if unnamed
        else []
    )
