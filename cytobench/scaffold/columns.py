"""Which column of a user's table is what: by its name first, else by what is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cytobench.datasets.listing import IMAGE_SUFFIXES
from cytobench.errors import UsageError

IMAGE = (
    "image",
    "image_path",
    "file",
    "filename",
    "file_name",
    "path",
    "filepath",
    "img",
    "image_file",
    "crop",
)
LABEL = (
    "label",
    "class",
    "class_name",
    "cell_type",
    "celltype",
    "type",
    "category",
    "diagnosis",
    "target",
    "y",
)
GROUP = (
    "patient", "patient_id", "patientid", "subject", "subject_id", "case", "case_id", "donor", "individual",
    "slide", "slide_id", "slide_name", "wsi", "smear", "specimen", "block", "site", "center", "centre",
)  # fmt: skip
BOX = ("box", "bbox", "bounding_box")
_CORNERS: Sequence[Mapping[str, str]] = (
    {"x": "x", "y": "y", "w": "w", "h": "h"},
    {"x": "x", "y": "y", "w": "width", "h": "height"},
    {"x": "left", "y": "top", "w": "width", "h": "height"},
    {"x": "bbox_x", "y": "bbox_y", "w": "bbox_w", "h": "bbox_h"},
    {"x": "x", "y": "y"},
)
_CLASSES_AT_MOST = 50


@dataclass(frozen=True)
class Columns:
    """What was found: names of the table's own columns ("" where there is none), and why."""

    image: str
    label: str
    group: str
    box: Mapping[str, str]
    said: tuple[str, ...]
    warned: tuple[str, ...]


def find_columns(
    table: pl.DataFrame, path: Path, *, label: str = "", group: str = "", bag: str = ""
) -> Columns:
    """Return which columns of `table` (text) are what; `label`, `group` and `bag` are what the user named.

    Raises UsageError when the images or the labels cannot be told.
    """
    for asked, option in ((label, "--label"), (group, "--group"), (bag, "--bag")):
        if asked and asked not in table.columns:
            raise UsageError(f"{path} has no column '{asked}' ({option}); it has {', '.join(table.columns)}.")
    image = _named(table, IMAGE) or _with_image_names(table)
    if not image:
        raise UsageError(
            f"No column of {path} names images (it has {', '.join(table.columns)}); call it 'image'."
        )
    box = _box(table)
    taken = {image, *box.values()}
    found_group = group or _named(table, GROUP, without={*taken, label})
    found_label = label or _label(table, path, {*taken, found_group, bag})
    said = [f"images: column '{image}'"]
    said.append(f"label: column '{found_label}'{'' if label else ' (guessed; --label names another)'}")
    if box:
        said.append(f"boxes: {', '.join(f'{ours} = {theirs!r}' for ours, theirs in box.items())}")
    warned = []
    if found_group and not group:
        warned.append(
            f"group: column '{found_group}' was guessed as what must never be split (patient, slide); "
            "--group names another"
        )
    elif found_group:
        said.append(f"group: column '{found_group}'")
    return Columns(image, found_label, found_group, box, tuple(said), tuple(warned))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _named(table: pl.DataFrame, names: Sequence[str], without: set[str] | None = None) -> str:
    by_plain = {_plain(column): column for column in reversed(table.columns) if column not in (without or ())}
    return next((by_plain[name] for name in names if name in by_plain), "")


def _with_image_names(table: pl.DataFrame) -> str:
    """Return the first column most of whose values end like image files."""
    for column in table.columns:
        values = table[column].drop_nulls().head(200).to_list()
        images = sum(Path(str(value)).suffix.lower() in IMAGE_SUFFIXES for value in values)
        if values and images > 0.9 * len(values):
            return column
    return ""


def _label(table: pl.DataFrame, path: Path, taken: set[str]) -> str:
    named = _named(table, LABEL, without=taken)
    if named:
        return named
    numbers = {column: table[column].n_unique() for column in table.columns if column not in taken}
    few = [column for column, n in numbers.items() if 2 <= n <= min(_CLASSES_AT_MOST, len(table) // 2)]
    if len(few) == 1:
        return few[0]
    could = f" ({' or '.join(few)} could be)" if few else ""
    raise UsageError(
        f"Which column of {path} is the label cannot be told{could}; name it with --label (there are "
        f"{', '.join(table.columns)})."
    )


def _box(table: pl.DataFrame) -> dict[str, str]:
    whole = _named(table, BOX)
    if whole:
        return {"box": whole}
    by_plain = {_plain(column): column for column in reversed(table.columns)}
    for corners in _CORNERS:
        if all(theirs in by_plain for theirs in corners.values()):
            return {ours: by_plain[theirs] for ours, theirs in corners.items()}
    return {}
