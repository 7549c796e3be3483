"""White blood cells of routine smears, 18 classes (MLL23, Shetab Boushehri et al. 2025).

Layout: one zip a class, unpacked side by side: `<class>/<file>.TIF` (288x288 px = 25x25 um), the class as in
the authors' own list (`neutrophil_segmented`, `hairy_cell` …). Patient ids are not part of it. Licence: see
the Zenodo record. Source: https://doi.org/10.5281/zenodo.14277609, https://github.com/marrlab/MLL23.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import find_folder, repeated_names, sort_out

CLASSES = (
    "basophil",
    "eosinophil",
    "hairy_cell",
    "lymphocyte",
    "lymphocyte_large_granular",
    "lymphocyte_neoplastic",
    "lymphocyte_reactive",
    "metamyelocyte",
    "monocyte",
    "myeloblast",
    "myelocyte",
    "neutrophil_band",
    "neutrophil_segmented",
    "normoblast",
    "plasma_cell",
    "promyelocyte",
    "promyelocyte_atypical",
    "smudge_cell",
)
MPP = 25 / 288
"""Micrometres per pixel: "288 x 288 pixels and 25 um x 25 um"."""


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type`, `mpp`; no groups.

    Raises DataError naming all problems, the classes that are missing first.
    """
    folder = find_folder(root, CLASSES)
    found = sort_out(folder, CLASSES)
    found.problems += repeated_names(found.images)
    images = found.checked(folder)
    labels = [image.label for image in images]
    return manifest.conform(
        pl.DataFrame(
            {
                "sample": [f"{image.label}/{image.name}" for image in images],
                "image": [image.path for image in images],
                "label": labels,
                "cell_type": labels,
                "mpp": [MPP] * len(images),
            }
        )
    )
