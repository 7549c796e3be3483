"""Breast: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="fnac-2019",
        title="Breast fine-needle aspirates, benign and malignant fields (FNAC 2019)",
        reader="cytobench.datasets.fnac_2019:read",
        folders=("fnac-2019", "FNAC2019", "FNAC-2019", "FNAC 2019"),
        licence="not stated",
        citation="Saikia et al., Tissue and Cell 57 (2019) 8-14",
        url="https://1drv.ms/u/s!Al-T6d-_ENf6axsEbvhbEc2gUFs",
        show_images=False,
    ),
)
