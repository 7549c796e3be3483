"""SIPaKMeD in the layout of its download, with what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cervix_and_breast_trees import sipakmed_tree

from cytobench.datasets import DATASETS, DataWarning, sipakmed
from cytobench.errors import CardError, DataError

Draw = Callable[..., Path]


@pytest.mark.parametrize("nested", [True, False], ids=["own folder inside", "unpacked flat"])
def test_sipakmed_groups_cells_by_class_and_cluster_image(tmp_path: Path, draw: Draw, nested: bool) -> None:
    sipakmed_tree(tmp_path, draw, nested=nested)
    cells = sipakmed.read(tmp_path)
    assert len(cells) == 15
    assert set(cells["label"]) == set(sipakmed.CLASSES) == set(DATASETS["sipakmed"].counts)
    assert cells["cluster"].n_unique() == 10
    assert cells.filter(cells["cluster"] == "Metaplastic_1").height == 2
    assert dict(cells.select("cell_type", "diagnosis").unique().rows())["Metaplastic"] == "benign"
    clusters = sipakmed.read(tmp_path, images="clusters")
    assert len(clusters) == 10
    assert set(clusters["cluster"]) == set(cells["cluster"])


def test_sipakmed_takes_upper_case_suffixes(tmp_path: Path, draw: Draw) -> None:
    sipakmed_tree(tmp_path, draw)
    draw(tmp_path / "im_Parabasal" / "im_Parabasal" / "CROPPED" / "012_02.BMP")
    assert len(sipakmed.read(tmp_path)) == 16


def test_sipakmed_tells_of_clusters_without_cells_and_cells_without_cluster(
    tmp_path: Path, draw: Draw
) -> None:
    sipakmed_tree(tmp_path, draw)
    inner = tmp_path / "im_Parabasal" / "im_Parabasal"
    draw(inner / "077.bmp")
    draw(inner / "CROPPED" / "088_01.bmp")
    with pytest.warns(DataWarning) as heard:
        assert len(sipakmed.read(tmp_path)) == 16
    said = " ".join(str(one.message) for one in heard)
    assert "Parabasal/77" in said
    assert "Parabasal/88" in said


def test_sipakmed_names_all_that_is_wrong_at_once(tmp_path: Path, draw: Draw) -> None:
    sipakmed_tree(tmp_path, draw)
    (tmp_path / "im_Dyskeratotic").rename(tmp_path / "im_Dyskeratosis")
    for path in (tmp_path / "im_Parabasal" / "im_Parabasal" / "CROPPED").glob("*.bmp"):
        path.unlink()
    draw(tmp_path / "im_Metaplastic" / "im_Metaplastic" / "CROPPED" / "Kopie von 1.bmp")
    with pytest.raises(DataError) as told:
        sipakmed.read(tmp_path)
    for part in (
        "im_Dyskeratotic is missing", "im_Dyskeratosis", "im_Parabasal/im_Parabasal/CROPPED holds no cell",
        "Kopie von 1.bmp",
    ):  # fmt: skip
        assert part in str(told.value)
    with pytest.raises(CardError, match="cells or clusters"):
        sipakmed.read(tmp_path, images="fields")
