"""Folders of slide features in the exact layouts of TRIDENT, STAMP and CLAM, and cards that read them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch

SLIDES = tuple(f"case{n:02d}.{'AB'[n % 2]}" for n in range(12))
PATIENTS = {slide: f"patient{n // 2}" for n, slide in enumerate(SLIDES)}
LABELS = {slide: ("benign", "malignant")[n // 2 % 2] for n, slide in enumerate(SLIDES)}

COLUMNS = 'columns = { slide = "slide_id", label = "diagnosis", patient = "case" }'
Array = npt.NDArray[np.floating]


def tiles(slide: str, dim: int, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the features [n, dim] and corners [n, 2] of a slide; what encoders see of one class is alike."""
    place = SLIDES.index(slide)
    count = 5 + place % 3
    rng = np.random.default_rng([seed, place])
    signal = (1.5 if LABELS[slide] == "malignant" else 0.0) * np.eye(dim)[0]
    coords = np.stack([512 * np.arange(count), np.full(count, 512 * place)], axis=1)
    return (rng.normal(size=(count, dim)) + signal).astype(np.float32), coords


def trident(folder: Path, *, dim: int = 8, seed: int = 1, batched: bool = False) -> Path:
    """Write what TRIDENT's feature extraction writes: `<job>/20x_256px_0px_overlap/features_<encoder>/`."""
    folder.mkdir(parents=True)
    for slide in SLIDES:
        features, coords = tiles(slide, dim, seed)
        with h5py.File(folder / f"{slide}.h5", "w") as file:
            file["features"] = features[None] if batched else features
            file["coords"] = coords
            file["features"].attrs.update({"name": slide, "savetodir": str(folder), "encoder": folder.name})
            for key, value in {
                "patch_size": 256,
                "patch_size_level0": 512,
                "level0_magnification": 40,
                "target_magnification": 20,
                "overlap": 0,
                "name": slide,
                "savetodir": str(folder),
                "level0_width": 80_000,
                "level0_height": 60_000,
            }.items():
                file["coords"].attrs[key] = value
    return folder


def stamp(folder: Path, *, dim: int = 6, seed: int = 2) -> Path:
    """Write what STAMP's preprocessing writes: half precision, micrometres, attributes of the file."""
    folder.mkdir(parents=True)
    for slide in SLIDES:
        features, coords = tiles(slide, dim, seed)
        with h5py.File(folder / f"{slide}.h5", "w") as file:
            file["coords"] = coords * 0.5
            file["feats"] = features.astype(np.float16)
            file.attrs["stamp_version"] = "2.3.0"
            file.attrs["extractor"] = "virchow2"
            file.attrs["unit"] = "um"
            file.attrs["tile_size_um"] = 256.0
            file.attrs["tile_size_px"] = 224
            file.attrs["code_hash"] = "0" * 64
    return folder


def tensors(folder: Path, *, dim: int = 4, seed: int = 3) -> Path:
    """Write what older tools write: one tensor a slide and nothing else."""
    folder.mkdir(parents=True)
    for slide in SLIDES:
        torch.save(torch.from_numpy(tiles(slide, dim, seed)[0]), folder / f"{slide}.pt")
    return folder


def labels(path: Path, slides: tuple[str, ...] = SLIDES, ending: str = ".svs") -> Path:
    """Write the table of the slides under another lab's names of columns."""
    lines = [f"{slide}{ending};{LABELS[slide]};{PATIENTS[slide]}" for slide in slides]
    path.write_text("\n".join(["slide_id;diagnosis;case", *lines]) + "\n")
    return path


def task_card(folder: str, name: str = "slides") -> str:
    """Return a task card over a folder of features."""
    return f"""
name = "{name}"
title = "Benign or malignant"
dataset = {{ format = "features", path = "../{folder}", labels = "../slides.csv", {COLUMNS} }}
group = "patient"
split = {{ folds = 3 }}
probes = ["mean-linear", "abmil"]
"""


def backbone_card(name: str, folder: str, dim: int) -> str:
    """Return a card of an encoder known by its features alone."""
    return f"""
name = "{name}"
title = "{name}"
loader = "precomputed"
weights = "../{folder}"
dim = {dim}
pretrained_on = ["mass-100k"]
domain = "histology"
licence = "CC-BY-NC-ND-4.0"
citation = "its authors"
"""


def project(root: Path) -> Path:
    """Write a plugin folder with two encoders' features of the same tiles, and their cards."""
    trident(root / "features_uni_v1", dim=8, seed=1)
    trident(root / "features_phikon", dim=5, seed=4, batched=True)
    labels(root / "slides.csv")
    for kind in ("tasks", "backbones"):
        (root / kind).mkdir(exist_ok=True)
    (root / "tasks" / "slides.toml").write_text(task_card("features_uni_v1"))
    (root / "backbones" / "uni-h5.toml").write_text(backbone_card("uni-h5", "features_uni_v1", 8))
    (root / "backbones" / "phikon-h5.toml").write_text(backbone_card("phikon-h5", "features_phikon", 5))
    return root
