"""What messages and the README tell a user to type exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import typer

import cytobench
from cytobench.cli import app

PACKAGE = Path(cytobench.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
OF_OTHER_PROGRAMS = {"--nproc-per-node"}  # torchrun


def _options(command: click.Command) -> Iterator[str]:
    with click.Context(command) as context:
        for parameter in command.get_params(context):
            yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from _options(inner)


def _texts() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value
    readme = PACKAGE.parent / "README.md"
    if readme.is_file():
        yield "README.md", readme.read_text(encoding="utf-8")


def test_every_option_that_is_mentioned_can_be_given() -> None:
    real = {*_options(typer.main.get_command(app)), *OF_OTHER_PROGRAMS}
    assert {"--backbone", "--help"} <= real
    mentioned = {(where, option) for where, text in _texts() for option in OPTION.findall(text)}
    assert ("README.md", "--data") in mentioned
    assert {(where, option) for where, option in mentioned if option not in real} == set()
