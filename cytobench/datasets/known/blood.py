"""Blood and bone marrow: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="pbc",
        title="Normal peripheral blood cells, 8 classes (PBC_dataset_normal_DIB), with WBCAtt attributes",
        reader="cytobench.datasets.pbc:read",
        folders=("pbc", "PBC_dataset_normal_DIB"),
        licence="CC-BY-4.0 as published (attributes: MIT)",
        citation="Acevedo et al., Data in Brief 30 (2020) 105474; attributes: Tsutsui et al., NeurIPS 2023",
        url="https://data.mendeley.com/datasets/snkd93bnjr/1",
        same_smears_as=("pbc-unlabelled", "bloodmnist"),
        notes=(
            "The attributes need wbcatt_attributes.csv, or pbc_attr_v1_train.csv and its siblings from "
            "https://github.com/apple2373/wbcatt, beside the image folder."
        ),
    ),
    DatasetInfo(
        name="pbc-unlabelled",
        title="Blood cells for pretraining, 224 px, no labels, disjoint from pbc",
        reader="cytobench.datasets.pbc_unlabelled:read",
        folders=("pbc-unlabelled",),
        licence="CC-BY-4.0 as published",
        citation="Acevedo et al., Data in Brief 30 (2020) 105474",
        url="https://data.mendeley.com/datasets/snkd93bnjr/1",
        same_smears_as=("pbc", "bloodmnist"),
        notes="For pretraining only: same smears and patients as pbc.",
    ),
    DatasetInfo(
        name="chula-rbc12",
        title="Red blood cells in smear fields, typed points (Chula RBC-12)",
        reader="cytobench.datasets.chula_rbc12:read",
        folders=("chula-rbc12", "Chula-RBC-12-Dataset", "Chula-RBC-12-Dataset-main"),
        licence="MIT",
        citation="Naruenatthanaset et al., arXiv:2012.01321",
        url="https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset",
    ),
    DatasetInfo(
        name="bccd",
        title="Blood smear fields with boxes: red cells, white cells, platelets (BCCD)",
        reader="cytobench.datasets.bccd:read",
        folders=("bccd", "BCCD_Dataset", "BCCD_Dataset-master"),
        licence="MIT",
        citation="Shenggan, BCCD Dataset, 2017",
        url="https://github.com/Shenggan/BCCD_Dataset",
        same_smears_as=("blood-cell-images", "complete-blood-count"),
    ),
    DatasetInfo(
        name="malaria-bags",
        title="Red cells of malaria patients and healthy donors (NIH/NLM)",
        reader="cytobench.datasets.malaria_bags:read",
        folders=("malaria-bags", "cell_images"),
        licence="public US government data, cite",
        citation="Rajaraman et al., PeerJ 6 (2018) e4568",
        url="https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html",
    ),
)
