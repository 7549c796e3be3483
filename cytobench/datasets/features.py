"""Slides whose features another tool computed: a folder with a file a slide, and a table of their labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl

from cytobench import manifest
from cytobench.datasets import DataWarning
from cytobench.datasets.listing import refuse
from cytobench.datasets.slide_files import SlideFile, places_of, read_slide, slides_in
from cytobench.datasets.table import load, renamed
from cytobench.errors import DataError, counted

_OF_IMAGES = {"image", "box", "x", "y", "w", "h", "sample"}


def read(
    root: Path, *, labels: Path, columns: Mapping[str, str] | None = None, incomplete: bool = False
) -> pl.DataFrame:
    """Return the manifest of the slides in the folder `root`: a row a tile, named `<slide>#<x>,<y>`.

    `labels`: a table with a row a slide (CSV, TSV or Parquet) whose columns are kept; `columns` maps them to
    the manifest's, such as `{slide = "slide_id", label = "diagnosis", patient = "case"}`. Slides are named by
    their files without ending. Slides without a label and labels without a slide are refused, unless
    `incomplete` allows them. Raises DataError that lists all problems.
    """
    slides = slides_in(root)
    problems: list[str] = []
    table = _labelled(labels, columns or {}, root)
    if "slide" not in table.columns:
        raise DataError(
            f"{labels} has no column 'slide' (found: {', '.join(table.columns)}): name it so, or map it with "
            'columns = { slide = "…" }.'
        )
    table = table.drop([name for name in _OF_IMAGES if name in table.columns])
    table = table.with_columns(pl.Series("slide", _known_as(table["slide"].to_list(), slides)))
    problems += _twice(table)
    lacking = _unmatched(table, slides)
    if incomplete:
        for sentence in lacking:
            warnings.warn(f"{sentence}; left out", DataWarning, stacklevel=2)
        table = table.filter(pl.col("slide").is_in(list(slides)))
    else:
        problems += lacking
    wanted = [slide for slide in slides if slide in set(table["slide"])]
    read_ones = _read_all({slide: slides[slide] for slide in wanted}, problems)
    if problems:
        hint = (
            [] if incomplete or not lacking else ["or leave slides out with options = { incomplete = true }"]
        )
        refuse(root, problems + hint)
    return manifest.conform(_rows(read_ones).join(table, on="slide", how="left", maintain_order="left"))


def _labelled(path: Path, columns: Mapping[str, str], root: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(
            f"The table of labels {path} of the slides in {root.name} does not exist: correct labels in the "
            "card's dataset."
        )
    return renamed(load(path), columns, path)


def _known_as(names: list[str | None], slides: Mapping[str, Path]) -> list[str | None]:
    """Return the slides' own names for those of the table, which may end as the slide's image does."""
    stems = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names if name}
    return [stems[name] if name and name not in slides and stems[name] in slides else name for name in names]


def _twice(table: pl.DataFrame) -> list[str]:
    nameless = table["slide"].is_null().sum()
    found = [f"{counted(int(nameless), 'row')} of the labels without a slide"] if nameless else []
    twice = table.drop_nulls("slide").filter(pl.col("slide").is_duplicated())["slide"].unique().sort()
    return found + (
        [
            (
                f"{counted(len(twice), 'slide has', 'slides have')} several rows of labels: "
                f"{manifest.name_some(twice)}"
            )
        ]
        if len(twice)
        else []
    )


def _unmatched(table: pl.DataFrame, slides: Mapping[str, Path]) -> list[str]:
    labelled = set(table["slide"].drop_nulls())
    without = sorted(set(slides) - labelled)
    lost = sorted(labelled - set(slides))
    found = []
    if without:
        found.append(
            f"{counted(len(without), 'slide has', 'slides have')} features and no label: "
            f"{manifest.name_some(without)}"
        )
    if lost:
        found.append(
            f"{counted(len(lost), 'slide has', 'slides have')} a label and no features: "
            f"{manifest.name_some(lost)}"
        )
    return found


def _read_all(slides: Mapping[str, Path], problems: list[str]) -> dict[str, SlideFile]:
    read_ones: dict[str, SlideFile] = {}
    empty = []
    for slide, path in slides.items():
        try:
            read_ones[slide] = read_slide(path)
        except DataError as error:
            problems.append(str(error).rstrip("."))
            continue
        if not read_ones[slide].rows:
            empty.append(slide)
    if empty:
        problems.append(
            f"{counted(len(empty), 'slide')} without rows, which would be an empty bag: "
            f"{manifest.name_some(empty)}"
        )
    return read_ones


def _rows(slides: Mapping[str, SlideFile]) -> pl.DataFrame:
    parts = []
    for slide, one in slides.items():
        at = one.coords if one.coords is not None else np.full((one.rows, 2), np.nan)
        parts.append(
            pl.DataFrame(
                {
                    "sample": [f"{slide}#{place}" for place in places_of(one)],
                    "image": [str(one.path)] * one.rows,
                    "slide": [slide] * one.rows,
                    "x": at[:, 0],
                    "y": at[:, 1],
                },
                schema_overrides={"sample": pl.String, "image": pl.String, "slide": pl.String},
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame(schema={"sample": pl.String, "slide": pl.String})
