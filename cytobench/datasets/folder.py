"""A user's own images in class folders: `<folder>/<class>/<image>`, perhaps with folders in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.names import ids_in_names
from cytobench.datasets.survey import Survey, accept, damaged, lookalikes, same_letters, survey
from cytobench.errors import DataError, MissingDataError

_SPLITS = frozenset({"test", "testing", "train", "training", "val", "valid", "validation"})


def read(root: Path, *, group_pattern: str = "") -> pl.DataFrame:
    r"""Return the manifest: a row an image, `label` = the class folder, `subfolder` = folders below it.

    `group_pattern`, a regular expression with one group, takes a `group` from each file's path below `root`:
    for instance `"patient(\d+)_"`. Links are followed, wherever they lead: large data may lie on another
    disk, and an image is named by its path through the link. Names are kept with composed accents (NFC), so
    that a folder copied from macOS gives the same samples. What is no image is left out and told as a
    DataWarning. Raises one DataError that names every image outside a class folder, every empty class, empty
    or damaged files, broken-off downloads, class folders that differ in case only, names the pattern does not
    match, and links that lead nowhere or in circles.
    """
    if not root.is_dir():
        raise MissingDataError(f"The folder {root} does not exist: correct dataset.path in the card.")
    found = survey(root)
    if "" in found.closed:
        raise DataError(f"The folder {root} cannot be read: check its rights.")
    rows = [_row(image, root) for image in found.images if "/" in image]
    table = pl.DataFrame(
        rows, schema=dict.fromkeys(("sample", "image", "label", "subfolder"), pl.String), orient="row"
    )
    problems = [
        *_misplaced(found, table),
        *found.problems(),
        *damaged([root / image for image in found.images], root),
    ]
    if group_pattern:
        groups = ids_in_names(table["sample"].to_list(), group_pattern, "group_pattern", problems)
        table = table.with_columns(pl.Series("group", groups, dtype=pl.String))
    made = manifest.conform(table)
    problems += manifest.problems_of(made, files=False)
    return accept(root, made, problems, found.left_out())


def _row(image: str, root: Path) -> tuple[str, str, str, str | None]:
    label, *between, _ = image.split("/")
    below = "/".join(between)
    return (
        same_letters(image),
        str((root / image).absolute()),
        same_letters(label),
        same_letters(below) or None,
    )


def _misplaced(found: Survey, table: pl.DataFrame) -> list[str]:
    """Return what is wrong with the class folders themselves."""
    problems = []
    loose = [image for image in found.images if "/" not in image]
    if loose:
        some = manifest.name_some(loose)
        word = "lies" if len(loose) == 1 else "lie"
        problems.append(f"{some} {word} in no class folder: sort images as <class>/<image>")
    folders = [name for name in found.folders if "/" not in name and name not in found.circles]
    empty = [name for name in folders if same_letters(name) not in set(table["label"])]
    if empty:
        some, word = manifest.name_some(empty), "folder" if len(empty) == 1 else "folders"
        verb = "holds" if len(empty) == 1 else "hold"
        problems.append(f"the class {word} {some} {verb} no image: fill or remove")
    problems += [
        f"the class folders {' and '.join(map(repr, names))} differ only in case, spaces or how accents are "
        "written: merge or rename them"
        for names in lookalikes(folders)
    ]
    if table.is_empty() and not empty:
        problems.append("no class folder with images in it: sort them as <class>/<image>")
    return problems + _splits(table["label"].unique().to_list())


def _splits(labels: Sequence[str]) -> list[str]:
    """Folders of a split one level above those of the classes would be taken for classes."""
    if len(labels) > 1 and {label.casefold() for label in labels} <= _SPLITS:
        some = manifest.name_some(sorted(labels))
        what = "are parts of a split, not classes: name image, label and split in a table, or move"
        return [f"the folders {some} {what} the class folders up"]
    return []
