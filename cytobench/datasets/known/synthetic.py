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
        organ="none",
        preparation="painted cells and fields",
        group="slide (cell types), patient (breast aspirates)",
        known_confounds="None by design: colour, light, blur and bag size are independent of the class.",
        layout=("written by CytoBench below its home folder at first use",),
        access="generated",
    ),
)
