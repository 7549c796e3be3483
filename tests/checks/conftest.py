"""Fixtures of examinations."""

from pathlib import Path

import pytest

from tests.checks.planted_cells import Planted


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """A folder for cells in which something is planted."""
    root = tmp_path / "cells"
    root.mkdir()
    return Planted(root)
