"""Liquid-based cervical cytology fields, 4 classes (Hussain et al. 2020).

Layout: one folder a class, named by its code (NL, HSIL, LSIL, SCC) or in words as in the public download,
holding files named `<class>_<group>_<number>` or `<class>_<group> (<number>)`. Source:
https://data.mendeley.com/datasets/zddtpgzv63/4.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from cytobench import images, manifest
from cytobench.datasets.listing import folders_in, images_in, refuse
from cytobench.errors import CardError

CODES = ("HSIL", "LSIL", "NL", "SCC")
_WORDS = (
    (re.compile(r"^(nl|nilm)$|negative"), "NL"),
    (re.compile(r"^hsil$|high.*squamous|hsil"), "HSIL"),
    (re.compile(r"^lsil$|low.*squamous|lsil"), "LSIL"),
    (re.compile(r"^scc$|squamous.*carcinoma"), "SCC"),
)
_GROUP = re.compile(r"^[A-Za-z]+[ _-]*(\d+)")


def read(root: Path, *, centre: float = 1.0) -> pl.DataFrame:
    """Return the manifest: a row a field, `label` = `diagnosis` (4 codes), `group` = class and slide number.

    `centre` below 1 gives each row a box: the middle square whose side is that share of the shorter side, in
    either size in which the set is found (512x512 and 2048x1536). Raises DataError listing all odd names.
    """
    if not 0 < centre <= 1:
        raise CardError(
            f"The option centre of the reader mendeley-lbc is a share above 0 and up to 1, not {centre}."
        )
    folders = [(folder, _code(folder.name)) for folder in folders_in(root)]
    absent = sorted(set(CODES) - {code for _, code in folders if code})
    problems = [f"no folder of class {code}" for code in absent]
    rows = []
    for folder, code in folders:
        for image in images_in(folder, deep=True) if code else ():
            match = _GROUP.match(image.stem)
            if match is None:
                problems.append(f"{folder.name}/{image.name} has no slide number after its class code")
                continue
            box = _middle(image, centre) if centre < 1 else None
            rows.append(
                (image.relative_to(root).as_posix(), str(image.absolute()), box, code, code, match[1])
            )
    if problems:
        refuse(root, problems)
    names = ("sample", "image", "box", "label", "diagnosis", "number")
    types: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(names, pl.String)
    table = pl.DataFrame(rows, schema=types | {"box": pl.List(pl.Int32)}, orient="row")
    group = pl.concat_str("diagnosis", pl.col("number").cast(pl.Int64).cast(pl.String), separator="_")
    return manifest.conform(table.with_columns(group.alias("group")).drop("number"))


def _code(folder_name: str) -> str | None:
    plain = re.sub(r"[^a-z]+", " ", folder_name.lower()).strip()
    return next((code for pattern, code in _WORDS if pattern.search(plain)), None)


def _middle(image: Path, share: float) -> list[int]:
    width, height = images.size(image)
    side = round(share * min(width, height))
    return [(width - side) // 2, (height - side) // 2, side, side]
