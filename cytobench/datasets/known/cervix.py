"""Cervix: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="herlev",
        title="Single Pap-smear cells, 7 classes (DTU/Herlev)",
        reader="cytobench.datasets.herlev:read",
        folders=("herlev", "smear2005"),
        licence="not stated: private evaluation only",
        citation="Jantzen et al., Pap-smear Benchmark Data For Pattern Classification, NiSIS 2005",
        url="https://mde-lab.aegean.gr/index.php/downloads/",
        show_images=False,
        notes="The public archive also holds a mask <name>-d.bmp of every cell, which is not read.",
        organ="cervix",
        preparation="conventional Pap smear, single cells",
        counts={
            "carcinoma_in_situ": 150,
            "light_dysplastic": 182,
            "moderate_dysplastic": 146,
            "normal_columnar": 98,
            "normal_intermediate": 70,
            "normal_superficiel": 74,
            "severe_dysplastic": 197,
        },
        group="acquisition key: the file name without its last number; no patient ids were published",
        known_confounds=(
            "Every file is cropped round one cell: width and height alone reach 0.27 in seven classes and "
            "0.60 in two. Pad, never stretch."
        ),
        layout=(
            "herlev/",
            "  New database pictures/",
            "    carcinoma_in_situ/149143370-149143378-001.BMP …",
            "    light_dysplastic/ moderate_dysplastic/ severe_dysplastic/",
            "    normal_columnar/ normal_intermediate/ normal_superficiel/",
        ),
        unread=("*-d.bmp", "*-D.BMP", "*-d.BMP"),
    ),
    DatasetInfo(
        name="mendeley-lbc",
        title="Liquid-based cervical cytology fields, 4 classes",
        reader="cytobench.datasets.mendeley_lbc:read",
        folders=("mendeley-lbc",),
        licence="CC-BY-4.0",
        citation="Hussain et al., Data in Brief 30 (2020) 105589",
        url="https://data.mendeley.com/datasets/zddtpgzv63/4",
        notes=(
            "963 fields of 460 patients. Numbers a class are unverified and not given here. Copies at "
            "512x512 have rotated and smoothed abnormal fields: normal against abnormal is an artefact there."
        ),
        organ="cervix",
        preparation="liquid-based Pap (SurePath), 40x",
        total=963,
        group="name's prefix (HSIL_3): by all appearance the slide or patient, the source does not say",
        known_confounds="In copies at 512x512 sharpness alone tells normal from abnormal (0.93, chance 0.5).",
        layout=(
            "mendeley-lbc/",
            "  High squamous intra-epithelial lesion/HSIL_1 (1).jpg …   (or HSIL/)",
            "  Low squamous intra-epithelial lesion/                    (or LSIL/)",
            "  Negative for Intraepithelial malignancy/                 (or NL/)",
            "  Squamous cell carcinoma/                                 (or SCC/)",
        ),
    ),
)
