"""What pages show is true: cards have keys that exist, links are links, no place of a machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cytobench.card_files import parse_card
from cytobench.cards import BackboneCard, LeaderboardCard, TaskCard
from tests.docs.page_blocks import DOCS, ROOT, Block, Page, pages, read

PAGES = pages()
KINDS = {"tasks": TaskCard, "backbones": BackboneCard, "leaderboards": LeaderboardCard}
_ADDRESS = re.compile(r"""https?://[^\s)"'>`\]|]+""")


def _of_language(language: str) -> list[tuple[Page, Block]]:
    return [(page, block) for page in PAGES for block in page.blocks if block.language == language]


def test_every_card_that_is_shown_is_a_card() -> None:
    shown = [(page, block) for page, block in _of_language("toml") if block.title]
    cards = 0
    for page, block in shown:
        raw = tomllib.loads(block.text)
        kind = Path(block.title).parent.name
        if kind in KINDS:
            card = parse_card(KINDS[kind], raw, source=Path(f"{page.name}, line {block.line}"))
            assert card.name == Path(block.title).stem, page.name
            cards += 1
    assert cards > 5


def test_every_table_of_a_card_in_running_text_has_keys_that_exist() -> None:
    """Inline `view = { … }`, `split = { … }` and their values in tables are what the models accept."""
    found = 0
    for page in PAGES:
        for code in re.findall(r"`((?:view|split|sealed|sub_bags) = \{[^`]*\})`", page.text):
            raw = {"name": "x", "title": "x", "dataset": "pbc", "group": "slide", "view": {"kind": "box"}}
            parse_card(TaskCard, raw | tomllib.loads(code), source=Path(page.name))
            found += 1
        for code in re.findall(r"^\| `(\{ kind = [^`]*\})`", page.text, flags=re.MULTILINE):
            raw = {"name": "x", "title": "x", "dataset": "pbc", "group": "slide", "view": {"kind": "box"}}
            key = "view" if re.search(r'"(window|box|tile)"', code) else "split"
            parse_card(TaskCard, raw | tomllib.loads(f"{key} = {code}"), source=Path(page.name))
            found += 1
    assert found > 5


def test_python_that_is_shown_compiles() -> None:
    for page, block in _of_language("python"):
        compile(block.text, f"{page.name}, line {block.line}", "exec")


def test_external_links_are_addresses() -> None:
    for page in PAGES:
        for address in _ADDRESS.findall(page.text):
            parts = urlsplit(address.rstrip(".,"))
            assert "…" in address or ("." in parts.netloc and parts.scheme in ("http", "https")), (
                page.name,
                address,
            )


def test_no_page_names_a_place_of_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:work|root|home/\w+|tmp)/", page.text), page.name


def test_every_file_of_the_project_that_a_page_names_is_there() -> None:
    folders = "backbones|benchmarks|cytobench|docs|leaderboards|tests"
    missing = [
        (page.name, name)
        for page in PAGES
        for name in re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|md|toml|json))`", page.text)
        if "NAME" not in name and not (ROOT / name).exists()
    ]
    assert not missing


@pytest.mark.parametrize("name", ["how-to/read-the-leaderboard.md", "explanations/why-grouped.md"])
def test_scores_that_are_quoted_stand_in_the_leaderboard(name: str) -> None:
    board = (ROOT / "leaderboards" / "cytology" / "cytology.md").read_text(encoding="utf-8")
    text = (DOCS / name).read_text(encoding="utf-8")
    quoted = re.findall(r"(?<!\*)\b\d+\.\d \[\d+\.\d, \d+\.\d\]", text)
    assert len(quoted) >= 4
    assert [one for one in quoted if one not in board] == []


def test_a_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name not in config] == []


def test_front_matter_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("---\nslow: true\ngiven: cells, bags\n---\n# Page\n\n`cytobench show uni`\n")
    read_page = read(page)
    assert (read_page.slow, read_page.given, read_page.inline) == (
        True,
        ("cells", "bags"),
        ["cytobench show uni"],
    )
    assert (DOCS / "index.md").is_file()


def test_every_key_of_a_card_says_what_it_means() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in KINDS.values()
        for name, field in model.model_fields.items()
        if not field.exclude and not field.description
    ]
    assert not silent


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_the_page_of_card_keys_has_every_key(model: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "making"))
    import card_keys

    made = card_keys.sections()
    lacking = [
        name
        for name, field in model.model_fields.items()
        if not field.exclude and f"| `{name}` |" not in made
    ]
    assert not lacking
