"""Cards come from shipped folders, installed plugins and --plugin folders; clashes and typos are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.errors import CardError
from cytobench.evaluation.recipes import why_not
from cytobench.registry import Registry, shipped_root

TASK_CARD = """
name = "{name}"
title = "My cells"
dataset = {{ format = "folder", path = "../cells" }}
group = "none"
accept_ungrouped = true
view = {{ kind = "box" }}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "plugin"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "mine.toml").write_text(TASK_CARD.format(name="my-cells"))
    return folder


def test_a_plugin_folder_adds_its_cards(plugin: Path) -> None:
    registry = Registry.load([plugin])
    card = registry.task("my-cells")
    assert card.source == (plugin / "tasks" / "mine.toml").resolve()
    assert set(Registry.load().tasks) < set(registry.tasks)


def test_two_cards_of_one_name_name_both_files(plugin: Path) -> None:
    (plugin / "tasks" / "twin.toml").write_text(TASK_CARD.format(name="my-cells"))
    with pytest.raises(CardError) as caught:
        Registry.load([plugin])
    assert "mine.toml" in str(caught.value)
    assert "twin.toml" in str(caught.value)


def test_a_plugin_may_not_replace_a_shipped_card(plugin: Path) -> None:
    (plugin / "tasks" / "clash.toml").write_text(TASK_CARD.format(name="cell-type-pbc"))
    with pytest.raises(CardError, match=r"clash\.toml"):
        Registry.load([plugin])


def test_the_same_folder_given_twice_is_no_clash(plugin: Path) -> None:
    assert "my-cells" in Registry.load([plugin, plugin]).tasks


def test_a_misspelt_name_gets_a_suggestion(plugin: Path) -> None:
    with pytest.raises(CardError, match="did you mean 'my-cells'"):
        Registry.load([plugin]).task("my-cels")


def test_a_name_like_nothing_points_to_the_list() -> None:
    with pytest.raises(CardError, match="cytobench list backbones"):
        Registry.load().backbone("qqqqqqqq")


def test_a_card_file_is_as_good_as_a_name(plugin: Path) -> None:
    assert Registry.load().task(str(plugin / "tasks" / "mine.toml")).name == "my-cells"


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_that_is_no_plugin_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(CardError, match=str(folder)):
        Registry.load([folder])


def test_a_bad_card_in_a_plugin_folder_hides_no_other_and_is_told_when_asked_for(
    plugin: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad" / "tasks").mkdir(parents=True)
    bad = tmp_path / "bad" / "tasks" / "theirs.toml"
    bad.write_text(TASK_CARD.format(name="their-cells").replace("group =", "grup ="))
    registry = Registry.load([bad.parent.parent, plugin])
    assert "my-cells" in registry.tasks
    assert [one.origin for one in registry.broken] == [f"plugin {tmp_path / 'bad'}"]
    with pytest.raises(CardError) as caught:
        registry.task("their-cells")
    assert caught.value.exit_code == 2
    assert f"{bad}: " in str(caught.value)
    assert "unknown key 'grup' (did you mean 'group'?)" in str(caught.value)


def test_every_shipped_card_is_read_and_named_like_its_file() -> None:
    registry = Registry.load(entry_points=False)
    for kind in ("backbones", "tasks", "leaderboards"):
        cards = getattr(registry, kind)
        files = sorted(path.stem for path in (shipped_root() / kind).glob("*.toml"))
        assert sorted(cards) == files
        assert files, kind


def test_every_leaderboard_column_names_a_task_and_a_probe_of_its_unit() -> None:
    registry = Registry.load(entry_points=False)
    for board in registry.leaderboards.values():
        for column in board.columns:
            assert not why_not(column.probe, registry.task(column.task).unit), (board.name, column.task)
        for name in board.backbones:
            registry.backbone(name)
