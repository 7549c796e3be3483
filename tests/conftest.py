"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ("tests.browser",)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets, or a skip with its reason."""
    named = os.environ.get("CYTOBENCH_DATA", "")
    for folder in (Path(part) for part in named.split(os.pathsep) if part):
        if (folder / "pbc").is_dir():
            return folder
    pytest.skip("no real cell images here: set CYTOBENCH_DATA to the folder that holds pbc/, chula-rbc12/, …")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for everything CytoBench writes."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
