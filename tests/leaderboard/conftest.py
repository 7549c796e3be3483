"""A site of made-up results that many tests look at; it is drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.leaderboard.site.board import Board
from cytobench.leaderboard.site.build import build
from cytobench.leaderboard.site.folder import put_in_place
from cytobench.progress import SilentReporter
from tests.leaderboard import stored_board as toys

TASKS = (*(f"task-{k}" for k in range(7)), toys.UPWARDS)
ABSENT = (toys.QUOTES, toys.UPWARDS, toys.LONG, toys.BACKWARDS)


@pytest.fixture(scope="session")
def toy_board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Eight tasks, five backbones with runs (a null among them), four that did not run; hostile names."""
    home = tmp_path_factory.mktemp("home")
    made = toys.cards(TASKS, (*toys.SKILLS, *ABSENT))
    toys.fill(home, made, toys.SKILLS)
    return toys.gathered(home, made)


@pytest.fixture(scope="session")
def toy_content(toy_board: Board) -> dict[str, bytes]:
    """The files of that board's site."""
    return build(toy_board, SilentReporter())


@pytest.fixture(scope="session")
def toy_site(toy_content: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that site."""
    folder = tmp_path_factory.mktemp("site") / "public"
    put_in_place(toy_content, folder)
    return folder
