"""Normal peripheral blood cells (Acevedo et al. 2020), with WBCAtt attributes where their file is there.

Layout: `PBC_dataset_normal_DIB/<class>/<PREFIX_id>.jpg`; attributes in `wbcatt_attributes.csv`, or WBCAtt's
own `pbc_attr_v1_{train,val,test}.csv`, beside it. Source: https://data.mendeley.com/datasets/snkd93bnjr/1.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.class_folders import sort_out
from cytobench.datasets.delimited import read_lines
from cytobench.datasets.listing import byte_twins, locate, refuse

FOLDER = "PBC_dataset_normal_DIB"
CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
ATTRIBUTES = (
    "cell_size",
    "cell_shape",
    "nucleus_shape",
    "nuclear_cytoplasmic_ratio",
    "chromatin_density",
    "cytoplasm_vacuole",
    "cytoplasm_texture",
    "cytoplasm_colour",
    "granule_type",
    "granule_colour",
    "granularity",
)
_ONE_FILE = "wbcatt_attributes.csv"
_PARTS = ("train", "val", "test")


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type`, `subtype` = file-name prefix; no groups.

    With an attributes file there are 11 attribute columns and `wbcatt_split`, null where a cell has none. Of
    byte-identical files one is kept, or none when their classes differ. Raises DataError.
    """
    folder = locate(root, CLASSES, within=(FOLDER, f"{FOLDER}/{FOLDER}"))
    found = sort_out(folder, CLASSES).checked(folder)
    images = [(image.label, Path(image.path)) for image in found]
    kept = _without_twins(images)
    table = pl.DataFrame(
        {
            "sample": [f"{FOLDER}/{name}/{image.name}" for name, image in kept],
            "image": [str(image.absolute()) for _, image in kept],
            "label": [name for name, _ in kept],
            "cell_type": [name for name, _ in kept],
            "subtype": [image.stem.partition("_")[0] for _, image in kept],
            "img_name": [image.name for _, image in kept],
        }
    )
    attributes = _attributes(root)
    joined = table if attributes is None else table.join(attributes, on="img_name", how="left")
    return manifest.conform(joined.drop("img_name"))


def _without_twins(images: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Drop repeated files; a file found under two classes is dropped altogether, as its label is unknown."""
    class_of = {image: name for name, image in images}
    twins = byte_twins(class_of)
    contradicted = {first for twin, first in twins.items() if class_of[twin] != class_of[first]}
    dropped = set(twins) | contradicted
    if dropped:
        text = (
            f"left out: {len(dropped)} of {len(images)} PBC images, equal to another one byte for byte "
            f"({len(contradicted)} under two classes, left out altogether)"
        )
        warnings.warn(text, DataWarning, stacklevel=3)
    return [(name, image) for name, image in images if image not in dropped]


def _attributes(root: Path) -> pl.DataFrame | None:
    """Return img_name, the attributes and wbcatt_split, or None when no attributes file is there."""
    if (root / _ONE_FILE).is_file():
        parts = [_attribute_file(root / _ONE_FILE)]
    else:
        named = [(part, root / f"pbc_attr_v1_{part}.csv") for part in _PARTS]
        parts = [
            _attribute_file(path).with_columns(pl.lit(part).alias("wbcatt_split"))
            for part, path in named
            if path.is_file()
        ]
    if not parts:
        return None
    wanted = ["img_name", *ATTRIBUTES, "wbcatt_split"]
    table = pl.concat([part.select(wanted) for part in parts])
    repeated = table.filter(pl.col("img_name").is_duplicated())["img_name"].unique().sort()
    if len(repeated):
        refuse(root, [f"the attributes name these images more than once: {manifest.name_some(repeated)}"])
    return table


def _attribute_file(path: Path) -> pl.DataFrame:
    problems: list[str] = []
    table = read_lines(path, problems).table.with_columns(pl.all().replace("", None))
    lacking = [name for name in ("img_name", *ATTRIBUTES) if name not in table.columns]
    if lacking:
        problems.append(f"the columns {', '.join(lacking)} are missing: download the file again")
    if problems:
        refuse(path, problems)
    if "wbcatt_split" in table.columns:
        return table
    return table.with_columns(pl.lit(None, dtype=pl.String).alias("wbcatt_split"))
