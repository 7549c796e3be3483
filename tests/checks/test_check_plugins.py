"""What check finds of plugins: installed ones under their package's name, and the probes they bring."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cytobench.cards import ProbeCard
from cytobench.checks.probe import check_probe
from cytobench.checks.subjects import inquiry
from cytobench.findings import failed

PROBE = 'name = "even"\ntitle = "Even"\nfunction = "even_probe_of_tests.guess:fit_and_predict"\n'
CODE = """
VERSION = "1"
GRID = {"warmth": [1.0, 2.0]}

def fit_and_predict(training, test, *, warmth=1.0):
    return None
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lay a package out as pip does, with its entry point, and give its folder; forget it afterwards."""
    package = tmp_path / "even_probe_of_tests"
    (package / "probes").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "guess.py").write_text(CODE)
    (package / "probes" / "even.toml").write_text(PROBE)
    facts = tmp_path / "even_probe_of_tests-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: even-probe-of-tests\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[cytobench.plugins]\neven = even_probe_of_tests\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["even-probe-of-tests", "even_probe_of_tests"])
def test_an_installed_plugin_is_found_with_its_cards(
    installed: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(installed / "probes")  # no folder of that name lies here
    plugin, probe = inquiry(name, []).subjects
    assert plugin.findings[0].says == "1 cards can be read."
    assert isinstance(probe.card, ProbeCard)
    assert not failed(check_probe(probe.card))


def test_a_probe_that_cannot_be_used_says_why(installed: Path) -> None:
    card = ProbeCard(name="odd", title="Odd", function="even_probe_of_tests.guess:predict")
    (found,) = check_probe(card)
    assert found.mark == "fail"
    assert "no function 'predict'" in found.says


def test_a_probe_without_a_version_is_told(installed: Path) -> None:
    (installed / "bare.py").write_text("def fit_and_predict(training, test):\n    return None\n")
    card = ProbeCard(name="bare", title="Bare", function="even_probe_of_tests.bare:fit_and_predict")
    assert [one.mark for one in check_probe(card)] == ["pass", "pass", "warn"]
