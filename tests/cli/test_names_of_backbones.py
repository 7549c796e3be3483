"""Backbones named on the command line that have no card here: models of the hub, results of other labs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cytobench.cli import options
from cytobench.errors import counted
from cytobench.interchange.foreign_cards import write_card
from cytobench.registry import Registry
from tests.cli.shell import Command
from tests.encoders.local_hub import Repo, serve_hugging_face

COMMIT = "e" * 40
CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"layers": 1, "width": 32, "head_width": 32, "patch_size": 16, "image_size": 32},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
URI = "open_clip:hf-hub:lab/clip"


def test_a_model_of_the_hub_is_shown_run_and_asked_for_once(
    cytobench: Command, own_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_hugging_face(monkeypatch, tmp_path) as hub:
        away = cytobench("run", "-t", "synthetic-cell-type", "-b", URI, "--offline")
        assert (away.code, len(hub.asked)) == (1, 0)
        assert "published settings hf-hub:lab/clip@main:open_clip_config.json are not on this" in away.err
        files = {"open_clip_config.json": json.dumps(CONFIG).encode()}
        hub.repos["lab/clip"] = Repo({COMMIT: files}, {"main": COMMIT})
        shown = cytobench("show", URI)
        assert (shown.code, "quick_gelu = yes" in shown.out, COMMIT in shown.out) == (0, True, True)
        asked = len(hub.asked)
        uri = f"{URI}?pretrained=false"
        ran = cytobench("run", "-t", "my-cells", "-b", uri, "-p", "knn", "--plugin", own_cells, "--offline")
        assert ran.code == 0, ran.err
        assert len(hub.asked) == asked


def test_results_of_another_lab_are_shown_for_what_they_are(cytobench: Command, home: Path) -> None:
    card = Registry.load(entry_points=False).backbones["uni"].model_dump(mode="json")
    sent = card | {"name": "uni@north", "loader": "precomputed", "weights": "elsewhere"}
    write_card(home, "backbones", "uni@north", sent, "north")
    shown = cytobench("show", "uni@north")
    assert shown.code == 0, shown.err
    assert "results that the lab north sent as a bundle, imported into" in " ".join(shown.out.split())
    assert "not here: only results were imported; `cytobench show uni`" in shown.out
    assert "precomputed" not in shown.out
    assert "with the lab" in cytobench("list", "backbones").out
    other = cytobench("show", "plip@north")
    assert other.code == 2
    assert "from that lab" in other.err
    assert "has only uni@north: import a bundle that holds it" in other.err


def test_a_file_named_as_the_data_folder_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "cells.zip").write_bytes(b"")
    with pytest.raises(Exception, match=r"cells\.zip is a file; name the folder that holds the data sets"):
        options.places(None, [tmp_path / "cells.zip"])


def test_one_is_told_in_the_singular() -> None:
    said = [counted(n, "row has", "rows have") + " no label" for n in (0, 1, 2, 12_000)]
    assert said == [f"{n} no label" for n in ("0 rows have", "1 row has", "2 rows have", "12,000 rows have")]
    assert [counted(n, "file") for n in (1, int(np.int64(3)))] == ["1 file", "3 files"]
