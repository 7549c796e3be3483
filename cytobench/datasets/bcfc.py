"""Body cavity fluids, benign and malignant fields (BCFC, Kaggle, Leishman stain).

Layout: PNG fields in the class folders `benign` and `malignant`. What stands above them in the archive could
not be verified, so the two folders are looked for, in any case of letters, up to three levels deep; where
several folders hold them (as `train/benign`, `test/benign` would), all are read and `part` says which. There
are no patient ids. Licence: stated on the Kaggle page only. Source:
https://www.kaggle.com/datasets/cmacus/body-cavity-fluid-cytology-images.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import Found, find_folder, sort_out
from cytobench.datasets.listing import folders_in

CLASSES = ("benign", "malignant")
_DEPTH = 3


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a field, `label` = `diagnosis` (benign, malignant), `field`, `part`.

    `part` is the folder the class folders lie in, null for the data set's own. No groups. Raises DataError
    naming all problems of all parts.
    """
    folders = _holding(root, _DEPTH)
    if not folders:
        find_folder(root, CLASSES, depth=_DEPTH)  # raises, saying what is here instead
    found = Found()
    rows: list[tuple[str | None, ...]] = []
    for folder in folders:
        own = sort_out(folder, CLASSES)
        part = folder.relative_to(root).as_posix() if len(folders) > 1 else "."
        where = "" if part == "." else f"{part}: "
        found.problems += [where + problem for problem in own.problems]
        found.left_out += [where + said for said in own.left_out]
        prefix = "" if part == "." else f"{part}/"
        for image in own.images:
            sample = f"{prefix}{image.label}/{image.below}"
            rows.append((sample, image.path, image.label, image.label, sample, None if part == "." else part))
    found.checked(root)
    names = ("sample", "image", "label", "diagnosis", "field", "part")
    return manifest.conform(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"))


def _holding(folder: Path, depth: int) -> list[Path]:
    """Return the folders that hold a class folder, `folder` or at most `depth` levels below, in order."""
    inner = folders_in(folder)
    if {sub.name.casefold() for sub in inner} & set(CLASSES):
        return [folder]
    return [found for sub in inner for found in _holding(sub, depth - 1)] if depth else []
