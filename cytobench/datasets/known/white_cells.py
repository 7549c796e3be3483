"""White blood cells cut out singly: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo, Download

_MEDMNIST = "https://zenodo.org/records/10519652/files"
_NO_PATIENTS = "not known: no patient ids were published, so cells of one smear stand on both sides"

DATASETS = (
    DatasetInfo(
        name="bloodmnist",
        title="Normal peripheral blood cells as MedMNIST cut them, 8 classes (BloodMNIST)",
        reader="cytobench.datasets.bloodmnist:read",
        folders=("bloodmnist", "BloodMNIST"),
        licence="CC-BY-4.0",
        citation="Yang et al., MedMNIST v2, Scientific Data 10 (2023) 41; images: Acevedo et al. 2020",
        url="https://zenodo.org/records/10519652",
        same_smears_as=("pbc", "pbc-unlabelled"),
        notes=(
            "The images are those of pbc, centre-cropped to 200 px and resized. Each npz is read only after "
            "`cytobench data prepare bloodmnist` has written it out as files."
        ),
        organ="blood",
        preparation="peripheral blood smear, May-Grünwald-Giemsa, CellaVision DM96",
        counts={
            "basophil": 1218,
            "eosinophil": 3117,
            "erythroblast": 1551,
            "ig": 2895,
            "lymphocyte": 1214,
            "monocyte": 1420,
            "neutrophil": 3329,
            "platelet": 2348,
        },
        group=_NO_PATIENTS,
        known_confounds=(
            "The same pictures as pbc: never a second data set, and pairs that are byte-identical there may "
            "stand on both sides of the official split. Cell size in the frame is a cue; the crop cuts the "
            "rim of large cells off. One laboratory, one scanner, one stain."
        ),
        official_split="7:1:2, train 11,959, val 1,712, test 3,421 (by cell)",
        layout=(
            "bloodmnist/",
            "  bloodmnist_224.npz   (or bloodmnist.npz, bloodmnist_64.npz, bloodmnist_128.npz), from which",
            "  `cytobench data prepare bloodmnist` makes",
            "  bloodmnist_224/",
            "    train/basophil/00013.png …   (the number is the row in the array)",
            "    train/eosinophil/ erythroblast/ ig/ lymphocyte/ monocyte/ neutrophil/ platelet/",
            "    val/ test/   (as train)",
        ),
        files=(
            Download(
                f"{_MEDMNIST}/bloodmnist_224.npz?download=1",
                "bloodmnist_224.npz",
                md5="b718ff6835fcbdb22ba9eacccd7b2601",
            ),
            Download(
                f"{_MEDMNIST}/bloodmnist_128.npz?download=1",
                "bloodmnist_128.npz",
                md5="adace1e0ed228fccda1f39692059dd4c",
                optional=True,
            ),
            Download(
                f"{_MEDMNIST}/bloodmnist_64.npz?download=1",
                "bloodmnist_64.npz",
                md5="2b94928a2ae4916078ca51e05b6b800b",
                optional=True,
            ),
            Download(
                f"{_MEDMNIST}/bloodmnist.npz?download=1",
                "bloodmnist.npz",
                size=35_461_855,
                md5="7053d0359d879ad8a5505303e11de1dc",
                optional=True,
            ),
        ),
        access="open",
        prepare="cytobench.datasets.bloodmnist:prepare",
        forms=({"size": 128}, {"size": 64}, {"size": 28}),
        unread=("*.npz",),
    ),
    DatasetInfo(
        name="aml-lmu",
        title="White blood cells of acute myeloid leukaemia and controls, 15 classes (LMU Munich)",
        reader="cytobench.datasets.aml_lmu:read",
        folders=(
            "aml-lmu",
            "AML-Cytomorphology_LMU",
            "AML-Cytomorphology",
            "PKG - AML-Cytomorphology_LMU",
        ),
        licence="CC-BY-3.0 as others quote it; see the collection's page",
        citation="Matek et al., Nature Machine Intelligence 1 (2019) 538-544; doi:10.7937/tcia.2019.36f5o9ld",
        url="https://www.cancerimagingarchive.net/collection/aml-cytomorphology_lmu/",
        notes="Second looks of two examiners are read where annotations.dat lies in the folder or beside it.",
        organ="blood",
        preparation="peripheral blood smear, M8 digital microscope (Precipoint), 100-fold, oil immersion",
        counts={
            "basophil": 79,
            "erythroblast": 78,
            "eosinophil": 424,
            "smudge cell": 15,
            "atypical lymphocyte": 11,
            "typical lymphocyte": 3937,
            "metamyelocyte": 15,
            "monoblast": 26,
            "monocyte": 1789,
            "myelocyte": 42,
            "myeloblast": 3268,
            "band neutrophil": 109,
            "segmented neutrophil": 8484,
            "bilobed promyelocyte": 18,
            "promyelocyte": 70,
        },
        group=_NO_PATIENTS,
        known_confounds=(
            "100 patients with leukaemia and 100 without: blasts come from the first, so anything that "
            "differs between the two sets of smears tells the class. The rarest classes have 11 to 18 cells."
        ),
        layout=(
            "aml-lmu/",
            "  AML-Cytomorphology_LMU/",
            "    BAS/BAS_0001.tiff …",
            "    EBO/ EOS/ KSC/ LYA/ LYT/ MMZ/ MOB/ MON/ MYB/ MYO/ NGB/ NGS/ PMB/ PMO/",
            "  annotations.dat   (second looks; may be missing)",
        ),
        access="by hand",
    ),
    DatasetInfo(
        name="raabin-wbc",
        layout_compared=False,
        title="Normal white blood cells of five types under two microscopes (Raabin-WBC)",
        reader="cytobench.datasets.raabin_wbc:read",
        folders=("raabin-wbc", "Raabin-WBC", "Cropped_double_labeled"),
        licence="free access, cite; no formal licence found",
        citation="Kouzehkanan et al., Scientific Reports 12 (2022) 1123",
        url="https://raabindata.com/free-data/",
        show_images=False,
        notes=(
            "The cropped, doubly labelled cells: Train.rar, TestA.rar and TestB.zip in "
            "http://dl.raabindata.com/WBC/Cropped_double_labeled/ (no published digests)."
        ),
        organ="blood",
        preparation="peripheral blood smear, Giemsa, smartphone cameras on two microscopes",
        counts={
            "basophil": 301,
            "eosinophil": 1066,
            "lymphocyte": 3461,
            "monocyte": 795,
            "neutrophil": 8891,
        },
        group="not known: no patient or smear ids in the cropped set",
        known_confounds=(
            "Some basophils are said to come from a patient with leukaemia: their smear tells the class. "
            "Test-B has another microscope, camera and therefore another scale, and only two of the five "
            "types."
        ),
        official_split=(
            "Train 10,175; Test-A 4,339 (same microscope); Test-B (another one), neutrophils and lymphocytes"
        ),
        layout=(
            "raabin-wbc/",
            "  Train/Basophil/….jpg   Train/Eosinophil/ Lymphocyte/ Monocyte/ Neutrophil/",
            "  TestA/Basophil/….jpg   TestA/Eosinophil/ Lymphocyte/ Monocyte/ Neutrophil/",
            "  TestB/Lymphocyte/….jpg TestB/Neutrophil/   (for the task across microscopes)",
        ),
        unread=("TestB/*", "test-b/*", "Test-B/*", "test_b/*"),
        access="by hand",
    ),
    DatasetInfo(
        name="mll23",
        layout_compared=False,
        title="White blood cells of routine smears, 18 classes (MLL23)",
        reader="cytobench.datasets.mll23:read",
        folders=("mll23", "MLL23"),
        licence="see the Zenodo record",
        citation="Shetab Boushehri et al., Scientific Data 12 (2025) 1773",
        url="https://zenodo.org/records/14277609",
        show_images=False,
        notes="One zip a class on Zenodo; unpack all 18 side by side.",
        organ="blood",
        preparation="peripheral blood smear, Pappenheim, MetaSystems Metafer, 288 px = 25 um",
        counts={
            "basophil": 616,
            "eosinophil": 2448,
            "hairy_cell": 3265,
            "lymphocyte": 5532,
            "lymphocyte_large_granular": 1849,
            "lymphocyte_neoplastic": 180,
            "lymphocyte_reactive": 33,
            "metamyelocyte": 483,
            "monocyte": 2510,
            "myeloblast": 8606,
            "myelocyte": 747,
            "neutrophil_band": 687,
            "neutrophil_segmented": 7170,
            "normoblast": 2071,
            "plasma_cell": 1658,
            "promyelocyte": 745,
            "promyelocyte_atypical": 2033,
            "smudge_cell": 988,
        },
        group=_NO_PATIENTS,
        known_confounds=(
            "Some classes belong to one disease (hairy cells, atypical promyelocytes), so the stain of few "
            "smears may tell the class. One laboratory, one scanner."
        ),
        layout=(
            "mll23/",
            "  basophil/….TIF   (one folder a class, as the zips unpack)",
            "  eosinophil/ hairy_cell/ lymphocyte/ lymphocyte_large_granular/ lymphocyte_neoplastic/",
            "  lymphocyte_reactive/ metamyelocyte/ monocyte/ myeloblast/ myelocyte/ neutrophil_band/",
            "  neutrophil_segmented/ normoblast/ plasma_cell/ promyelocyte/ promyelocyte_atypical/",
            "  smudge_cell/",
        ),
        access="open",
    ),
    DatasetInfo(
        name="aml-hehr",
        layout_compared=False,
        title="Patients with four genetic subtypes of acute myeloid leukaemia, and controls (MLL, Helmholtz)",
        reader="cytobench.datasets.aml_hehr:read",
        folders=(
            "aml-hehr",
            "AML-Cytomorphology_MLL_Helmholtz",
            "PKG - AML-Cytomorphology_MLL_Helmholtz_v1",
        ),
        licence="see the collection's page",
        citation="Hehr et al., PLOS Digital Health 2 (2023) e0000187; doi:10.7937/6ppe-4020",
        url="https://www.cancerimagingarchive.net/collection/aml-cytomorphology_mll_helmholtz/",
        show_images=False,
        organ="blood",
        preparation="peripheral blood smear, Pappenheim, MetaSystems Metafer, 144x144 px a cell",
        total=101_949,
        group="patient",
        known_confounds=(
            "Subtypes differ by what the blood holds (share of blasts), age and sex; controls are other "
            "people than patients, and leukaemia against control is told nearly without error."
        ),
        layout=(
            "aml-hehr/",
            "  PKG - AML-Cytomorphology_MLL_Helmholtz_v1/",
            "    metadata.csv   (patient_id, sex_1f_2m, age, bag_label, instance_count, …; may be missing)",
            "    data/",
            "      CBFB_MYH11/AQK/….tif …   (a folder a patient)",
            "      NPM1/ PML_RARA/ RUNX1_RUNX1T1/ control/",
        ),
        access="by hand",
    ),
)
