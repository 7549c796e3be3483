"""Single Pap-smear cells, 7 classes (DTU/Herlev, Jantzen et al. 2005).

Layout: `New database pictures/<class>/<name>.BMP`; the public archive adds a mask `<name>-d.bmp` a cell,
skipped here. The licence is not stated: private evaluation only. Source:
https://mde-lab.aegean.gr/index.php/downloads/.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cytobench import manifest
from cytobench.datasets.listing import images_in, locate, refuse

FOLDER = "New database pictures"
NORMAL = ("normal_columnar", "normal_intermediate", "normal_superficiel")
ABNORMAL = ("carcinoma_in_situ", "light_dysplastic", "moderate_dysplastic", "severe_dysplastic")


def read(root: Path) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type` (7), `diagnosis` (normal, abnormal), `group`.

    The group is the file name without its last number, which looks like an acquisition key; there are no
    patient ids. Raises DataError naming all missing class folders.
    """
    classes = sorted(NORMAL + ABNORMAL)
    folder = locate(root, classes, within=(FOLDER, f"smear2005/{FOLDER}"))
    missing = [name for name in classes if not (folder / name).is_dir()]
    if missing:
        refuse(folder, [f"the class folders {', '.join(missing)} are missing: unpack the whole archive"])
    cells = [(name, image) for name in classes for image in images_in(folder / name) if not _is_mask(image)]
    return manifest.conform(
        pl.DataFrame(
            {
                "sample": [f"{FOLDER}/{name}/{image.name}" for name, image in cells],
                "image": [str(image.absolute()) for _, image in cells],
                "label": [name for name, _ in cells],
                "cell_type": [name for name, _ in cells],
                "diagnosis": ["normal" if name in NORMAL else "abnormal" for name, _ in cells],
                "group": [image.stem.rpartition("-")[0] or image.stem for _, image in cells],
            }
        )
    )


def _is_mask(image: Path) -> bool:
    return image.stem.lower().endswith("-d")
