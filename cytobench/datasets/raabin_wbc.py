"""Normal white blood cells of five types under two microscopes (Raabin-WBC, Kouzehkanan et al. 2022).

Layout of the cropped, doubly labelled cells, as `Train.rar`, `TestA.rar` and `TestB.zip` unpack:
`Train/<Class>/<file>.jpg` and `TestA/<Class>/…` with the classes Basophil, Eosinophil, Lymphocyte, Monocyte
and Neutrophil, and `TestB/…` with Lymphocyte and Neutrophil only. Train and Test-A are said to come from the
first microscope and camera, Test-B from the second: a domain shift built into the set. Case of folder names
does not count, and each part may lie one folder deeper (`TestB/TestB/Neutrophil`). There are no patient or
smear ids. Licence: free access, cite; no formal licence was found. Source: https://raabindata.com/free-data/.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.class_folders import Found, find_folder, sort_out
from cytobench.datasets.listing import folders_in, refuse
from cytobench.errors import CardError, DataError

CLASSES = ("Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")
PARTS = ("Train", "TestA", "TestB")
ABSENT_FROM_TEST_B = ("Basophil", "Eosinophil", "Monocyte")
_SPELLINGS = {part.casefold(): part for part in PARTS} | {
    "test-a": "TestA",
    "test_a": "TestA",
    "test-b": "TestB",
    "test_b": "TestB",
}
_SCANNER = {"Train": "first microscope", "TestA": "first microscope", "TestB": "second microscope"}


def read(root: Path, *, test: str = "TestA") -> pl.DataFrame:
    """Return the manifest: a row a cell of Train and of `test`, `label` = `cell_type`; no groups.

    test: "TestA" (same microscope and camera as Train) or "TestB" (others); the part not asked for need not
    be there. `part` names where a cell lies, `scanner` its microscope, `split` is train for Train and test
    for the rest. Raises DataError naming all problems of both parts.
    """
    if test not in PARTS[1:]:
        raise CardError(f'The tests of Raabin-WBC are TestA and TestB, not "{test}": correct options.test.')
    folder = find_folder(root, tuple(_SPELLINGS))
    places = _places(folder)
    missing = [part for part in ("Train", test) if part not in places]
    if missing:
        archive = {"Train": "Train.rar", "TestA": "TestA.rar", "TestB": "TestB.zip"}
        wanted = ", ".join(archive[part] for part in missing)
        refuse(folder, [f"the parts {' and '.join(missing)} are missing: unpack {wanted} here"])
    found = Found()
    rows: list[tuple[str, ...]] = []
    for part in ("Train", test):
        own = _sorted_part(places[part], part)
        found.problems += [f"{part}: {problem}" for problem in own.problems]
        found.left_out += [f"{part}: {said}" for said in own.left_out]
        rows += [
            (f"{part}/{image.label}/{image.below}", image.path, image.label.lower(), part)
            for image in own.images
        ]
    found.checked(folder)
    table = pl.DataFrame(
        rows, schema=dict.fromkeys(("sample", "image", "cell_type", "part"), pl.String), orient="row"
    )
    return manifest.conform(
        table.with_columns(
            pl.col("cell_type").alias("label"),
            pl.col("part").replace_strict(_SCANNER).alias("scanner"),
            pl.when(pl.col("part") == "Train").then(pl.lit("train")).otherwise(pl.lit("test")).alias("split"),
        )
    )


def _places(folder: Path) -> dict[str, Path]:
    """Return the folder of each part that is there, under its own spelling."""
    places: dict[str, Path] = {}
    for inner in folders_in(folder):
        part = _SPELLINGS.get(inner.name.casefold())
        if part is None:
            continue
        if part in places:
            refuse(folder, [f"{part} is there twice, as {places[part].name} and {inner.name}: keep one"])
        places[part] = inner
    return places


def _sorted_part(folder: Path, part: str) -> Found:
    try:
        place = find_folder(folder, CLASSES, depth=1)
    except DataError as error:
        return Found(problems=[str(error).rstrip(".")])
    return sort_out(place, CLASSES, optional=ABSENT_FROM_TEST_B if part == "TestB" else ())
