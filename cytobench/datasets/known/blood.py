"""Blood and bone marrow: the known data sets, as facts."""

from __future__ import annotations

from cytobench.datasets.info import DatasetInfo, Download

_WBCATT = (
    "https://raw.githubusercontent.com/apple2373/wbcatt/ad255b80f6d56b9f72508b04466c3c4a2c95c97b/submission"
)
_CHULA = "fa130f48135d79bbd69f8e540b533511017d6896"
_BCCD = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"

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
        group="not known: no patient ids were published, so cells of one smear stand on both sides",
        known_confounds=(
            "Cell size in the frame is a cue (platelets and erythroblasts are small). One laboratory, one "
            "scanner, one stain. 17 pairs of files are byte-identical, one of them under two classes. "
            "Four cells are in pbc-unlabelled too, elsewhere in the picture: EO_246684 (000573), MO_257537 "
            "(002583), ERB_653702 (001955), ERB_174098 (001567)."
        ),
        layout=(
            "pbc/",
            "  PBC_dataset_normal_DIB/",
            "    basophil/BA_100102.jpg …",
            "    eosinophil/ erythroblast/ ig/ lymphocyte/ monocyte/ neutrophil/ platelet/",
            "  pbc_attr_v1_train.csv pbc_attr_v1_val.csv pbc_attr_v1_test.csv   (attributes; may be missing)",
        ),
        files=(
            Download(
                "https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/"
                "2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
                "PBC_dataset_normal_DIB.zip",
                unpack=True,
            ),
            Download(
                f"{_WBCATT}/pbc_attr_v1_train.csv",
                "pbc_attr_v1_train.csv",
                size=913_486,
                sha256="0ae43bc4e38740dd2d93859e3894af96cb570ebc709620fa41b5042c628ff9ec",
            ),
            Download(
                f"{_WBCATT}/pbc_attr_v1_val.csv",
                "pbc_attr_v1_val.csv",
                size=152_836,
                sha256="28a7c116c111e15652e995974770ceb91a1e123a9804d6a9c5e4a53d046be9a0",
            ),
            Download(
                f"{_WBCATT}/pbc_attr_v1_test.csv",
                "pbc_attr_v1_test.csv",
                size=459_041,
                sha256="f97100edd420a68d44fa15df11ef1f98a328813b9f5e9d49d67dbc20e89a73c5",
            ),
        ),
        access="open",
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
        notes=(
            "For pretraining only: same smears and patients as pbc. Not a download of its own: 5,800 other "
            "images of that set, in the order of the SHA-256 of 'pbc-unlabelled/' and the file name, at "
            "224 px."
        ),
        organ="blood",
        preparation="peripheral blood smear, May-Grünwald-Giemsa, CellaVision DM96",
        total=5800,
        group="not known; not for scoring",
        known_confounds="360x363 px were made square: 1 % wider than high. Encoded again as JPEG. "
        "Four pictures show cells of pbc, shifted: 000573, 001567, 001955 and 002583.",
        layout=("pbc-unlabelled/", "  000001.jpg … 005800.jpg"),
    ),
    DatasetInfo(
        name="chula-rbc12",
        title="Red blood cells in smear fields, typed points (Chula RBC-12)",
        reader="cytobench.datasets.chula_rbc12:read",
        folders=("chula-rbc12", "Chula-RBC-12-Dataset", "Chula-RBC-12-Dataset-main"),
        licence="MIT",
        citation="Naruenatthanaset et al., arXiv:2012.01321",
        url="https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset",
        notes=(
            "Of 738 fields 623 have a label file. Annotation is incomplete: an unmarked cell is not a "
            "negative. 22 pairs of fields are byte-identical and were annotated twice and differently."
        ),
        organ="blood",
        preparation="peripheral blood smear, fields of 640x480 px at 1000x",
        counts={
            "normal cell": 6330,
            "macrocyte": 689,
            "microcyte": 461,
            "spherocyte": 3449,
            "target cell": 2753,
            "stomatocyte": 1996,
            "ovalocyte": 2140,
            "teardrop": 307,
            "burr cell": 785,
            "schistocyte": 897,
            "uncategorised": 184,
            "hypochromia": 1063,
            "elliptocyte": 1052,
        },
        count_options={"border": 0},
        group="block of consecutive fields (id // 20): they show one smear, often overlapping",
        known_confounds=(
            "Folds by single field let 16 colour numbers reach 0.37 where folds by block leave 0.24 (chance "
            "0.09). Elliptocytes come from one stain batch (fields 707 to 738). Sizes carry the label: never "
            "rescale cells one by one. Some fields have a burnt-in scale bar. Cells of repeated fields carry "
            "contradicting labels: 268#12 is a burr cell and, as 274#3, a schistocyte; 270#2 hypochromic "
            "and, as 276#65, normal."
        ),
        layout=(
            "chula-rbc12/",
            "  Dataset/1.jpg …      (fields)",
            "  Label/1.txt …        (a line a cell: x y type)",
        ),
        unread=("RBC Diseases/*",),
        files=(
            Download(
                f"https://codeload.github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset/zip/{_CHULA}",
                "Chula-RBC-12-Dataset-fa130f48.zip",
                unpack=True,
            ),
        ),
        access="open",
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
        notes="Boxes are incomplete: judge recall, not precision. Two red-cell boxes have no area.",
        organ="blood",
        preparation="peripheral blood smear, fields of 640x480 px",
        counts={"Platelets": 361, "RBC": 4155, "WBC": 372},
        group="field: patients are not given",
        known_confounds=(
            "'Blood Cell Images' (12,500) and 'Complete Blood Count' are augmentations or relabellings of "
            "these 364 fields: never add them, never test across them. Some fields overlap, among them 386 "
            "(trained on) and 391 (tested), 227 and 260."
        ),
        official_split="train 205, val 87, test 72 fields (ImageSets/Main)",
        layout=(
            "bccd/",
            "  BCCD/",
            "    JPEGImages/BloodImage_00000.jpg …",
            "    Annotations/BloodImage_00000.xml …",
            "    ImageSets/Main/train.txt val.txt test.txt",
        ),
        unread=("example.jpg", "*/example.jpg"),
        files=(
            Download(
                f"https://codeload.github.com/Shenggan/BCCD_Dataset/zip/{_BCCD}",
                "BCCD_Dataset-d272fb14.zip",
                unpack=True,
            ),
        ),
        access="open",
    ),
    DatasetInfo(
        name="malaria-bags",
        title="Red cells of malaria patients and healthy donors (NIH/NLM)",
        reader="cytobench.datasets.malaria_bags:read",
        folders=("malaria-bags", "cell_images"),
        licence="public US government data, cite",
        citation="Rajaraman et al., PeerJ 6 (2018) e4568",
        url="https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html",
        notes=(
            "Also read as bags: <patient>/<parasitized|uninfected>/<file>.png with patients.csv. The "
            "official download has the two kinds in two folders; the patient is the C number of the name."
        ),
        organ="blood",
        preparation="thin blood smear, Giemsa, single red cells",
        counts={"parasitized": 13779, "uninfected": 13779},
        counted="instance_label",
        group="patient (150 infected, 50 healthy)",
        known_confounds=(
            "In the full set the number of cells tells a patient's label (median 68 healthy, 102.5 "
            "infected): cut bags of one size. Mean, spread and 1 % quantile of grey reach a patient AUC of "
            "0.83."
        ),
        layout=(
            "malaria-bags/",
            "  cell_images/",
            "    Parasitized/C33P1thinF_….png …",
            "    Uninfected/C1_thinF_….png …",
        ),
        files=(
            Download(
                "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",
                "cell_images.zip",
                size=353_452_851,
                sha256="0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
                unpack=True,
            ),
        ),
        access="open",
    ),
)
