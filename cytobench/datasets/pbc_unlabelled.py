"""Unlabelled blood cells for pretraining, all in one folder, disjoint from the labelled set `pbc`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.listing import images_in, refuse


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row an image, all labels null. Raises DataError when there is no image."""
    images = images_in(root)
    if not images:
        refuse(root, ["no image in it: unpack the files 000001.jpg, 000002.jpg … there"])
    return manifest.conform(
        pl.DataFrame(
            {"sample": [image.name for image in images], "image": [str(image.absolute()) for image in images]}
        )
    )
