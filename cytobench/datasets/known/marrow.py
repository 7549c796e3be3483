"""Bone marrow: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo

DATASETS = (
    DatasetInfo(
        name="mll-bone-marrow",
        title="Bone marrow cells of 945 patients, 21 classes (MLL, Helmholtz, Fraunhofer)",
        reader="cytobench.datasets.mll_bone_marrow:read",
        folders=(
            "mll-bone-marrow",
            "BM_cytomorphology_data",
            "bone_marrow_cell_dataset",
            "Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer",
        ),
        licence="CC-BY-4.0",
        citation="Matek et al., Blood 138 (2021) 1917-1927; doi:10.7937/TCIA.AXH3-T579",
        url="https://www.cancerimagingarchive.net/collection/bone-marrow-cytomorphology_mll_helmholtz_fraunhofer/",
        notes=(
            "The reader's option at_most = 1000 keeps so many cells a class, always the same, for machines "
            "that cannot encode 171,374."
        ),
        organ="bone marrow",
        preparation="bone marrow smear, May-Grünwald-Giemsa/Pappenheim, 40x, oil immersion, 250x250 px",
        counts={
            "abnormal eosinophil": 8,
            "artefact": 19_630,
            "basophil": 441,
            "blast": 11_973,
            "erythroblast": 27_395,
            "eosinophil": 5883,
            "faggot cell": 47,
            "hairy cell": 409,
            "smudge cell": 42,
            "immature lymphocyte": 65,
            "lymphocyte": 26_242,
            "metamyelocyte": 3055,
            "monocyte": 4040,
            "myelocyte": 6557,
            "band neutrophil": 9968,
            "segmented neutrophil": 29_424,
            "not identifiable": 3538,
            "other cell": 294,
            "proerythroblast": 2740,
            "plasma cell": 7629,
            "promyelocyte": 11_994,
        },
        group="not known: 945 patients, but no ids were published, so cells of one stand on both sides",
        known_confounds=(
            "Rare classes may come from few patients (hairy cells, faggot cells, abnormal eosinophils), "
            "whose stain then tells the class. 'Not identifiable', 'other cell' and 'artefact' are no cell "
            "types. One laboratory. The archive counts 171,375 files, the paper and this table 171,374."
        ),
        layout=(
            "mll-bone-marrow/",
            "  BM_cytomorphology_data/",
            "    ABE/ABE_00001.jpg …   (up to 1,000 cells: no folder in between)",
            "    BLA/0001-1000/BLA_00001.jpg … BLA/11001-11973/",
            "    ART/ BAS/ EBO/ EOS/ FGC/ HAC/ KSC/ LYI/ LYT/ MMZ/",
            "    MON/ MYB/ NGB/ NGS/ NIF/ OTH/ PEB/ PLM/ PMO/",
        ),
        access="by hand",
    ),
)
