"""Red blood cells marked by typed points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cytobench.datasets import DataWarning, chula_rbc12
from cytobench.errors import DataError


def plant(root: Path, draw: Callable[..., Path], fields: dict[int, str], **twin: int) -> Path:
    (root / "Label").mkdir(parents=True, exist_ok=True)
    for number, lines in fields.items():
        draw(root / "Dataset" / f"{number}.jpg", size=(200, 120), like=str(twin.get(f"f{number}", number)))
        (root / "Label" / f"{number}.txt").write_text(lines)
    return root


def test_points_become_rows_with_their_block(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, {7: "50 60 0\r\n100 70 12\n\n", 25: "60 60 7\n", 40: "60 60 1", 3: ""})

    table = chula_rbc12.read(root)

    rows = table.select("sample", "cell_type", "field", "block", "block_parity").rows()
    assert rows == [
        ("Dataset/25.jpg#1", "teardrop", "25", "1", "odd"),
        ("Dataset/40.jpg#1", "macrocyte", "40", "2", "even"),
        ("Dataset/7.jpg#1", "normal cell", "7", "0", "even"),
        ("Dataset/7.jpg#2", "elliptocyte", "7", "0", "even"),
    ]
    assert table["box"].to_list()[3] == [100, 70, 0, 0]


def test_points_near_the_border_are_left_out(tmp_path: Path, draw: Callable[..., Path]) -> None:
    lines = "40 40 0\n39 60 0\n159 79 0\n160 60 0\n60 80 0\n"
    root = plant(tmp_path, draw, {1: lines})
    assert chula_rbc12.read(root)["sample"].to_list() == ["Dataset/1.jpg#1", "Dataset/1.jpg#3"]
    assert len(chula_rbc12.read(root, border=0)) == 5


def test_of_twice_annotated_fields_the_lowest_id_is_kept(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, {9: "50 60 0", 10: "50 60 3", 2: "60 60 1"}, f10=9)
    with pytest.warns(DataWarning, match=r"10 \(as 9\)"):
        table = chula_rbc12.read(root)
    assert set(table["field"]) == {"2", "9"}


def test_fields_without_a_label_file_are_told(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, {1: "50 60 0"})
    draw(root / "Dataset" / "2.jpg")
    with pytest.warns(DataWarning, match="1 Chula field without a label file"):
        chula_rbc12.read(root)


def test_all_bad_lines_are_told_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, {1: "50 60\n50 60 0", 2: "a b c", 3: "50 60 13\n50 60 -1"})
    with pytest.raises(DataError) as caught:
        chula_rbc12.read(root)
    message = str(caught.value)
    assert "1.txt line 1" in message
    assert "2.txt line 1" in message
    assert "3.txt line 1 has the cell type 13" in message
    assert "3.txt line 2 has the cell type -1" in message


def test_odd_and_missing_files_are_told_at_once(tmp_path: Path, draw: Callable[..., Path]) -> None:
    root = plant(tmp_path, draw, {1: "50 60 0"})
    draw(root / "Dataset" / "copy of 1.jpg")
    (root / "Label" / "8.txt").touch()
    with pytest.raises(DataError, match=r"copy of 1\.jpg.*8\.txt"):
        chula_rbc12.read(root)


@pytest.mark.filterwarnings("ignore::cytobench.datasets.DataWarning")
def test_the_real_subset_has_the_counts_of_its_readme(real: Callable[[str], Path]) -> None:
    folder = real("chula-rbc12")
    table = chula_rbc12.read(folder, border=-10_000)
    in_twins = Counter()
    for number in (54, 249, 298, 299):
        lines = (folder / "Label" / f"{number}.txt").read_text().splitlines()
        in_twins.update(chula_rbc12.TYPES[int(line.split()[2])] for line in lines if line.strip())
    counts = Counter(table["cell_type"]) + in_twins
    assert counts["normal cell"] == 5732
    assert counts["teardrop"] == 71
    assert counts["uncategorised"] == 27
    assert counts.total() == 17307

    with pytest.warns(DataWarning, match=r"54 \(as 52\), 249 \(as 248\), 298 \(as 296\), 299 \(as 297\)"):
        windows = chula_rbc12.read(folder)
    assert len(windows) == 13805 - 91  # 91 of the README's windows lie in the four repeated fields
