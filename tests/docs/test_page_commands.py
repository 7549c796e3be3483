"""Every command of the documentation is run, page by page, or says why not and is spelt right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import reader_cells
from tests.docs.page_blocks import DOCS, ROOT, SHELLS, Block, Page, blocks_of, misspelt, pages, read

PAGES = pages()
GIVEN = {"cells": reader_cells.write_cells, "bags": reader_cells.write_bags, "run": reader_cells.write_run}
_COMMAND = re.compile(r"^\s*(?:\$ )?(?:cytobench|pip install|make|torchrun|python) \S", re.MULTILINE)


def _to_run() -> list[object]:
    found = [page for page in PAGES if any(one.is_typed for one in page.blocks)]
    marks = {page.name: [pytest.mark.slow] if page.slow else [] for page in found}
    return [pytest.param(page, id=page.name, marks=marks[page.name]) for page in found]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A reader's folder, with `cytobench` and `python` as they have it after installing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, line in (("cytobench", f'"{sys.executable}" -m cytobench'), ("python", f'"{sys.executable}"')):
        (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (programs / name).chmod(0o755)
    desk = tmp_path / "desk"
    desk.mkdir()
    return desk


def _shell(command: str, desk: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("CYTOBENCH_DATA", "HF_TOKEN")},
        "PATH": f"{desk.parent / 'programs'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CYTOBENCH_HOME": str(desk.parent / "home"),
        "COLUMNS": "160",
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=desk, env=environment, capture_output=True, text=True, check=False
    )


def _follow(page: Page, desk: Path) -> int:
    """Do what a page says, in order; return how many commands were run."""
    count, said, remembered = 0, "", []
    for block in page.blocks:
        if block.is_file:
            file = desk / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.is_typed:
            said = _type(block, page, desk, remembered)
            count += len(block.commands)
        elif block.language == "text" and block.title == "Output":
            _compare(block, said, page)
    return count


def _type(block: Block, page: Page, desk: Path, remembered: list[str]) -> str:
    """Type the commands of a block; what changes the shell itself is remembered for later ones."""
    said = ""
    for command in block.commands:
        if command.startswith(("export ", "cd ")):
            remembered.append(command)
        ran = _shell(" && ".join([*remembered, command]), desk)
        wanted = block.code if command == block.commands[-1] else 0
        where = f"{page.name}, line {block.line}: {command}"
        assert ran.returncode == wanted, f"{where}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        assert "Traceback" not in ran.stderr, where
        said += ran.stdout + ran.stderr
    return said


def _compare(block: Block, said: str, page: Page) -> None:
    """Everything that is shown was said, in this order; a line's end and … stand for anything."""
    plain, at = " ".join(said.split()), 0
    for part in re.split(r"…|\n", block.text):
        wanted = " ".join(part.split())
        found = plain.find(wanted, at)
        where = f"{page.name}, line {block.line}"
        assert found >= 0, f"{where}: not said, or not in this place: '{wanted}'\n{plain[-3000:]}"
        at = found + len(wanted)


@pytest.mark.parametrize("page", _to_run())
def test_a_page_can_be_followed_word_for_word(page: Page, desk: Path) -> None:
    for name in page.given:
        GIVEN[name](desk)
    assert _follow(page, desk)


def test_every_command_is_spelt_as_the_program_knows_it() -> None:
    wrong = [
        f"{page.name}, line {block.line}: {command}: {misspelt(command)}"
        for page in PAGES
        for block in page.blocks
        if block.language in SHELLS
        for command in block.commands
        if misspelt(command)
    ]
    assert not wrong


def test_commands_in_running_text_are_spelt_as_the_program_knows_them() -> None:
    wrong = [
        f"{page.name}: {command}: {misspelt(command)}"
        for page in PAGES
        for command in page.inline
        if misspelt(command) and "Missing" not in misspelt(command)
    ]
    assert not wrong


def test_no_command_hides_in_a_block_that_is_never_run() -> None:
    hidden = [
        f"{page.name}, line {block.line}"
        for page in PAGES
        for block in page.blocks
        if block.language in ("", "text") and block.title != "Output" and _COMMAND.search(block.text)
    ]
    assert not hidden


def test_what_is_not_run_says_why() -> None:
    short = [
        f"{page.name}, line {block.line}: {block.reason}"
        for page in PAGES
        for block in page.blocks
        if block.reason and len(block.reason.split()) < 3
    ]
    assert not short
    assert all(set(page.given) <= set(GIVEN) for page in PAGES)


def test_the_examples_of_help_are_spelt_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "making"))
    import command_line

    blocks = [one for one in blocks_of(command_line.sections()) if one.language == "bash"]
    commands = [command for block in blocks for command in block.commands]
    assert len(commands) > 20
    assert [f"{one}: {misspelt(one)}" for one in commands if misspelt(one)] == []


def test_the_checker_sees_what_is_wrong(tmp_path: Path, desk: Path) -> None:
    assert "--nulls" in misspelt("cytobench run -b morphology --nul")
    assert "no command" in misspelt("echo a && cytobench rum -b morphology")
    assert misspelt("torchrun --nproc-per-node 2 -m cytobench extract -b morphology") == ""
    page = tmp_path / "page.md"
    page.write_text("```bash\ncytobench show nothing-like-it\n```\n")
    with pytest.raises(AssertionError, match=r"page.md, line 1"):
        _follow(read(page), desk)
    page.write_text('```bash\necho what is said\n```\n```text title="Output"\nwhat … not said\n```\n')
    with pytest.raises(AssertionError, match="not said"):
        _follow(read(page), desk)
    shutil.rmtree(desk)
