"""The synthetic set on disk: written once, all or nothing, and read as a manifest."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cytobench import manifest
from cytobench.errors import DataError
from cytobench.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from cytobench.datasets.synthetic.plan import Picture

VERSION = "synthetic-v1"
"""Changes whenever a pixel or a row of the generated set changes."""

PARTS = ("breast-fna", "cell-type")
TABLE = "table.csv"

_STAMP = "VERSION"
_STALE_SECONDS = 24 * 3600.0


def is_complete(root: Path) -> bool:
    """Say whether `root` holds this version of the set, whole."""
    try:
        return (root / _STAMP).read_text(encoding="utf-8").strip() == VERSION and (root / TABLE).is_file()
    except OSError:
        return False


def generate(root: Path, *, reporter: Reporter | None = None) -> Path:
    """Write the synthetic cells into `root` unless they are there already, and return `root`.

    The pictures are drawn in a folder beside `root` that is renamed at the end: `root` holds all or nothing,
    also when killed or when several processes do this at once. The result depends on nothing but VERSION.
    Raises DataError when `root` holds something else or cannot be written.
    """
    root = Path(root)
    if is_complete(root):
        return root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(
            f"{root} is in the way of the {VERSION} cells: it holds something else; move or remove it."
        )
    try:
        _write_then_rename(root, reporter or SilentReporter())
    except OSError as error:
        raise DataError(
            f"The synthetic cells cannot be written to {root}: {error.strerror or error}; "
            "free some space (100 MB) or choose another folder."
        ) from error
    return root


def _write_then_rename(root: Path, reporter: Reporter) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", suffix=".partial", dir=root.parent))
    try:
        _draw_all(draft, reporter)
        draft.chmod(0o755)
        _publish(draft, root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, root: Path) -> None:
    """Rename `draft` to `root`; another process that was faster has written the same pictures."""
    try:
        if root.is_dir():
            root.rmdir()
        draft.rename(root)
    except OSError:
        if not is_complete(root):
            raise


def _sweep(root: Path) -> None:
    """Remove what killed runs left behind, once nobody can be writing there any more."""
    for old in root.parent.glob(f".{root.name}-*.partial"):
        try:
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:
            continue


def _draw_all(folder: Path, reporter: Reporter) -> None:
    from cytobench.datasets.synthetic.plan import pictures
    from cytobench.datasets.synthetic.workers import draw_everything

    planned = pictures()
    with reporter.task("Drawing synthetic cells", len(planned)) as step:
        draw_everything(folder, step)
    _write_table(folder, planned)


def _write_table(folder: Path, planned: Iterable[Picture]) -> None:
    table = pl.DataFrame([picture.row() for picture in planned], infer_schema_length=None).sort("sample")
    table.write_csv(folder / TABLE)
    (folder / _STAMP).write_text(VERSION + "\n", encoding="utf-8")


def read(root: Path, part: str = "cell-type") -> pl.DataFrame:
    """Return the manifest of one part of the generated set in `root`.

    `part` is "cell-type" (labels: seven cell types; each slide holds all of them) or "breast-fna" (a bag is
    a slide, labels benign and malignant; `instance_label` is the truth of every cell, `kind` its type).
    Raises DataError when the set is not there or `part` is unknown.
    """
    root = Path(root)
    if part not in PARTS:
        raise DataError(f"The synthetic cells have no part '{part}'; choose one of {', '.join(PARTS)}.")
    if not is_complete(root):
        raise DataError(f"{root} does not hold the {VERSION} cells; generate them first.")
    table = pl.read_csv(root / TABLE, infer_schema=False).filter(pl.col("part") == part).drop("part")
    if part == "cell-type":
        table = table.drop("bag", "instance_label", "kind")
    folder = str(root.resolve())
    image = (pl.lit(folder + os.sep) + pl.col("sample").str.replace_all("/", os.sep, literal=True)).alias(
        "image"
    )
    group = pl.col("patient").alias("group")
    return manifest.conform(table.with_columns(image, group))
