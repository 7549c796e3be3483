"""Files with the features of one slide, as TRIDENT, STAMP and CLAM write them.

TRIDENT and CLAM: H5 with `features` [n, d] (also [1, n, d]) and `coords` [n, 2], pixels of level 0; STAMP: H5
with `feats` [n, d] and `coords` [n, 2], micrometres; older tools: a .pt file with one tensor [n, d] and no
coordinates.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cytobench.errors import DataError, MissingDataError, UsageError

SUFFIXES = (".h5", ".hdf5", ".pt")
_KEYS = ("features", "feats")
_CHUNK = 8192  # rows read at once

Coordinates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SlideFile:
    """What the header of a slide's file says: its rows, the length of a feature, and the tiles' corners.

    `coords`: float64 [rows, 2], None where the file has none; `encoder`: as the other tool calls it.
    """

    path: Path
    rows: int
    dim: int
    coords: Coordinates | None
    encoder: str


def slides_in(folder: Path) -> dict[str, Path]:
    """Return the files of features below `folder` by slide: the path without its ending, sorted.

    Hidden files, such as those macOS leaves on shares, are no slides. Raises MissingDataError where there
    are none, DataError where one slide has two files.
    """
    if not folder.is_dir():
        raise MissingDataError(
            f"There is no folder of features at {folder}: correct the path in the card; it should hold a "
            "file a slide, as TRIDENT (features_<encoder>/) and STAMP write them."
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        slide = inside.with_suffix("").as_posix()
        if slide in found:
            raise DataError(f"{folder} has two files of the slide {slide}: {found[slide].name}, {path.name}.")
        found[slide] = path
    if not found:
        raise MissingDataError(
            f"{folder} holds no file of features ({', '.join(SUFFIXES)}): name the folder that holds a file "
            "a slide."
        )
    if {slide.partition("/")[0] for slide in found} >= {"h5_files", "pt_files"}:
        raise DataError(f"{folder} holds every slide twice: name {folder / 'h5_files'} in the card.")
    return found


def read_slide(path: Path) -> SlideFile:
    """Read a slide's shape and coordinates; raises DataError for a file of another layout."""
    with _opened(path) as (features, coords, encoder):
        shape = features.shape[1:] if features.ndim == 3 else features.shape
        return SlideFile(path, int(shape[0]), int(shape[1]), coords, encoder)


def read_features(path: Path) -> Iterator[npt.NDArray[Any]]:
    """Yield the features of a slide as stored, [b, d] at a time; raises DataError."""
    with _opened(path) as (features, _, _):
        rows = features.shape[-2]
        for start in range(0, rows, _CHUNK):
            part = slice(start, min(start + _CHUNK, rows))
            yield np.asarray(features[0, part] if features.ndim == 3 else features[part])


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a slide's numbers: features and coordinates, no attribute, path or date."""
    digest = hashlib.sha256()
    slide = read_slide(path)
    digest.update(f"{slide.rows},{slide.dim}".encode())
    for part in read_features(path):
        little = part.astype(part.dtype.newbyteorder("<"), copy=False)
        digest.update(little.dtype.str.encode() + np.ascontiguousarray(little).tobytes())
    if slide.coords is not None:
        digest.update(slide.coords.astype("<f8").tobytes())
    return digest.hexdigest()


def places_of(slide: SlideFile) -> list[str]:
    """Return the name of every row within its slide: its coordinates, or without them `<number>/<rows>`.

    Coordinates that occur again are numbered, so that every row has a name of its own.
    """
    if slide.coords is None:
        return [f"{row}/{slide.rows}" for row in range(slide.rows)]
    rounded = np.round(slide.coords, 2)
    names = [f"{_number(x)},{_number(y)}" for x, y in rounded.tolist()]
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        again = seen[name] = seen.get(name, -1) + 1
        if again:
            names[row] = f"{name}~{again}"
    return names


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:.2f}"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Coordinates | None, str]]:
    """Open a file and yield its features ([n, d] or [1, n, d], not yet read), coordinates and encoder."""
    if path.suffix.lower() == ".pt":
        yield _tensor(path), None, ""
        return
    try:
        import h5py
    except ImportError:
        raise UsageError(
            f"{path.name} is an H5 file, which needs h5py: pip install 'cytobench-harness[h5]'."
        ) from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as H5 ({error}): it may be half written.") from error
    with file:
        key = next((name for name in _KEYS if isinstance(file.get(name), h5py.Dataset)), None)
        if key is None:
            held = ", ".join(sorted(file)) or "nothing"
            raise DataError(f"{path} holds {held}, but no 'features' (TRIDENT, CLAM) or 'feats' (STAMP).")
        features = file[key]
        _require_rows(path, features.shape, features.dtype)
        coords = _coords(path, file, features.shape[-2])
        attributes = {**dict(features.attrs), **dict(file.attrs)}
        yield features, coords, str(attributes.get("extractor", attributes.get("encoder", "")))


def _coords(path: Path, file: Any, rows: int) -> Coordinates | None:
    if "coords" not in file:
        return None
    coords = np.asarray(file["coords"], np.float64)
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if coords.shape != (rows, 2):
        raise DataError(f"{path} has {rows} features and coordinates of shape {list(coords.shape)}.")
    if not np.isfinite(coords).all():
        raise DataError(f"{path} has coordinates that are not finite.")
    return coords


def _require_rows(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    if shape == (0,):
        raise DataError(f"{path} holds no features at all: remove it, or compute them again.")
    if len(shape) == 1:
        raise DataError(
            f"{path} holds one vector of the whole slide (shape {list(shape)}); a bag needs a feature a tile."
        )
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1) or np.dtype(dtype).kind != "f":
        raise DataError(f"{path} holds {dtype} of shape {list(shape)}, not features [n, d].")


def _tensor(path: Path) -> npt.NDArray[Any]:
    import torch

    try:
        zipped = zipfile.is_zipfile(path)  # what PyTorch before 1.6 wrote cannot be mapped into memory
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # pickles, half files and old formats all raise something else
        raise DataError(
            f"{path} cannot be read as a tensor ({type(error).__name__}): save a plain tensor [n, d] with "
            "torch.save, or use H5."
        ) from error
    if not isinstance(found, torch.Tensor):
        held = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise DataError(f"{path} holds {held}, not one tensor [n, d].")
    tensor = found.float() if found.dtype == torch.bfloat16 else found
    array = tensor.detach().numpy()
    _require_rows(path, array.shape, array.dtype)
    return array
