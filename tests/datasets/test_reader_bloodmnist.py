"""BloodMNIST: an npz is written out as files once, then read like any set."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cytobench import images
from cytobench.datasets import DATASETS, bloodmnist, import_function
from cytobench.datasets.pbc import CLASSES
from cytobench.datasets.task import load_task
from cytobench.errors import CardError, DataError, MissingDataError
from cytobench.evaluation.examples import examples_of
from cytobench.evaluation.folds import outer_folds
from cytobench.progress import SilentReporter
from cytobench.registry import Registry

COUNTS = {"train": 17, "val": 8, "test": 9}


def arrays(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for split, n in COUNTS.items():
        made[f"{split}_images"] = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(n) % 8).astype(np.uint8)[:, None]
    return made


def plant(root: Path, size: int = 28, **changed: np.ndarray) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / bloodmnist.FILES[size], **(arrays(size) | changed))
    return root


def ready(root: Path, size: int = 28) -> Path:
    bloodmnist.prepare(plant(root, size), root, SilentReporter())
    return root


def test_every_image_becomes_a_file_with_its_pixels_its_split_and_its_class(tmp_path: Path) -> None:
    table = bloodmnist.read(ready(tmp_path), size=28)
    assert dict(table["split"].value_counts().rows()) == COUNTS
    assert table["label"].equals(table["cell_type"].alias("label"))
    assert set(table["label"]) == set(CLASSES) == set(DATASETS["bloodmnist"].counts)
    row = table.filter(table["sample"] == "bloodmnist_28/train/erythroblast/00010.png").row(0, named=True)
    assert np.array_equal(images.decode(row["image"]), arrays(28)["train_images"][10])
    assert row["box"] is None


def test_the_declared_function_prepares_every_size_that_is_there_once(tmp_path: Path) -> None:
    class Teller(SilentReporter):
        said: list[str] = []  # noqa: RUF012  # a reporter of this test alone

        def say(self, text: str) -> None:
            self.said.append(text)

    prepare = import_function(DATASETS["bloodmnist"].prepare)
    plant(tmp_path / "downloads", 28)
    plant(tmp_path / "downloads", 64)
    prepare(tmp_path / "downloads", tmp_path / "bloodmnist", Teller())
    assert sorted(path.name for path in (tmp_path / "bloodmnist").iterdir()) == [
        "bloodmnist_28",
        "bloodmnist_64",
    ]
    prepare(tmp_path / "downloads" / "bloodmnist.npz", tmp_path / "bloodmnist", Teller())
    assert Teller.said[-1].endswith("bloodmnist_28 is there already; remove it to have it made again.")


def test_an_npz_that_is_not_prepared_says_what_to_do(tmp_path: Path) -> None:
    plant(tmp_path, 224)
    with pytest.raises(
        MissingDataError, match=r"holds bloodmnist_224\.npz .* `cytobench data prepare bloodmnist`"
    ):
        bloodmnist.read(tmp_path)
    with pytest.raises(MissingDataError, match=r"neither bloodmnist_64/ nor .* \(only bloodmnist_224\.npz\)"):
        bloodmnist.read(tmp_path, size=64)
    with pytest.raises(CardError, match="sizes 28, 64, 128, 224, not 32"):
        bloodmnist.read(tmp_path, size=32)
    with pytest.raises(MissingDataError, match="holds none of"):
        bloodmnist.prepare(tmp_path / "elsewhere", tmp_path, SilentReporter())


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def flipped(path: Path) -> None:
    """Change one pixel behind the archive's back: only its checksum can tell."""
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("test_images.npy").header_offset
    whole[start + 400] ^= 0xFF
    path.write_bytes(bytes(whole))


@pytest.mark.parametrize("harm", [damaged, flipped])
def test_a_damaged_download_leaves_nothing_behind(tmp_path: Path, harm: object) -> None:
    root = tmp_path / "bloodmnist"
    root.mkdir()
    path = root / "bloodmnist.npz"
    np.savez(path, **arrays(28))
    assert callable(harm)
    harm(path)
    with pytest.raises(DataError, match=r"bloodmnist\.npz is damaged .* download it again"):
        bloodmnist.prepare(root, root, SilentReporter())
    assert [entry.name for entry in root.iterdir()] == ["bloodmnist.npz"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_labels": np.full((8, 1), 9, np.uint8)}, "val_labels holds 9, known are 0 to 7"),
        ({"test_images": np.zeros((9, 28, 28), np.uint8)}, r"test_images is uint8 \[9, 28, 28\], not uint8"),
        (
            {"test_images": np.zeros((3, 28, 28, 3), np.uint8)},
            r"\[3, 28, 28, 3\], not uint8 \[9, 28, 28, 3\]",
        ),
    ],
)
def test_another_data_set_is_refused(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    plant(tmp_path, 28, **changed)
    with pytest.raises(DataError, match=message):
        bloodmnist.prepare(tmp_path, tmp_path, SilentReporter())
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(2))
    (tmp_path / "bloodmnist.npz").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="has no array train_labels"):
        bloodmnist.prepare(tmp_path, tmp_path, SilentReporter())


def test_gaps_and_missing_parts_are_told_all_at_once(tmp_path: Path) -> None:
    folder = ready(tmp_path) / "bloodmnist_28"
    (folder / "train" / "erythroblast" / "00010.png").unlink()
    (folder / "val" / "basophil" / "00000.png").rename(folder / "val" / "basophil" / "mine.png")
    for name in ("test/platelet/00007.png",):
        (folder / name).unlink()
    with pytest.raises(DataError) as caught:
        bloodmnist.read(tmp_path, size=28)
    message = str(caught.value)
    assert "train: the images 10 are missing: remove the folder and run" in message
    assert "val: images are named by their number, these are not: mine.png" in message
    assert "test: the class folder platelet holds no image" in message


def test_the_card_fits_on_train_and_val_and_tests_on_test(tmp_path: Path) -> None:
    ready(tmp_path / "bloodmnist", 224)
    card = Registry.load(entry_points=False).tasks["cell-type-bloodmnist"]
    data = load_task(card, data_dirs=[tmp_path], home=tmp_path)
    folds = outer_folds(examples_of(data.table, data.classes, "cell"), card.split)
    assert (len(folds.train(0)), len(folds.test(0))) == (25, 9)
