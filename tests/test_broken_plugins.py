"""Installed plugins that are broken, one way each: named with the reason, and harmless to all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytobench.registry import Registry

CARD = """
name = "{name}"
title = "A backbone"
loader = "null"
weights = "none"
dim = 0
domain = "none"
licence = "x"
citation = "x"
"""


def install(
    site: Path, name: str, *, code: str = "", card: str = "", requires: str = "", target: str = ""
) -> None:
    """Write what pip would have left of a plugin package: its module, its cards, its metadata."""
    package = site / name
    (package / "backbones").mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    (package / "backbones" / "one.toml").write_text(card or CARD.format(name=f"{name}-null"))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    need = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{need}")
    (info / "entry_points.txt").write_text(f"[cytobench.plugins]\n{name} = {target or name}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "sound_plugin")
    return tmp_path


BROKEN = {
    "import error": ({"code": "import no_such_thing"}, "No module named 'no_such_thing'"),
    "syntax error": ({"code": "def ("}, "SyntaxError"),
    "sys.exit": ({"code": "import sys; sys.exit(3)"}, "calls sys.exit(3)"),
    "any error": ({"code": "raise RuntimeError('no key')"}, "RuntimeError: no key"),
    "unreadable card": ({"card": "name = "}, "not valid TOML"),
    "unknown key": ({"card": CARD.format(name="x") + 'flavour = "mint"'}, "unknown key 'flavour'"),
    "a shipped card's name": (
        {"card": CARD.format(name="morphology")},
        "Two backbones are named 'morphology'",
    ),
    "another plugin's name": ({"card": CARD.format(name="sound_plugin-null")}, "sound_plugin-null"),
    "another version": ({"requires": "cytobench-harness>=999"}, "made for CytoBench >=999"),
    "no such package": ({"target": "not_there_at_all"}, "No module named 'not_there_at_all'"),
    "no cards": ({"target": "json"}, "holds none of backbones/"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_broken_plugin_is_named_with_the_reason_and_the_others_work(site: Path, way: str) -> None:
    what, reason = BROKEN[way]
    name = "z_" + "".join(letter if letter.isalpha() else "_" for letter in way)
    install(site, name, **what)
    registry = Registry.load()
    told = {one.origin: one.reason for one in registry.broken}
    assert list(told) == [f"plugin {name} ({name} 1.0)"]
    assert reason in next(iter(told.values()))
    assert {"sound_plugin-null", "morphology"} <= set(registry.backbones)
    assert registry.backbones["sound_plugin-null"].origin == "plugin sound_plugin (sound_plugin 1.0)"


def test_a_plugin_for_this_version_is_read(site: Path) -> None:
    install(site, "fitting_plugin", requires="cytobench-harness>=0")
    registry = Registry.load()
    assert not registry.broken
    assert "fitting_plugin-null" in registry.backbones


def test_what_a_plugin_prints_at_import_is_not_mixed_with_results(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "loud_plugin", code="print('hello from the plugin')")
    assert "loud_plugin-null" in Registry.load().backbones
    out, err = capsys.readouterr()
    assert "hello" not in out
    assert "hello from the plugin" in err
