"""Red cells of malaria patients and healthy donors (NIH/NLM, Rajaraman et al. 2018).

Two layouts: bags `<patient>/<parasitized|uninfected>/<file>.png` with `patients.csv`, and the official
`cell_images/<Parasitized|Uninfected>/<file>.png`, where the patient is the C number at the start of the name.
Source: https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.labels_csv import read_labels
from cytobench.datasets.listing import folders_in, images_in, refuse

_KINDS = ("parasitized", "uninfected")
_PATIENT = re.compile(r"^(C\d+)")


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell; `patient` is both bag and group.

    `label` = `patient_label` (infected: at least one parasitized cell; healthy), `instance_label` = the truth
    of the cell (parasitized, uninfected), which a bag probe must not see. Raises DataError naming all
    problems.
    """
    official = _official_folder(root)
    problems: list[str] = []
    rows = _official_rows(official, problems) if official else _bag_rows(root, problems)
    if not rows and not problems:
        problems.append("neither patient folders (C1/parasitized …) nor cell_images/Parasitized in it")
    table = pl.DataFrame(
        rows, schema=dict.fromkeys(("sample", "image", "instance_label", "patient"), pl.String), orient="row"
    )
    infected = (pl.col("instance_label") == "parasitized").any().over("patient")
    label = pl.when(infected).then(pl.lit("infected")).otherwise(pl.lit("healthy"))
    labelled = table.with_columns(
        label.alias("label"), label.alias("patient_label"), pl.col("patient").alias("bag")
    )
    if not official and not problems:
        problems += _contradictions(root / "patients.csv", labelled)
    if problems:
        refuse(root, problems)
    return manifest.conform(labelled)


def _official_folder(root: Path) -> Path | None:
    for folder in (root / "cell_images", root / "cell_images" / "cell_images", root):
        if (folder / "Parasitized").is_dir():
            return folder
    return None


def _official_rows(folder: Path, problems: list[str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for kind in ("Parasitized", "Uninfected"):
        if not (folder / kind).is_dir():
            problems.append(f"the folder {kind} is missing")
            continue
        for image in images_in(folder / kind):
            match = _PATIENT.match(image.name)
            if match is None:
                problems.append(f"{kind}/{image.name} does not start with a patient's C number")
                continue
            rows.append((f"cell_images/{kind}/{image.name}", str(image.absolute()), kind.lower(), match[1]))
    return rows


def _bag_rows(root: Path, problems: list[str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for patient in folders_in(root):
        if not re.fullmatch(r"C\d+", patient.name):
            continue
        odd = [folder.name for folder in folders_in(patient) if folder.name not in _KINDS]
        if odd:
            problems.append(f"{patient.name} holds the unknown folders {', '.join(odd)}")
        cells = [
            (kind, image)
            for kind in _KINDS
            if (patient / kind).is_dir()
            for image in images_in(patient / kind)
        ]
        rows += [
            (image.relative_to(root).as_posix(), str(image.absolute()), kind, patient.name)
            for kind, image in cells
        ]
    return rows


def _contradictions(patients_csv: Path, table: pl.DataFrame) -> list[str]:
    """Compare with `patients.csv`, where it is: patients of another label, patients without images."""
    if not patients_csv.is_file():
        return []
    problems: list[str] = []
    lines = read_labels(patients_csv, ("patient", "label"), problems)
    if problems:
        return problems
    listed = pl.DataFrame(
        [(line["patient"], line["label"]) for line in lines],
        schema={"patient": pl.String, "said": pl.String},
        orient="row",
    )
    joined = listed.join(table.select("patient", "patient_label").unique(), on="patient", how="left").sort(
        "patient"
    )
    lost = joined.filter(pl.col("patient_label").is_null())["patient"]
    other = joined.filter(pl.col("patient_label") != pl.col("said"))["patient"]
    problems = (
        [f"patients.csv names patients without images: {manifest.name_some(lost)}"] if len(lost) else []
    )
    if len(other):
        problems.append(f"patients.csv and the folders disagree on the label of {manifest.name_some(other)}")
    return problems
