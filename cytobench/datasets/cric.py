"""Points on cell nuclei in conventional Pap-smear fields, 6 Bethesda classes (CRIC, Rezende et al. 2021).

Layout: `classifications.csv` with the columns image_id, image_filename, image_doi, cell_id, bethesda_system,
nucleus_x, nucleus_y (a line a cell, pixels counted from 1), and the 400 fields of 1376x1020 px anywhere below
the same folder. What the CSV and the folder of images are called differs between downloads: any CSV with
these columns is taken. Source: https://doi.org/10.6084/m9.figshare.c.4960286.v2.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl

from cytobench import images, manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.labels_csv import read_labels
from cytobench.datasets.listing import images_in, is_system, refuse
from cytobench.errors import counted

CLASSES = {
    "Negative for intraepithelial lesion": "NILM",
    "ASC-US": "ASC-US",
    "LSIL": "LSIL",
    "ASC-H": "ASC-H",
    "HSIL": "HSIL",
    "SCC": "SCC",
}
_COLUMNS = ("image_id", "image_filename", "cell_id", "bethesda_system", "nucleus_x", "nucleus_y")
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.String,
    "image": pl.String,
    "box": pl.List(pl.Int32),
    "bethesda": pl.String,
    "field": pl.String,
}


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a nucleus as a point, `label` = `bethesda` (6 classes).

    `field` is the parent image, whose cells never stand on both sides of a split; `diagnosis` is normal for
    NILM, else abnormal. Fields without any cell are told; raises DataError that names all problems: classes
    that are not known, points outside their field, cells listed twice, cells whose field is missing.
    """
    table = _csv(root)
    problems: list[str] = []
    lines = read_labels(table, _COLUMNS, problems)
    fields: dict[str, list[Path]] = defaultdict(list)
    for image in images_in(root, deep=True):
        fields[image.name].append(image)
    problems += [
        f"the field {name} lies in {len(there)} folders: keep one"
        for name, there in fields.items()
        if len(there) > 1
    ]
    lost = sorted({line["image_filename"] for line in lines} - fields.keys())
    if lost:
        problems.append(
            f"{counted(len(lost), 'field')} of {table.name} not there: {manifest.name_some(lost)}; "
            "finish the download"
        )
    unknown = sorted({line["bethesda_system"] for line in lines} - CLASSES.keys())
    if unknown:
        problems.append(f"{table.name} has the unknown classes {', '.join(unknown)}")
    twice = sorted(name for name, n in Counter(line["cell_id"] for line in lines).items() if n > 1)
    if twice:
        problems.append(f"{table.name} lists these cells twice: {manifest.name_some(twice)}")
    known = [
        line for line in lines if line["image_filename"] in fields and line["bethesda_system"] in CLASSES
    ]
    rows = _rows(known, {name: there[0] for name, there in fields.items()}, problems)
    if problems:
        refuse(root, problems)
    bare = sorted(fields.keys() - {line["image_filename"] for line in lines})
    if bare:
        text = f"{len(bare)} CRIC images have no cell in {table.name}: {manifest.name_some(bare)}"
        warnings.warn(text, DataWarning, stacklevel=2)
    normal = pl.col("bethesda") == "NILM"
    return manifest.conform(
        pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            pl.col("bethesda").alias("label"),
            pl.when(normal).then(pl.lit("normal")).otherwise(pl.lit("abnormal")).alias("diagnosis"),
        )
    )


def _csv(root: Path) -> Path:
    """Return the one CSV that has the columns; raises DataError where there is none, or several."""
    found = sorted(path for path in root.rglob("*.csv") if not path.name.startswith("."))
    fitting = [path for path in found if not is_system(path.as_posix()) and not _missing(path)]
    if len(fitting) != 1:
        wanted, names = ", ".join(_COLUMNS), manifest.name_some([path.name for path in fitting])
        seen = f" ({found[0].name}: {'; '.join(_missing(found[0]))})" if found else ""
        refuse(
            root,
            [
                f"several CSV files hold cells: {names}; keep one"
                if fitting
                else f"no CSV with the columns {wanted} in it{seen}: download classifications.csv"
            ],
        )
    return fitting[0]


def _missing(path: Path) -> list[str]:
    problems: list[str] = []
    read_labels(path, _COLUMNS, problems)
    return problems


def _rows(
    lines: list[dict[str, str]], fields: dict[str, Path], problems: list[str]
) -> list[tuple[object, ...]]:
    sizes = {name: images.size(fields[name]) for name in sorted({line["image_filename"] for line in lines})}
    rows: list[tuple[object, ...]] = []
    bad: list[str] = []
    outside: list[str] = []
    for line in lines:
        name = line["image_filename"]
        try:
            x, y = int(line["nucleus_x"]) - 1, int(line["nucleus_y"]) - 1
        except ValueError:
            bad.append(line["cell_id"])
            continue
        if not (0 <= x < sizes[name][0] and 0 <= y < sizes[name][1]):
            outside.append(line["cell_id"])
        field = Path(name).stem
        bethesda = CLASSES[line["bethesda_system"]]
        rows.append(
            (f"{name}#{line['cell_id']}", str(fields[name].absolute()), [x, y, 0, 0], bethesda, field)
        )
    if bad:
        problems.append(
            f"nucleus_x and nucleus_y are no whole numbers for the cells {manifest.name_some(bad)}"
        )
    if outside:
        problems.append(f"these cells lie outside their field: {manifest.name_some(outside)}")
    return rows
