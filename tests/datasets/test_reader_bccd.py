"""Blood fields with boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DataWarning, bccd
from cytobench.errors import DataError

OBJECT = (
    "<object><name>{}</name><bndbox>"
    "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


def plant(root: Path, draw: Callable[..., Path], fields: dict[str, list[tuple[object, ...]]]) -> Path:
    folder = root / "BCCD"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for index, (name, objects) in enumerate(fields.items()):
        draw(folder / "JPEGImages" / f"{name}.jpg", size=(64, 48))
        body = "".join(OBJECT.format(*one) for one in objects)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation><path>/x</path>{body}</annotation>")
        split = ("train", "val", "test")[index % 3]
        with (folder / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
            file.write(name + "\n")
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(list(fields)[:2]))
    return root


FIELDS: dict[str, list[tuple[object, ...]]] = {
    "BloodImage_00001": [("RBC", 3, 4, 13, 24), ("WBC", 0, 0, 64, 48)],
    "BloodImage_00003": [("Platelets", 1, 2, 3, 4)],
    "BloodImage_00002": [("RBC", 5, 5, 6, 7)],
}


def test_boxes_become_rows_with_the_official_split(tmp_path: Path, draw: Callable[..., Path]) -> None:
    table = bccd.read(plant(tmp_path, draw, FIELDS))
    assert table.select("sample", "box", "label", "field", "split").rows() == [
        ("BCCD/JPEGImages/BloodImage_00001.jpg#0", [3, 4, 10, 20], "RBC", "BloodImage_00001", "train"),
        ("BCCD/JPEGImages/BloodImage_00001.jpg#1", [0, 0, 64, 48], "WBC", "BloodImage_00001", "train"),
        ("BCCD/JPEGImages/BloodImage_00002.jpg#0", [5, 5, 1, 2], "RBC", "BloodImage_00002", "test"),
        ("BCCD/JPEGImages/BloodImage_00003.jpg#0", [1, 2, 2, 2], "Platelets", "BloodImage_00003", "val"),
    ]


def test_boxes_without_area_are_left_out_and_told(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, FIELDS | {"BloodImage_00338": [("RBC", 7, 9, 7, 9), ("RBC", 1, 1, 2, 2)]})
    with pytest.warns(DataWarning, match=r"1 BCCD box .* BloodImage_00338 \(RBC at 7,9\)"):
        table = bccd.read(root)
    assert table.filter(table["field"] == "BloodImage_00338")["sample"].to_list() == [
        "BCCD/JPEGImages/BloodImage_00338.jpg#1"
    ]


def test_all_bad_files_are_told_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    folder = plant(tmp_path, draw, FIELDS) / "BCCD"
    (folder / "Annotations" / "BloodImage_00001.xml").write_text("<annotation><object>")
    (folder / "Annotations" / "BloodImage_00002.xml").unlink()
    draw(folder / "JPEGImages" / "BloodImage_00009.jpg")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("BloodImage_00001\nBloodImage_00003\n")
    with pytest.raises(DataError) as caught:
        bccd.read(tmp_path)
    message = str(caught.value)
    assert "BloodImage_00001.xml is damaged" in message
    assert "BloodImage_00002.xml is missing" in message
    assert "BloodImage_00009.jpg is in none of" in message
    assert "two official splits: BloodImage_00001" in message


@pytest.mark.filterwarnings("ignore::cytobench.datasets.DataWarning")
def test_the_real_set_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    table = bccd.read(real("bccd"))
    counts = dict(table["label"].value_counts().rows())
    assert counts == {"RBC": 4155 - 2, "WBC": 372, "Platelets": 361}
    fields = table.select("field", "split").unique()
    assert dict(fields["split"].value_counts().rows()) == {"train": 205, "val": 87, "test": 72}
