"""ThinPrep cervical cytology fields, 3 classes (Brown Multicellular ThinPrep, Welch et al. 2024).

Layout: one folder a class, NIL, LSIL and HSIL, in any case and below any folder, with one image a field. The
set lies behind a login: that its folders are named by these codes follows from its paper and could not be
checked, nor could whether the names of fields tell the patient: the option `patient` takes it from them where
a user knows. Source: https://www.synapse.org/Synapse:syn55262661.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import sort_out_below
from cytobench.datasets.names import ids_in_names

CLASSES = ("NIL", "LSIL", "HSIL")
_FOLDERS = {"nil": "NIL", "nilm": "NIL", "negative": "NIL", "lsil": "LSIL", "hsil": "HSIL"}


def read(root: Path, *, patient: str = "") -> pl.DataFrame:
    """Return the manifest: a row a field, `label` = `diagnosis`, `field` = class and name.

    patient: a regular expression whose one group is the patient's id in a file's name; it fills the column
    `patient`, which is empty without it. Raises DataError that names all problems: classes without images,
    folders that are no class, fields of one name in one class.
    """
    found = sort_out_below(root, _FOLDERS)
    fields = [f"{one.label}_{Path(one.name).stem}" for one in found.images]
    twice = sorted(name for name, n in Counter(fields).items() if n > 1)
    if twice:
        found.problems.append(f"fields of one name in one class: {manifest.name_some(twice)}")
    patients = ids_in_names([one.name for one in found.images], patient, "patient", found.problems)
    images = found.checked(root)
    columns = {
        "sample": [f"{one.folder}/{one.below}" for one in images],
        "image": [one.path for one in images],
        "label": [one.label for one in images],
        "diagnosis": [one.label for one in images],
        "field": fields,
        "bag": fields,
        "patient": patients,
    }
    return manifest.conform(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))
