"""The command line, run in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cytobench import cli as command_line
from tests.cli.shell import Command, Ran


@pytest.fixture
def cytobench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> Command:
    """Run a command with an empty home and return what a shell would see."""
    monkeypatch.setenv("CYTOBENCH_HOME", str(home))
    monkeypatch.delenv("CYTOBENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cytobench", *map(str, arguments)])
        try:
            command_line.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call
