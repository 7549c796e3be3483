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
    DatasetInfo(
        name="sipakmed",
        title="Pap-smear cells cropped from cluster images, 5 classes (SIPaKMeD)",
        reader="cytobench.datasets.sipakmed:read",
        folders=("sipakmed", "SIPaKMeD", "SIPAKMED"),
        licence="none formal: research and experiments, with citation",
        citation="Plissiti et al., SIPAKMED, IEEE ICIP 2018",
        url="https://www.cs.uoi.gr/~marina/sipakmed.html",
        show_images=False,
        organ="cervix",
        preparation="conventional Pap smear",
        counts={
            "Superficial-Intermediate": 831,
            "Parabasal": 787,
            "Koilocytotic": 825,
            "Metaplastic": 793,
            "Dyskeratotic": 813,
        },
        group="the cluster image a cell was cropped from (966); slides and patients are not known",
        known_confounds=(
            "All cells of a cluster image are of one class and share its stain and light: a split over "
            "single cells leaks the image. Every cell was cropped by hand, so the size of its file tells of "
            "its class."
        ),
        layout=(
            "im_<Class>/im_<Class>/CROPPED/<cluster>_<cell>.bmp   (or im_<Class>/CROPPED/…)",
            "im_<Class>/im_<Class>/<cluster>.bmp   cluster images",
            "im_<Class>/…/*.dat   contours, not read",
        ),
        access="by hand",
    ),
    DatasetInfo(
        name="hicervix",
        title="Cervical cells in a tree of three levels, 26 annotated classes (HiCervix)",
        reader="cytobench.datasets.hicervix:read",
        folders=("hicervix", "HiCervix"),
        licence="GPL-3.0, non-commercial academic purposes",
        citation="Cai et al., HiCervix, IEEE Transactions on Medical Imaging 2024, 10.1109/TMI.2024.3419697",
        url="https://zenodo.org/records/11087263",
        organ="cervix",
        preparation="liquid-based",
        counts={
            "Normal": 3454,
            "ECC": 2272,
            "RPC": 2111,
            "MPC": 1591,
            "PG": 1563,
            "Atrophy": 1484,
            "EMC": 1529,
            "HCG": 887,
            "ASC-US": 2599,
            "LSIL": 1744,
            "ASC-H": 1437,
            "HSIL": 1988,
            "SCC": 1072,
            "AGC": 2089,
            "AGC-NOS": 2205,
            "AGC-FN": 1114,
            "ADC": 1311,
            "AGC-ECC-NOS": 1065,
            "AGC-EMC-NOS": 253,
            "ADC-ECC": 244,
            "ADC-EMC": 108,
            "FUNGI": 2047,
            "ACTINO": 2018,
            "TRI": 1697,
            "HSV": 1248,
            "CC": 1099,
        },
        group="none is given: names are random, slides and patients are not known",
        known_confounds=(
            "Cells of one slide may stand on both sides of the official split. Crops differ in size from "
            "class to class. Cells annotated no finer than AGC, AGC-NOS or ADC may look like the classes "
            "below."
        ),
        official_split="train, val and test in one CSV each (28,160, 4,018 and 8,051 cells)",
        layout=(
            "{train,val,test}/<name>.jpg",
            "{train,val,test}.csv   image_name,class_name,class_id,level_1,level_2,level_3",
        ),
        access="open",
    ),
    DatasetInfo(
        name="cric",
        title="Points on nuclei in conventional Pap-smear fields, 6 Bethesda classes (CRIC Cervix)",
        reader="cytobench.datasets.cric:read",
        folders=("cric", "CRIC", "cric-cervix"),
        licence="CC-BY-4.0",
        citation="Rezende et al., Scientific Data 8 (2021) 151",
        url="https://doi.org/10.6084/m9.figshare.c.4960286.v2",
        organ="cervix",
        preparation="conventional Pap smear, 40x",
        counts={"NILM": 6779, "ASC-US": 606, "LSIL": 1360, "ASC-H": 925, "HSIL": 1703, "SCC": 161},
        group="the parent image (400); patients are not known",
        known_confounds=(
            "A field holds few classes, SCC comes from 21 fields: stain and light of a field hint at its "
            "cells' classes, and a split over single cells leaks the field. Windows of neighbours overlap."
        ),
        layout=(
            "classifications.csv   image_id, image_filename, image_doi, cell_id, bethesda_system,",
            "                      nucleus_x, nucleus_y",
            "images/<image_filename>   (or any folder)",
        ),
        access="open",
    ),
    DatasetInfo(
        name="apacc",
        layout_compared=False,
        title="Cells of conventional Pap smears, 4 classes, official train and test part (APACC)",
        reader="cytobench.datasets.apacc:read",
        folders=("apacc", "APACC"),
        licence="see the OSF page: not verified here",
        citation="APACC, Scientific Data 2024, 10.1038/s41597-024-03596-3",
        url="https://osf.io/fp2xe/",
        show_images=False,
        organ="cervix",
        preparation="conventional Pap smear",
        group="the smear (107), which file names may tell: see the reader's option smear",
        known_confounds=(
            "Whether the official parts share smears is not stated where we could read. Rubbish differs from "
            "cells in colour and sharpness; bothcells are pictures that hold a healthy and an unhealthy cell."
        ),
        official_split="train and test, as folders",
        layout=(
            "train/<class>/<cell>.png",
            "test/<class>/<cell>.png",
            "classes: healthy, unhealthy, rubbish, bothcells",
        ),
        access="open",
    ),
    DatasetInfo(
        name="bmt",
        layout_compared=False,
        title="ThinPrep cervical cytology fields, 3 classes (Brown Multicellular ThinPrep)",
        reader="cytobench.datasets.bmt:read",
        folders=("bmt", "BMT"),
        licence="see Synapse: not verified here",
        citation="Welch et al., BMT, Scientific Data 2024, 10.1038/s41597-024-04328-3",
        url="https://www.synapse.org/Synapse:syn55262661",
        show_images=False,
        organ="cervix",
        preparation="liquid-based (ThinPrep), Papanicolaou",
        counts={"NIL": 200, "LSIL": 200, "HSIL": 200},
        group="the patient (180), whose id file names may tell: see the reader's option patient",
        known_confounds=(
            "600 fields of 180 patients: fields of one patient may stand on both sides of a split unless the "
            "names tell the patient. Third parties reach an AUROC of 0.99 with many networks: an easy set."
        ),
        layout=("NIL/<field>.<image>", "LSIL/<field>.<image>", "HSIL/<field>.<image>"),
        access="registration",
    ),
)
