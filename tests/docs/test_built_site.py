"""The documentation, built as `make docs` builds it: strictly, whole, asking no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cytobench.cli import app
from cytobench.datasets import DATASETS
from cytobench.registry import Registry
from tests.browser import OpenPage
from tests.docs.page_blocks import ROOT

pytestmark = pytest.mark.slow

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)[^>]*\ssrc=["']?(https?:)?//|<link[^>]*href=["']?(https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site into a folder of its own."""
    pytest.importorskip("material", reason='no site is built: pip install ".[docs]"')
    pytest.importorskip("mkdocstrings", reason='no site is built: pip install ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stderr
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
    for style in site.rglob("*.css"):
        assert not re.search(
            r"url\(['\"]?https?:|@import ['\"]?https?:", style.read_text(encoding="utf-8")
        ), style


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_command_has_its_section(site: Path) -> None:
    page = _text(site / "reference" / "command-line.html")
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None) or {}
        for whole in [f"cytobench {name} {one}" for one in inner] or [f"cytobench {name}"]:
            assert f'id="{whole.replace(" ", "-")}"' in page, whole
        for option in (o for one in command.params for o in one.opts if o.startswith("--")):
            assert option in page


def test_everything_that_ships_has_its_section(site: Path) -> None:
    registry = Registry.load(entry_points=False)
    shipped = {
        "backbones": registry.backbones,
        "tasks": registry.tasks,
        "leaderboards": registry.leaderboards,
        "data-sets": DATASETS,
    }
    for kind, cards in shipped.items():
        page = _text(site / "reference" / f"{kind}.html")
        assert [name for name in cards if f'id="{name}"' not in page] == [], kind


def test_nothing_of_this_machine_is_on_a_page(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert str(ROOT) not in _text(page), page


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
@pytest.mark.parametrize(
    "name",
    [
        "index",
        "tutorial",
        "contributing/index",
        "explanations/statistics",
        "reference/command-line",
        "reference/tasks",
    ],
)
def test_a_page_keeps_to_itself_and_fits(
    site: Path, open_page: OpenPage, name: str, width: int, dark: bool
) -> None:
    opened = open_page(site / f"{name}.html", width=width, dark=dark)
    opened.page.wait_for_timeout(300)
    assert not opened.complaints
    assert not opened.asked_elsewhere()
    assert opened.overflow() == 0
    scheme = opened.page.evaluate("document.body.getAttribute('data-md-color-scheme')")
    assert scheme == ("slate" if dark else "default")


def test_search_works_without_a_server(site: Path, open_page: OpenPage) -> None:
    opened = open_page(site / "index.html")
    opened.page.click(".md-search__input")
    opened.page.keyboard.type("patients")
    opened.page.wait_for_selector(".md-search-result__item", timeout=20_000)
    assert "matching documents" in opened.page.inner_text(".md-search-result__meta")
    assert not opened.asked_elsewhere()
