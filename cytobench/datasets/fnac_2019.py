"""Breast fine-needle aspirates, benign and malignant fields of 2048x1536 px (FNAC 2019, Saikia et al. 2019).

Layout: `B/` and `M/` with one image a field, its number in the file name. There are no patient ids: the field
is the leakage unit, and tiles are cut from it only after splitting. Source:
https://doi.org/10.1016/j.tice.2019.02.001.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.listing import images_in, locate, refuse
from cytobench.errors import CardError

_DIAGNOSES = {"B": "benign", "M": "malignant"}
_NUMBER = re.compile(r"(\d+)(?!.*\d)")
# The test fields of the TCT-InfoNCE study (arXiv:2407.11486): 43 of 212; the other 169 train and validate.
TCT_INFONCE_TEST = {
    "B": frozenset({1, 2, 4, 7, 33, 38, 39, 40, 45, 47, 59, 61, 70, 72, 78, 80, 85, 92}),
    "M": frozenset(
        {12, 14, 24, 27, 28, 32, 38, 41, 42, 43, 56, 62, 64, 65, 66, 68, 69, 74, 85, 88, 89, 96, 97, 99, 105}
    ),
}


def read(root: Path, *, split: str = "") -> pl.DataFrame:
    """Return the manifest: a row a field, `label` = `diagnosis` (benign, malignant), `bag` = `field` (B_12).

    `split="tct-infonce"` adds the column `split` with that study's 169 train and 43 test fields. Raises
    DataError naming every file whose number is missing or repeated.
    """
    if split not in ("", "tct-infonce"):
        raise CardError(
            f"The reader fnac-2019 has no split '{split}': choose tct-infonce or leave the option out."
        )
    folder = locate(root, tuple(_DIAGNOSES), within=("FNAC2019", "FNAC-2019", "FNAC 2019"))
    problems = [f"the folder {code} is missing" for code in _DIAGNOSES if not (folder / code).is_dir()]
    fields: dict[str, Path] = {}
    for code in _DIAGNOSES:
        for image in images_in(folder / code) if (folder / code).is_dir() else ():
            match = _NUMBER.search(image.stem)
            if match is None:
                problems.append(f"{code}/{image.name} has no number in its name")
            elif (twin := fields.setdefault(f"{code}_{int(match[1])}", image)) is not image:
                problems.append(f"{code}/{twin.name} and {code}/{image.name} have the same number")
    if problems:
        refuse(folder, problems)
    columns = {
        "sample": [f"{key[0]}/{image.name}" for key, image in fields.items()],
        "image": [str(image.absolute()) for image in fields.values()],
        "label": [_DIAGNOSES[key[0]] for key in fields],
        "diagnosis": [_DIAGNOSES[key[0]] for key in fields],
        "field": list(fields),
        "bag": list(fields),
    }
    if split:
        columns["split"] = [_tct_infonce(key) for key in fields]
    return manifest.conform(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))


def _tct_infonce(key: str) -> str:
    code, _, number = key.partition("_")
    return "test" if int(number) in TCT_INFONCE_TEST[code] else "train"
