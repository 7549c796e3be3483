"""Normal blood cells as MedMNIST cut them from PBC, 8 classes, with the official split (BloodMNIST).

The download is one `bloodmnist.npz` (28 px), `bloodmnist_64.npz`, `bloodmnist_128.npz` or
`bloodmnist_224.npz` with `{train,val,test}_images` (uint8 [n, s, s, 3]) and `{train,val,test}_labels` (uint8
[n, 1]). Features are computed from image files, so `prepare` writes one PNG an image:
`bloodmnist_224/<split>/<class>/00017.png`, the number being the row in the array. Licence: CC BY 4.0. Source:
https://zenodo.org/records/10519652.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from cytobench import manifest
from cytobench.datasets.class_folders import ClassImage, Found, sort_out
from cytobench.datasets.listing import refuse
from cytobench.datasets.pbc import CLASSES
from cytobench.errors import CardError, DataError, MissingDataError, name_some
from cytobench.progress import Reporter, Step

FILES: Mapping[int, str] = MappingProxyType(
    {
        28: "bloodmnist.npz",
        64: "bloodmnist_64.npz",
        128: "bloodmnist_128.npz",
        224: "bloodmnist_224.npz",
    }
)
"""The file of each size (side in px)."""

_SPLITS = manifest.SPLITS
_WORKERS = 4
_BATCH = 256
_FAST = 1  # zlib level: three times as fast as the default, files a fifth larger


def read(root: Path, *, size: int = 224) -> pl.DataFrame:
    """Return the manifest: a row a cell, `label` = `cell_type` (named as in pbc), the official `split`.

    size: the side of the images in px (28, 64, 128, 224), a folder `bloodmnist_<size>` each. Raises
    MissingDataError saying what to do when that folder is not there; DataError naming all problems, gaps in
    the numbering among them.
    """
    if size not in FILES:
        raise CardError(
            f"BloodMNIST has the sizes {', '.join(map(str, FILES))}, not {size}: correct the card."
        )
    folder = root / f"bloodmnist_{size}"
    if not folder.is_dir():
        raise _unprepared(root, size)
    missing = [split for split in _SPLITS if not (folder / split).is_dir()]
    if missing:
        refuse(folder, [f"the folders {', '.join(missing)} are missing: {_again(size)}"])
    found = Found()
    rows: list[tuple[str, ...]] = []
    for split in _SPLITS:
        own = sort_out(folder / split, CLASSES, optional=CLASSES)
        found.problems += [f"{split}: {problem}" for problem in (*own.problems, *_gaps(own.images, size))]
        found.left_out += [f"{split}: {said}" for said in own.left_out]
        rows += [
            (f"{folder.name}/{split}/{image.label}/{image.name}", image.path, image.label, split)
            for image in own.images
        ]
    found.checked(folder)
    table = pl.DataFrame(
        rows, schema=dict.fromkeys(("sample", "image", "label", "split"), pl.String), orient="row"
    )
    return manifest.conform(table.with_columns(pl.col("label").alias("cell_type")))


def prepare(source: Path, target: Path, reporter: Reporter) -> None:
    """Write the images of every BloodMNIST file in `source` (a folder or one npz) as PNG below `target`.

    A size appears under its own name only when it is complete; one that is there is left as it is. Raises
    DataError when there is no such file, or one that is damaged or holds something else.
    """
    files = _npz_files(source)
    if not files:
        raise MissingDataError(
            f"{source} holds none of {', '.join(FILES.values())}: download one of them from "
            "https://zenodo.org/records/10519652 and put it there."
        )
    for size, path in files.items():
        folder = target / f"bloodmnist_{size}"
        if folder.is_dir():
            reporter.say(f"{folder.name} is there already; remove it to have it made again.")
            continue
        _write(path, size, folder, reporter)
        reporter.say(f"{folder.name} is ready.")


def _npz_files(source: Path) -> dict[int, Path]:
    if source.is_file():
        return {size: source for size, name in FILES.items() if name == source.name}
    return {size: source / name for size, name in FILES.items() if (source / name).is_file()}


def _unprepared(root: Path, size: int) -> MissingDataError:
    here = _npz_files(root)
    if size in here:
        return MissingDataError(
            f"{root} holds {here[size].name} but not yet its images as files: run "
            "`cytobench data prepare bloodmnist`."
        )
    others = f" (only {name_some(path.name for path in here.values())})" if here else ""
    return MissingDataError(
        f"{root} holds neither bloodmnist_{size}/ nor {FILES[size]}{others}: download it from "
        "https://zenodo.org/records/10519652, put it there and run `cytobench data prepare bloodmnist`."
    )


def _again(size: int) -> str:
    return f"remove the folder and run `cytobench data prepare bloodmnist` on {FILES[size]} again"


def _gaps(images: list[ClassImage], size: int) -> list[str]:
    """Say which numbers are missing from a split, or no numbers at all: `prepare` counts from 0."""
    odd = [image.name for image in images if not image.name.partition(".")[0].isdecimal()]
    if odd:
        return [f"images are named by their number, these are not: {name_some(odd)}"]
    numbers = {int(image.name.partition(".")[0]) for image in images}
    lost = sorted(set(range(max(numbers, default=-1) + 1)) - numbers)
    if lost or len(numbers) < len(images):
        what = f"the images {name_some(lost)} are missing" if lost else "some numbers stand twice"
        return [f"{what}: {_again(size)}"]
    return []


def _write(path: Path, size: int, folder: Path, reporter: Reporter) -> None:
    """Write one file's images into `folder`, under another name until all are there."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            labels = {split: _labels(archive, path, split) for split in _SPLITS}
            total = sum(len(own) for own in labels.values())
            with reporter.task(f"writing {path.name} as PNG", total) as step:
                for split, own in labels.items():
                    _write_split(archive, path, split, own, (unfinished / split, size), step)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, a missing right: said as such
        raise DataError(f"{path} is damaged ({error}): download it again.") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(folder)


def _labels(archive: zipfile.ZipFile, path: Path, split: str) -> list[str]:
    with _member(archive, path, f"{split}_labels") as stream:
        numbers = np.lib.format.read_array(stream, allow_pickle=False).reshape(-1)
    unknown = sorted({int(number) for number in numbers} - set(range(len(CLASSES))))
    if unknown:
        raise DataError(
            f"{path}: {split}_labels holds {name_some(unknown)}, known are 0 to 7: not BloodMNIST."
        )
    return [CLASSES[int(number)] for number in numbers]


def _write_split(
    archive: zipfile.ZipFile,
    path: Path,
    split: str,
    labels: list[str],
    place: tuple[Path, int],
    step: Step,
) -> None:
    folder, size = place
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    expected = (len(labels), size)
    with _member(archive, path, f"{split}_images") as stream, ThreadPoolExecutor(_WORKERS) as pool:
        places = (folder / label / f"{row:05d}.png" for row, label in enumerate(labels))
        pictures = zip(places, _pictures(stream, path, split, expected), strict=True)
        while batch := list(islice(pictures, _BATCH)):
            for _ in pool.map(_save, batch):
                step.advance()


def _pictures(
    stream: IO[bytes], path: Path, split: str, expected: tuple[int, int]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images uint8 [s, s, 3] one by one: the whole array of 224 px would take 1.8 GB."""
    n, size = expected
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = header(stream)
    if shape != (n, size, size, 3) or by_column or dtype != np.uint8:
        raise DataError(
            f"{path}: {split}_images is {dtype} {list(shape)}, not uint8 {[n, size, size, 3]}: "
            "this is not BloodMNIST."
        )
    length = size * size * 3
    for _ in range(n):
        data = stream.read(length)
        if len(data) < length:
            raise EOFError(f"{split}_images ends early")
        yield np.frombuffer(data, dtype=np.uint8).reshape(size, size, 3)
    if stream.read(1):  # reading to the end also lets zipfile compare its checksum
        raise EOFError(f"{split}_images is longer than it says")


def _save(picture: tuple[Path, npt.NDArray[np.uint8]]) -> None:
    path, pixels = picture
    Image.fromarray(pixels).save(path, compress_level=_FAST)


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> IO[bytes]:
    try:
        return archive.open(f"{name}.npy")
    except KeyError:
        raise DataError(
            f"{path} has no array {name} (it has {name_some(sorted(archive.namelist()))}): not BloodMNIST."
        ) from None
