"""A small data set in FNAC 2019's layout, as facts, as a folder and as archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cytobench.datasets import DATASETS, DatasetInfo, Download

FIELDS = ("B/B_1.png", "B/B_2.png", "B/B_3.png", "M/M_1.png", "M/M_2.png", "M/M_3.png")


def picture(seed: int) -> bytes:
    """Return a small PNG, another one for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


PICTURES: Mapping[str, bytes] = {name: picture(number) for number, name in enumerate(FIELDS)}


def toy(*files: Download) -> DatasetInfo:
    """Return the facts of the toy set."""
    return replace(
        DATASETS["fnac-2019"],
        name="toy",
        title="Toy fields",
        folders=("toy",),
        counts={"benign": 3, "malignant": 3},
        licence="CC0-1.0",
        citation="Toy et al.",
        url="https://toy.example/page",
        layout=("toy/", "  B/", "  M/"),
        files=files,
        access="open" if files else "by hand",
    )


def zipped(contents: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of `contents`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def taped(contents: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """Return a tar.gz archive of `contents`, with more entries of any kind."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in extra:
            archive.addfile(entry)
    return file.getvalue()


def below(folder: str, contents: Mapping[str, bytes] = PICTURES) -> dict[str, bytes]:
    """Return `contents` with every name below `folder`."""
    return {f"{folder}/{name}": content for name, content in contents.items()}


def plant(root: Path, contents: Mapping[str, bytes] = PICTURES) -> Path:
    """Write `contents` below `root`."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Return every file below `root` with its bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
