"""Patches of breast fine-needle aspirates, Yokohama categories C1 to C5, patients known (Patil et al. 2026).

Layout, as `breast-cytology-main.zip` unpacks: `patches/<WSI_ID>/{I,II,III,IV,V}/<WSI_ID>_x<X>_y<Y>.png` and
`metadata/master_metadata.csv` (else `slide_metadata.csv`) with a line a slide. The columns of the metadata go
by the names that the authors' own scripts look for. 0.25 micrometres per pixel. Source:
https://doi.org/10.5281/zenodo.20763900 and https://github.com/abhijeetptl5/breast-cytology-dataset.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.labels_csv import read_labels
from cytobench.datasets.listing import folders_in, images_in, locate, refuse
from cytobench.errors import counted

CATEGORIES = {"I": "C1", "II": "C2", "III": "C3", "IV": "C4", "V": "C5"}
MPP = 0.25
_TABLES = ("master_metadata.csv", "slide_metadata.csv")
# The names under which the authors' scripts look for each column, in their order.
_NAMES = {
    "patient": ("patient_id", "patient_identifier", "case_id", "subject_id"),
    "slide": ("wsi_file_stem", "wsi_stem", "wsi_id", "slide_number", "slide_id"),
    "diagnosis": ("diagnosis_group", "diagnosis", "diagnostic_group"),
    "stain": ("stain_type", "stain", "staining"),
    "site": ("study_site", "site", "center", "centre", "hospital_center"),
}
_NEEDED = ("patient", "slide", "diagnosis")
_ENDINGS = (".ndpi", ".svs", ".tiff", ".tif")


@dataclass(frozen=True)
class _Slide:
    """What the metadata say of one slide."""

    patient: str
    diagnosis: str
    stain: str | None
    site: str | None


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a patch, `label` = `category` (C1 to C5), `bag` = `patient`.

    `slide`, `patient`, `stain`, `site`; `patient_label` = the patient's group of diagnoses (cancerous,
    non-cancerous), one a patient; `mpp` 0.25. Slides without patches are told; raises DataError that names
    all problems: slides without metadata, patients with two diagnoses, folders that are no category.
    """
    folder = locate(root, ("patches",), within=("breast-cytology-main", "breast-cytology"))
    problems: list[str] = []
    slides = _metadata(folder, problems)
    rows: list[tuple[str | float | None, ...]] = []
    lost: list[str] = []
    seen = folders_in(folder / "patches")
    for place in seen:
        patches = _patches(place, problems)
        about = slides.get(place.name)
        if about is None:
            lost.append(place.name)
            continue
        rows += [_row(folder, patch, category, place.name, about) for patch, category in patches]
    if lost and slides:
        problems.append(f"slides with patches but no line in the metadata: {manifest.name_some(lost)}")
    if not seen:
        problems.append("patches/ holds no slide: finish the download")
    if problems:
        refuse(folder, problems)
    bare = sorted(slides.keys() - {str(row[4]) for row in rows})
    if bare:
        text = f"{counted(len(bare), 'slide')} of the metadata without a patch: {manifest.name_some(bare)}"
        warnings.warn(text, DataWarning, stacklevel=2)
    names = ("sample", "image", "category", "patient", "slide", "patient_label", "stain", "site")
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return manifest.conform(
        table.with_columns(
            pl.col("category").alias("label"), pl.col("patient").alias("bag"), pl.lit(MPP).alias("mpp")
        )
    )


def _patches(place: Path, problems: list[str]) -> list[tuple[Path, str]]:
    found = [
        (patch, CATEGORIES[inner.name])
        for inner in folders_in(place)
        if inner.name in CATEGORIES
        for patch in images_in(inner)
    ]
    odd = [inner.name for inner in folders_in(place) if inner.name not in CATEGORIES]
    if odd:
        problems.append(f"{place.name} holds the folders {', '.join(odd)}: categories are I to V")
    loose = images_in(place)
    if loose:
        problems.append(
            f"{place.name} holds {len(loose)} patches outside the folders I to V, as {loose[0].name}"
        )
    return found


def _row(
    folder: Path, patch: Path, category: str, slide: str, about: _Slide
) -> tuple[str | float | None, ...]:
    name = patch.relative_to(folder).as_posix()
    place = str(patch.absolute())
    return name, place, category, about.patient, slide, about.diagnosis, about.stain, about.site


def _metadata(folder: Path, problems: list[str]) -> dict[str, _Slide]:
    """Return what is said of each slide; what is wrong is added to `problems`."""
    tables = [folder / "metadata" / name for name in _TABLES]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        problems.append(f"metadata/{_TABLES[0]} is missing: it says which patient a slide is of")
        return {}
    lines = read_labels(table, (), problems)
    column = _columns(lines[0] if lines else {})
    absent = [" or ".join(_NAMES[key]) for key in _NEEDED if key not in column]
    if absent:
        problems.append(f"{table.name} lacks the columns {'; '.join(absent)}")
        return {}
    slides: dict[str, _Slide] = {}
    said: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        value = {key: line[name] for key, name in column.items()}
        about = _Slide(
            value["patient"],
            _diagnosis(value["diagnosis"]),
            value.get("stain") or None,
            value.get("site") or None,
        )
        stem = _stem(value["slide"])
        said[about.patient].add(about.diagnosis)
        if not about.patient:
            problems.append(f"{table.name}: the slide {stem} has no patient")
        elif slides.setdefault(stem, about) != about:
            problems.append(f"{table.name} lists the slide {stem} twice, and differently")
    torn = sorted(name for name, diagnoses in said.items() if len(diagnoses) > 1)
    if torn:
        problems.append(f"patients with two diagnoses: {manifest.name_some(torn)}")
    return slides


def _columns(line: dict[str, str]) -> dict[str, str]:
    """Return under which of its names each column stands in the table."""
    by_plain = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in line}
    found = {}
    for key, names in _NAMES.items():
        name = next((by_plain[one] for one in names if one in by_plain), None)
        if name is not None:
            found[key] = name
    return found


def _diagnosis(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().lower())


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
