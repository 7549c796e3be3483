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
    DatasetInfo(
        name="breast-fnac",
        title="Breast fine-needle aspirates of several centres, patches of C1 to C5 (Yokohama)",
        reader="cytobench.datasets.breast_fnac:read",
        folders=("breast-fnac", "breast-cytology-main", "breast-cytology"),
        licence="not stated where the authors describe the set: read it at the Zenodo record (scripts: MIT)",
        citation=(
            "Patil, Jain, Sethi, A Multi-Center Breast FNAC Cytology Dataset for AI-Assisted Patch-wise "
            "Classification Using C1-C5 Reporting Categories, Zenodo 2026"
        ),
        url="https://doi.org/10.5281/zenodo.20763900",
        show_images=False,
        notes=(
            "Needs breast-cytology-main.zip alone, not the 950 GB of whole slides; the metadata in it say "
            "which patient a slide is of."
        ),
        organ="breast",
        preparation="fine-needle aspirate, Papanicolaou and May-Grunwald-Giemsa, 40x, 0.25 um/px",
        counts={"C1": 33, "C2": 3706, "C3": 478, "C4": 402, "C5": 2779},
        group="the patient (321), by the metadata: many have slides in both stains",
        known_confounds=(
            "Two stains (190 Papanicolaou, 280 May-Grunwald-Giemsa slides) and several centres are mixed, "
            "and may go with the diagnosis. C1, C3 and C4 come from 4, 11 and 11 patients: a recall there "
            "says little. Labels of patches are no final diagnoses of patients."
        ),
        official_split=(
            "a script of the authors makes a patient-level 70/15/15 split; no fixed lists are published"
        ),
        layout=(
            "patches/<WSI_ID>/{I,II,III,IV,V}/<WSI_ID>_x<X>_y<Y>.png",
            "metadata/master_metadata.csv   a line a slide: patient, diagnosis, stain, site",
            "geojson/<WSI_ID>.geojson       not read",
            "manifest/zenodo_files_manifest.csv   not read",
        ),
        access="open",
    ),
)
