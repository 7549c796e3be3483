"""Made by CytoBench itself: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="synthetic",
        title="Synthetic stained cells and slides, made by CytoBench itself",
        reader="cytobench.datasets.synthetic:read",
        folders=("synthetic-v1",),
        licence="Apache-2.0",
        citation="CytoBench",
        url="",
        generated=True,
    ),
)
