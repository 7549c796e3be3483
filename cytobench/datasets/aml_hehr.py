"""Patients with four genetic subtypes of acute myeloid leukaemia, and controls (Hehr et al. 2023, Munich).

Layout: `data/<subtype>/<PATIENT>/<file>.tif` (144x144 px), in the archive's folder
`PKG - AML-Cytomorphology_MLL_Helmholtz_v1`; the subtypes are control, CBFB_MYH11, NPM1, PML_RARA and
RUNX1_RUNX1T1. `metadata.csv`, at most two folders above them, has a row a patient: `patient_id`, `sex_1f_2m`,
`age`, `bag_label`, `instance_count` … Licence: stated on the page of the collection. Source:
https://doi.org/10.7937/6ppe-4020.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import ClassImage, Found, find_folder, sort_out
from cytobench.errors import counted, name_some

SUBTYPES = ("CBFB_MYH11", "NPM1", "PML_RARA", "RUNX1_RUNX1T1", "control")
_METADATA = "metadata.csv"
_NEEDED = ("patient_id", "bag_label", "instance_count")
_SEX = {"1": "female", "2": "male", "1.0": "female", "2.0": "male"}


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell; `patient` is both bag and group, `label` = `subtype`.

    `disease` is leukaemia or control. With metadata.csv there are `age` and `sex` of the patient, for finding
    out whether they tell the label. Raises DataError naming all problems: subtypes, patients or cells that
    are missing, a patient in two folders, cells outside a patient's folder.
    """
    folder = find_folder(root, SUBTYPES)
    found = sort_out(folder, SUBTYPES)
    loose = [f"{image.label}/{image.below}" for image in found.images if "/" not in image.below]
    if loose:
        found.problems.append(
            f"{counted(len(loose), 'cell lies', 'cells lie')} in no patient's folder: {name_some(loose)}"
        )
    subtype_of = _patients(found)
    about = _metadata(root, folder, found, subtype_of)
    images = [image for image in found.checked(folder) if "/" in image.below]
    patients = [_patient(image) for image in images]
    subtypes = [image.label for image in images]
    table = pl.DataFrame(
        {
            "sample": [f"{image.label}/{image.below}" for image in images],
            "image": [image.path for image in images],
            "label": subtypes,
            "subtype": subtypes,
            "disease": ["control" if subtype == "control" else "leukaemia" for subtype in subtypes],
            "patient": patients,
            "bag": patients,
            "group": patients,
        }
    )
    return manifest.conform(
        table if about is None else table.join(about, on="patient", how="left", maintain_order="left")
    )


def _patient(image: ClassImage) -> str:
    return image.below.partition("/")[0]


def _patients(found: Found) -> dict[str, str]:
    """Return the subtype of each patient; one in two subtypes is a problem."""
    subtypes: dict[str, set[str]] = {}
    for image in found.images:
        if "/" in image.below:
            subtypes.setdefault(_patient(image), set()).add(image.label)
    torn = [f"{patient} ({', '.join(sorted(own))})" for patient, own in subtypes.items() if len(own) > 1]
    if torn:
        found.problems.append(
            f"{counted(len(torn), 'patient stands', 'patients stand')} under two subtypes: "
            f"{name_some(sorted(torn))}"
        )
    return {patient: min(own) for patient, own in subtypes.items()}


def _metadata(root: Path, folder: Path, found: Found, subtype_of: dict[str, str]) -> pl.DataFrame | None:
    """Return patient, age and sex; what contradicts the folders is added to `found`."""
    places = (
        folder / _METADATA,
        folder.parent / _METADATA,
        folder.parent.parent / _METADATA,
        root / _METADATA,
    )
    path = next((place for place in places if place.is_relative_to(root) and place.is_file()), None)
    if path is None:
        return None
    try:
        # The published file is not valid UTF-8 in the header of a column that is not used here.
        listed = pl.read_csv(path, infer_schema_length=0, encoding="utf8-lossy")
    except pl.exceptions.PolarsError as error:
        found.problems.append(f"{path.name} cannot be read ({str(error).partition(chr(10))[0]})")
        return None
    lacking = [name for name in _NEEDED if name not in listed.columns]
    if lacking:
        found.problems.append(
            f"{path.name} has no column {', '.join(lacking)}: it must be separated by commas, as published"
        )
        return None
    found.problems += _contradictions(path.name, listed, found, subtype_of)
    return listed.select(
        pl.col("patient_id").alias("patient"),
        *(_optional(listed, "age", pl.col("age").cast(pl.Float64, strict=False))),
        *(
            _optional(
                listed, "sex_1f_2m", pl.col("sex_1f_2m").replace_strict(_SEX, default=None).alias("sex")
            )
        ),
    ).unique("patient", keep="first", maintain_order=True)


def _optional(listed: pl.DataFrame, name: str, column: pl.Expr) -> list[pl.Expr]:
    return [column] if name in listed.columns else []


def _contradictions(name: str, listed: pl.DataFrame, found: Found, subtype_of: dict[str, str]) -> list[str]:
    counts: dict[str, int] = {}
    for image in found.images:
        if "/" in image.below:
            counts[_patient(image)] = counts.get(_patient(image), 0) + 1
    lost, other, short = [], [], []
    for patient, label, instances in listed.select(_NEEDED).iter_rows():
        if patient not in subtype_of:
            lost.append(str(patient))
        elif label != subtype_of[patient]:
            other.append(f"{patient} ({label})")
        elif instances and counts[patient] < (wanted := int(float(instances))):
            short.append(f"{patient} ({counts[patient]} of {wanted})")
    unlisted = sorted(set(subtype_of) - set(listed["patient_id"].to_list()))
    said = (
        (lost, "without images"),
        (other, "with another label than the folder"),
        (short, "with fewer images than it counts"),
    )
    problems = [
        f"{name} names {counted(len(who), 'patient')} {what}: {name_some(who)}" for who, what in said if who
    ]
    if unlisted:
        found.left_out.append(
            f"{counted(len(unlisted), 'patient is', 'patients are')} not in {name}: {name_some(unlisted)}"
        )
    return problems
