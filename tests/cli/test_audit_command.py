"""`cytobench audit` in a shell: files, exit codes, baseline, and sentences on bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.checks.planted_cells import Planted
from tests.cli.shell import OWN_CARD, Command


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A plugin folder with a task whose cells hold one copy under two labels."""
    cells = Planted(tmp_path / "cells")
    for label in ("a", "b"):
        (cells.root / label).mkdir(parents=True)
        for number in range(15):
            cells.add(None, label, "", name=f"{label}/{number}.png")
    shutil.copy(cells.root / "a" / "3.png", cells.root / "b" / "copy.png")
    (tmp_path / "mine" / "tasks").mkdir(parents=True)
    (tmp_path / "mine" / "tasks" / "my-cells.toml").write_text(OWN_CARD.replace("../cells", f"{cells.root}"))
    return tmp_path / "mine"


def test_audit_writes_page_and_json_and_fails_until_known(
    cytobench: Command, mine: Path, tmp_path: Path
) -> None:
    common = ["audit", "my-cells", "--plugin", str(mine), "--home", str(tmp_path / "home")]
    out = tmp_path / "out"
    ran = cytobench(*common, "--out", str(out))
    assert ran.code == 1
    assert "contradicting-labels" in ran.out
    assert (out / "audit.html").read_text(encoding="utf-8").count("data:image/webp") >= 2
    found = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert found["failed"]
    again = cytobench(
        *common, "--out", str(tmp_path / "again"), "--baseline", str(out / "audit.json"), "--json"
    )
    assert again.code == 0
    assert json.loads(again.out)["failed"] is False


def test_what_is_no_kind_and_no_pool_is_told(cytobench: Command, mine: Path, tmp_path: Path) -> None:
    common = ["audit", "my-cells", "--plugin", str(mine), "--home", str(tmp_path / "home")]
    ran = cytobench(*common, "--allow", "copies")
    assert (ran.code, "no kind of finding 'copies'" in ran.err) == (2, True)
    ran = cytobench(*common, "--pool", str(tmp_path / "nothing"))
    assert (ran.code, "There is no pool" in " ".join(ran.err.split())) == (2, True)
