"""Small trees in the layouts of the official downloads of cervix and breast sets, with a Mac's leftovers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cytobench.datasets import apacc, bmt, cric, hicervix, sipakmed

Draw = Callable[..., Path]

HICERVIX_HEADER = "image_name,class_name,class_id,level_1,level_2,level_3"
CRIC_HEADER = "image_id,image_filename,image_doi,cell_id,bethesda_system,nucleus_x,nucleus_y"
BREAST_HEADER = (
    "patient_id,slide_number,wsi_file_stem,stain_type,study_site,diagnosis_group,yokohama_category"
)


def sipakmed_tree(root: Path, draw: Draw, *, nested: bool = True) -> None:
    """Two cluster images a class, 2 and 1 cells, contours, and what a Mac leaves behind."""
    for name in sipakmed.CLASSES:
        inner = root / f"im_{name}" / (f"im_{name}" if nested else "")
        for cluster, cells in (("001", 2), ("012", 1)):
            draw(inner / f"{cluster}.bmp", size=(40, 30))
            for cell in range(1, cells + 1):
                draw(inner / "CROPPED" / f"{cluster}_{cell:02d}.bmp")
                for part in ("cyt", "nuc"):
                    (inner / "CROPPED" / f"{cluster}_{cell:02d}_{part}.dat").write_text("1.0,2.0\r\n")
        (inner / "CROPPED" / "._001_01.bmp").write_bytes(b"resource")
        (inner / "CROPPED" / ".DS_Store").write_bytes(b"x")


def hicervix_tree(root: Path, draw: Draw, *, end: str = "\n", separator: str = ",") -> None:
    """One cell of every annotated class in each part."""
    for split in hicervix.SPLITS:
        lines = [HICERVIX_HEADER]
        for number, (name, path) in enumerate(hicervix.TREE.items()):
            image = f"{split}-{number:02d}.jpg"
            draw(root / split / image)
            lines.append(",".join([image, name, str(number), *path, *[""] * (3 - len(path))]))
        text = end.join(lines).replace(",", separator) + end
        (root / f"{split}.csv").write_bytes(text.encode())


def cric_tree(root: Path, draw: Draw, *, end: str = "\n", images: str = "images") -> None:
    """Six fields with a cell of each class, one at each corner of a field."""
    lines = [CRIC_HEADER]
    for field in range(6):
        name = f"1e04572adb6ff9d025fb{field}.png"
        draw(root / images / name, size=(40, 30))
        for number, label in enumerate(cric.CLASSES):
            x, y = [(1, 1), (40, 30), (40, 1), (1, 30), (20, 15), (7, 9)][number]
            cell = field * 10 + number
            lines.append(f"{field},{name},10.6084/m9.figshare.{field},{cell},{label},{x},{y}")
    (root / "classifications.csv").write_bytes((end.join(lines) + end).encode())


def apacc_tree(root: Path, draw: Draw) -> None:
    """Two cells of each class in both parts."""
    for part in ("train", "test"):
        for name in apacc.CLASSES:
            for number in range(2):
                draw(root / part / name / f"{number}.png")


def bmt_tree(root: Path, draw: Draw) -> None:
    """Six fields of each class, of two tiles."""
    for name in bmt.CLASSES:
        for number in range(6):
            draw(root / name / f"{number}.jpg", size=(512, 256))


def breast_tree(root: Path, draw: Draw, *, end: str = "\n") -> None:
    """Six patients: five with one category each, P0 with a slide in both stains."""
    lines = [BREAST_HEADER]
    for number, folder in enumerate(("I", "II", "III", "IV", "V", "II")):
        patient = f"P{number % 5}"
        slide = f"11B{number}P"
        group = "Cancerous" if patient in ("P3", "P4") else "Non-cancerous"
        stain = "MGG" if number == 5 else "PAP"
        lines.append(f"{patient},{number},{slide},{stain},Centre A,{group},C{number}")
        for x in range(2):
            draw(root / "patches" / slide / folder / f"{slide}_x{x}_y7.png")
        (root / "patches" / slide / ".DS_Store").write_bytes(b"x")
    (root / "metadata").mkdir(parents=True)
    (root / "metadata" / "master_metadata.csv").write_bytes((end.join(lines) + end).encode("utf-8-sig"))
    (root / "geojson").mkdir()
    (root / "geojson" / "11B0P.geojson").write_text("{}")
