"""Oral brush samples: nucleus-centred patches of ten slides, imaged twice (OralScreen, Lu et al. 2020).

Layout: `<dataset>/<Cancer|Healthy>/<slide>/<patch>.png`, cut from the project's mosaics on their 80 px grid;
labels are those of the slides. Source: https://github.com/MIDA-group/OralScreen.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.listing import byte_twins, folders_in, images_in, locate, refuse
from cytobench.errors import CardError, counted

PARTS = ("ds1_oldsmear", "ds2_newsmear")
_LABELS = ("Cancer", "Healthy")
_NUMBER = re.compile(r"(\d+)$")


def read(root: Path, *, part: str = "") -> pl.DataFrame:
    """Return the manifest: a row a patch, `label` = `slide_label`, `slide_number`, `part`, `bag`.

    The slide NUMBER must stay together over both parts: most likely they show the same ten glasses. `part`
    keeps one of ds1_oldsmear (grey) and ds2_newsmear (colour). A patch that repeats another of its slide byte
    for byte is left out. Raises DataError.
    """
    if part and part not in PARTS:
        raise CardError(f"The reader oral-cytology has no part '{part}': choose {' or '.join(PARTS)}.")
    wanted = (part,) if part else PARTS
    folder = locate(root, wanted)
    slides = [
        (name, label, slide)
        for name in wanted
        for label in _LABELS
        if (folder / name / label).is_dir()
        for slide in folders_in(folder / name / label)
    ]
    _refuse_odd_slides(folder, slides)
    rows = [row for slide in slides for row in _patches(*slide)]
    names = ("sample", "image", "label", "slide_label", "part", "slide_number", "slide", "bag")
    return manifest.conform(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"))


def _patches(part: str, label: str, folder: Path) -> list[tuple[str, ...]]:
    patches = images_in(folder)
    twins = byte_twins(patches)
    if twins:
        many = counted(len(twins), "patch", "patches")
        text = f"left out: {many} of {part}/{folder.name} equal to another one"
        warnings.warn(text, DataWarning, stacklevel=3)
    number = _number(folder)
    slide = f"{part.partition('_')[0]}_{number}"
    return [
        (
            f"{part}/{label}/{folder.name}/{patch.name}",
            str(patch.absolute()),
            label,
            label,
            part,
            number,
            slide,
            f"{part}/{folder.name}",
        )
        for patch in patches
        if patch not in twins
    ]


def _number(slide: Path) -> str:
    match = _NUMBER.search(slide.name)
    return match[1].zfill(2) if match else ""


def _refuse_odd_slides(folder: Path, slides: list[tuple[str, str, Path]]) -> None:
    problems = [
        f"{part}/{label}/{slide.name} does not end in a slide number"
        for part, label, slide in slides
        if not _number(slide)
    ]
    label_of: dict[str, str] = {}
    for _, label, slide in slides:
        if label_of.setdefault(_number(slide), label) != label:
            problems.append(f"slide number {_number(slide)} stands under both Cancer and Healthy")
    if not slides:
        problems.append("no slide folder in it")
    if problems:
        refuse(folder, problems)
