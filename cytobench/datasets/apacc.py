"""Cells of conventional Pap smears, 4 classes, with an official train and test part (APACC, 2024).

Layout: `train/<class>/` and `test/<class>/` with one image a cell, classes healthy, unhealthy, rubbish and
bothcells, in any case and below any folder. That a folder whose name begins with train or test stands above
the class folders could not be checked against the archive, nor could what the names of cells say of their
smear: the option `smear` takes it from them where a user knows. Source: https://osf.io/fp2xe/.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import ClassImage, plain, sort_out_below
from cytobench.datasets.names import ids_in_names
from cytobench.errors import counted

CLASSES = ("healthy", "unhealthy", "rubbish", "bothcells")


def read(root: Path, *, smear: str = "") -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_state`, with the official `split`.

    smear: a regular expression whose one group is the smear's id in a file's name; it fills the column
    `smear`, which is empty without it. Raises DataError that names all problems: classes without images,
    folders that are no class, cells that stand below neither train nor test, parts without cells.
    """
    found = sort_out_below(root, {name: name for name in CLASSES})
    samples = [f"{one.folder}/{one.below}" for one in found.images]
    splits = [_split(one) for one in found.images]
    astray = [sample for sample, split in zip(samples, splits, strict=True) if not split]
    if astray:
        found.problems.append(
            f"{counted(len(astray), 'cell stands', 'cells stand')} below no folder named train or test, as "
            f"{astray[0]}: keep the download's own folders"
        )
    found.problems += [
        f"the part {part} has no cells: finish the download"
        for part in ("train", "test")
        if found.images and not astray and part not in splits
    ]
    smears = ids_in_names([one.name for one in found.images], smear, "smear", found.problems)
    cells = found.checked(root)
    columns = {
        "sample": samples,
        "image": [one.path for one in cells],
        "label": [one.label for one in cells],
        "cell_state": [one.label for one in cells],
        "split": splits,
        "smear": smears,
    }
    return manifest.conform(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))


def _split(one: ClassImage) -> str | None:
    """Return train or test from the folders above a class folder, the innermost first."""
    for name in reversed(one.folder.split("/")[:-1]):
        part = plain(name)
        for split in ("train", "test"):
            if part.startswith(split) or part.endswith(split):
                return split
    return None
