"""A task whose classes form a tree: its levels on its page, in files and in duels; others without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.errors import UsageError
from cytobench.evaluation.hierarchy import DISTANCE
from cytobench.leaderboard.collect import StoredRuns
from cytobench.leaderboard.duels import duels
from cytobench.leaderboard.site.build import make_page
from cytobench.leaderboard.site.index_page import task_page_name
from cytobench.progress import SilentReporter
from tests.leaderboard import stored_board as toys

ABOVE = {toys.CLASSES[0]: ("fine",), toys.CLASSES[1]: ("ill",), toys.CLASSES[2]: ("ill",)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, toys.Cards]:
    """A board of a task with a tree and one without, and the home its runs are stored in."""
    home = tmp_path_factory.mktemp("home")
    made = toys.cards(("tree", "plain"), ("good", "poor"))
    made.tasks["tree"] = toys.task("tree", hierarchy=ABOVE)
    toys.fill(home, made, {name: toys.SKILLS[name] for name in made.backbones})
    return home, made


def test_levels_stand_on_the_page_of_the_task_that_has_them_alone(filled: tuple[Path, toys.Cards]) -> None:
    board = toys.gathered(*filled)
    files = make_page(board, ("task", "tree")).content
    page = files[task_page_name("tree")].decode()
    assert "balanced accuracy at level 1" in page
    section = page[page.index('id="levels"') :]
    assert section.index("<bdi>good</bdi>") < section.index("<bdi>poor</bdi>")
    assert any(DISTANCE.encode() in content for name, content in files.items() if name.endswith(".csv"))
    plain = make_page(board, ("task", "plain")).content
    assert not any(
        b"hierarch" in content for name, content in plain.items() if name.endswith((".csv", ".html"))
    )


def test_a_duel_over_distance_is_won_by_the_shorter_one(filled: tuple[Path, toys.Cards]) -> None:
    home, made = filled
    stored = StoredRuns(home, SilentReporter())
    names = ["good", "poor"]
    won = duels(names, made.tasks["tree"], stored, home, probe="knn", metric=DISTANCE)[0]
    assert won.found.difference < 0
    assert won.value_a < won.value_b
    assert won.found.better > won.found.worse
    assert won.verdict == "good is better"
    wide = duels(names, made.tasks["tree"], stored, home, probe="knn", metric="accuracy_at_level_1")[0]
    assert wide.found.difference == pytest.approx(wide.value_a - wide.value_b)
    assert wide.verdict == "good is better"
    with pytest.raises(UsageError, match="There is no metric 'hierarchical_distance'"):
        duels(names, made.tasks["plain"], stored, home, metric=DISTANCE)
