"""Effusions and other body fluids: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="bcfc",
        layout_compared=False,
        title="Body cavity fluids, benign and malignant fields (BCFC, Kaggle)",
        reader="cytobench.datasets.bcfc:read",
        folders=("bcfc", "BCFC", "body-cavity-fluid-cytology-images"),
        licence="stated on the Kaggle page only",
        citation="cmacus, Body Cavity Fluid Cytology Images, Kaggle",
        url="https://www.kaggle.com/datasets/cmacus/body-cavity-fluid-cytology-images",
        show_images=False,
        organ="body cavity fluid",
        preparation="effusion smear, Leishman",
        total=693,
        group="not known: no patient ids, so fields of one patient may stand on both sides",
        known_confounds=(
            "Unbalanced. How fields were chosen and on which microscope is not said: fields of one patient, "
            "and a background that differs by class, may tell the label."
        ),
        layout=(
            "bcfc/",
            "  benign/….png",
            "  malignant/….png   (both may lie up to three folders deeper)",
        ),
        access="registration",
    ),
)
