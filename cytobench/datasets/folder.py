"""A user's own images in class folders: `<folder>/<class>/<image>`, perhaps with folders in between."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.listing import folders_in, images_in, refuse
from cytobench.errors import CardError, MissingDataError


def read(root: Path, *, group_pattern: str = "") -> pl.DataFrame:
    r"""Return the manifest: a row an image, `label` = the class folder, `subfolder` = folders below it.

    `group_pattern`, a regular expression with one group, takes a `group` from each file's path below `root`:
    for instance `"patient(\d+)_"`. Links are followed, wherever they lead: large data may lie on another
    disk, and an image is named by its path through the link. Raises DataError naming every image outside a
    class folder, every empty class and every path the pattern does not match, and for links that lead nowhere
    or in circles.
    """
    if not root.is_dir():
        raise MissingDataError(f"The folder {root} does not exist: correct dataset.path in the card.")
    problems = [f"{image.name} lies in no class folder" for image in images_in(root)]
    rows: list[tuple[str, str, str, str | None]] = []
    for folder in folders_in(root):
        found = images_in(folder, deep=True)
        if not found:
            problems.append(f"the class folder {folder.name} holds no image: fill it or remove it")
        for image in found:
            below = image.relative_to(folder).parent.as_posix()
            subfolder = None if below == "." else below
            rows.append((image.relative_to(root).as_posix(), str(image.absolute()), folder.name, subfolder))
    if not rows:
        problems.append("no class folder with images in it: sort them as <class>/<image>")
    table = pl.DataFrame(
        rows, schema=dict.fromkeys(("sample", "image", "label", "subfolder"), pl.String), orient="row"
    )
    if group_pattern:
        groups = _groups(table["sample"].to_list(), group_pattern, problems)
        table = table.with_columns(pl.Series("group", groups, dtype=pl.String))
    if problems:
        refuse(root, problems)
    return manifest.conform(table)


def _groups(samples: list[str], pattern: str, problems: list[str]) -> list[str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CardError(
            f"group_pattern '{pattern}' is no regular expression ({error}): correct the card."
        ) from error
    if compiled.groups != 1:
        raise CardError(
            f"group_pattern '{pattern}' needs exactly one group in parentheses: correct the card."
        )
    matches = [compiled.search(sample) for sample in samples]
    missed = [sample for sample, match in zip(samples, matches, strict=True) if match is None]
    if missed:
        problems.append(f"group_pattern '{pattern}' does not match {manifest.name_some(missed)}")
    return [match[1] if match else None for match in matches]
