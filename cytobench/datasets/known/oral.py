"""Oral cavity: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="oral-cytology",
        title="Oral brush samples: patches of ten slides imaged twice (OralScreen)",
        reader="cytobench.datasets.oral_cytology:read",
        folders=("oral-cytology",),
        licence="MIT, with citation of code and papers",
        citation="Lu et al., ICIAR 2020, LNCS 12132 (arXiv:1910.10549)",
        url="https://github.com/MIDA-group/OralScreen",
        notes="The project publishes mosaics; cut them on their 80 px grid into one PNG a patch.",
    ),
)
