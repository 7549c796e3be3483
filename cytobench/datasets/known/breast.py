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
        notes=(
            "2048x1536 px a field, read as 48 tiles of 256 px. Copies with 2,120 images hold augmented "
            "versions of these 212: never mix them in."
        ),
        organ="breast",
        preparation="fine-needle aspirate",
        counts={"benign": 99, "malignant": 113},
        group="field: no patient ids were published, fields of one patient may stand on both sides",
        known_confounds="No colour-only baseline is published: read the nulls beside every score.",
        official_split=(
            "none; a public one of 169 and 43 fields (TCT-InfoNCE, arXiv:2407.11486) as the reader's option "
            'split = "tct-infonce"'
        ),
        layout=("fnac-2019/", "  B/   (99 benign fields, the number in the name)", "  M/   (113 malignant)"),
    ),
)
