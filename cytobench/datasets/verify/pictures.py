"""Every image decoded, and files that are the same byte for byte."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from cytobench import images
from cytobench.datasets.verify.files import FolderFiles
from cytobench.digests import FileDigests
from cytobench.errors import DataError, counted
from cytobench.findings import Finding
from cytobench.progress import Reporter


def broken_images(paths: Sequence[Path], root: Path, reporter: Reporter) -> list[Finding]:
    """Decode all images, in parallel, and tell those that cannot be decoded, and those without a byte."""
    empty: list[str] = []
    broken: list[str] = []
    workers = max(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 1
    )
    with (
        reporter.task("decoding images", len(paths)) as step,
        ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool,
    ):
        for path, trouble in zip(paths, pool.map(_trouble, paths), strict=True):
            step.advance()
            if trouble:
                named = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                (empty if trouble == "empty" else broken).append(named)
    findings = []
    if empty:
        findings.append(
            Finding(
                "empty image files",
                "fail",
                f"{counted(len(empty), 'image has', 'images have')} no byte.",
                "Unpack or download them again.",
                tuple(empty),
            )
        )
    if broken:
        findings.append(
            Finding(
                "images decode",
                "fail",
                f"{len(broken):,} of {len(paths):,} images cannot be decoded: half there, or no image.",
                "Unpack or download them again.",
                tuple(broken),
            )
        )
    return findings or [Finding("images decode", "pass", f"All {len(paths):,} images decode.")]


def byte_duplicates(
    found: FolderFiles, table: pl.DataFrame | None, digests: FileDigests, reporter: Reporter
) -> Finding:
    """Tell image files that repeat another one byte for byte, and which of them stand under two classes."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in found.images:
        if size := path.stat().st_size:
            by_size[size].append(path)
    suspects = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
    question = "byte-identical files"
    try:
        found_digests = digests.sha256_many(suspects, reporter)
    except DataError as error:
        return Finding(question, "fail", str(error))
    first: dict[str, Path] = {}
    pairs = []
    for path, digest in zip(suspects, found_digests, strict=True):
        original = first.setdefault(digest, path)
        if original is not path:
            pairs.append((original, path))
    if not pairs:
        return Finding(question, "pass", f"No two of the {len(found.images):,} image files are the same.")
    classes = _classes(table)
    torn = sum(_class(one, classes) != _class(other, classes) for one, other in pairs)
    across = f", {torn:,} of them in another class" if torn else ""
    return Finding(
        question,
        "warn",
        f"Byte for byte like another one: {counted(len(pairs), 'image file')}{across}.",
        "The reader may leave them out (see its remarks); on two sides of a split they flatter every score.",
        tuple(f"{found.named(other)} = {found.named(one)}" for one, other in pairs),
    )


def _trouble(path: Path) -> str:
    try:
        if not path.stat().st_size:
            return "empty"
        images.decode(path)
    except (DataError, OSError):
        return "broken"
    return ""


def _classes(table: pl.DataFrame | None) -> dict[str, str]:
    """Return the label of every image, and of every folder, that has just one."""
    if table is None:
        return {}
    folder = pl.col("image").str.replace(r"[^/\\]*$", "").str.strip_chars_end("/\\")
    rows = table.drop_nulls("label").select("image", "label", folder=folder)
    found: dict[str, str] = {}
    for key in ("folder", "image"):
        labels = rows.group_by(key).agg(pl.col("label").unique())
        found |= {name: several[0] for name, several in labels.iter_rows() if len(several) == 1}
    return found


def _class(path: Path, classes: dict[str, str]) -> str:
    """Return the label of an image, that of its folder where no row names it, or else the folder's name."""
    place = path.absolute()
    return classes.get(str(place)) or classes.get(str(place.parent)) or path.parent.name
