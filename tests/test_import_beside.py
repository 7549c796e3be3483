"""A card's own Python lies in its plugin folder, and two plugins may each have a module of one name."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from cytobench.registry import import_beside


def plugin(folder: Path, **modules: str) -> Path:
    """Write modules into a plugin folder and return the path of a card of it."""
    for name, code in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder / "backbones" / "card.toml"


def test_two_plugins_with_a_module_of_one_name_keep_their_own_code(tmp_path: Path) -> None:
    """Also modules they import from beside themselves, and classes made by them can be pickled."""
    cards = [
        plugin(
            tmp_path / one,
            my_reader="import my_names\nWHO = my_names.WHO\nclass Thing: ...\n",
            my_names=f"WHO = '{one}'\n",
        )
        for one in ("first", "second")
    ]
    modules = [import_beside("my_reader", card) for card in cards]
    assert [module.WHO for module in modules] == ["first", "second"]
    assert import_beside("my_reader", cards[0]) is modules[0]
    assert not {"my_reader", "my_names"} & sys.modules.keys()
    assert not {str(tmp_path / "first"), str(tmp_path / "second")} & set(sys.path)
    for module in modules:
        assert type(pickle.loads(pickle.dumps(module.Thing()))) is module.Thing


def test_packages_of_a_plugin_may_import_within_themselves(tmp_path: Path) -> None:
    card = plugin(
        tmp_path / "one",
        mine____init__="",
        mine__reader="from .parts import PART\nfrom mine.parts import PART as SAME\n",
        mine__parts="PART = 3\n",
    )
    module = import_beside("mine.reader", card)
    assert (module.PART, module.SAME) == (3, 3)


def test_what_is_missing_is_called_by_the_name_the_card_gives(tmp_path: Path) -> None:
    card = plugin(tmp_path / "one", my_other="import no_such_package_at_all\n")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'my_reader'$"):
        import_beside("my_reader", card)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_package_at_all'$"):
        import_beside("my_other", card)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'my_reader'$"):
        import_beside("my_reader", None)


def test_a_package_that_is_not_installed_is_named_as_if_it_were(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        my_lab_of_tests__kinds="KINDS = ('round', 'long')\n",
        my_lab_of_tests__reader="from my_lab_of_tests.kinds import KINDS\n",
    )
    card = tmp_path / "my_lab_of_tests" / "tasks" / "card.toml"
    (tmp_path / "my_lab_of_tests" / "__init__.py").touch()
    assert import_beside("my_lab_of_tests.reader", card).KINDS == ("round", "long")
    assert "my_lab_of_tests" not in sys.modules
