"""Is a data set on this disk what its publisher gave out? All questions at once, answered as findings."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench.datasets import import_function, listen
from cytobench.datasets.info import DatasetInfo
from cytobench.datasets.prepare import form_at, read_root
from cytobench.datasets.verify.checksums import checksums
from cytobench.datasets.verify.counts import class_counts, class_folders
from cytobench.datasets.verify.files import FolderFiles, leftovers, odd_names, unread_images, walk
from cytobench.datasets.verify.labels import label_files, text_files
from cytobench.datasets.verify.pictures import broken_images, byte_duplicates
from cytobench.digests import FileDigests
from cytobench.errors import CytoBenchError, counted
from cytobench.findings import Finding
from cytobench.progress import Reporter

__all__ = ["verify"]


def verify(
    info: DatasetInfo, root: Path, reporter: Reporter, *, home: Path, rehash: bool = False
) -> list[Finding]:
    """Examine the data set `info` at `root` and return what was found, all of it.

    Looked at: whether the reader reads it, its items class by class against the published counts, every
    image decoded, empty files, byte-identical files, images nobody reads, labels without images and images
    without labels, text files from other systems, odd names, and digests where a list of them lies beside.
    Digests of files are remembered below `home`, unless `rehash`.
    """
    root = root.absolute()
    found = walk(root)
    table, reading = _read(info, root)
    counted = _counted(info, root) if table is not None else None
    digests = FileDigests(home, rehash=rehash)
    return [
        *reading,
        *([class_counts(info, counted)] if counted is not None else []),
        *class_folders(info, found),
        *broken_images(_images(table, found), root, reporter),
        byte_duplicates(found, table, digests, reporter),
        *([unread_images(info, found, table)] if table is not None else []),
        *label_files(info, found),
        *text_files(found),
        *odd_names(found),
        *leftovers(found),
        checksums(root, found, digests, reporter),
    ]


def _read(info: DatasetInfo, root: Path) -> tuple[pl.DataFrame | None, list[Finding]]:
    """Return what the reader gives, as its tasks see it, and what it says of it."""
    try:
        table, said = listen(lambda: import_function(info.reader)(root, **form_at(info, root)))
    except CytoBenchError as error:
        problems = tuple(str(problem) for problem in getattr(error, "problems", ()))
        cure = f"`cytobench data show {info.name}` shows the official layout."
        return None, [Finding("the reader reads it", "fail", str(error), cure, problems)]
    files = table["image"].n_unique()
    groups = f" in {table['group'].n_unique():,} groups" if "group" in table.columns else ""
    return table, [
        Finding(
            "the reader reads it",
            "pass",
            f"{counted(len(table), 'item')} from {counted(files, 'image file')}{groups}.",
        ),
        *(Finding("the reader remarks", "warn", f"{remark.rstrip('.')}.") for remark in said),
    ]


def _counted(info: DatasetInfo, root: Path) -> pl.DataFrame | None:
    """Return the reader's rows with nothing left out by an option, where the published counts need that."""
    try:
        return read_root(info, root)
    except CytoBenchError:
        return None


def _images(table: pl.DataFrame | None, found: FolderFiles) -> list[Path]:
    if table is None:
        return list(found.images)
    return [Path(image) for image in table["image"].unique().sort().to_list()]
