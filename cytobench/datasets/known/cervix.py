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
    ),
    DatasetInfo(
        name="mendeley-lbc",
        title="Liquid-based cervical cytology fields, 4 classes",
        reader="cytobench.datasets.mendeley_lbc:read",
        folders=("mendeley-lbc",),
        licence="CC-BY-4.0",
        citation="Hussain et al., Data in Brief 30 (2020) 105589",
        url="https://data.mendeley.com/datasets/zddtpgzv63/4",
    ),
)
