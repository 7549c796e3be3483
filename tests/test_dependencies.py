"""What CytoBench asks of other packages: enough to run, never so much that it stands in their way."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads(
    (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
)


def test_versions_have_a_lower_bound_and_no_upper_one() -> None:
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    bounds = {line: [one.operator for one in Requirement(line).specifier] for line in lines}
    assert {line: found for line, found in bounds.items() if found != [">="]} == {}


def test_tools_for_developers_are_not_held_back() -> None:
    lines = [line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
    operators = {one.operator for line in lines for one in Requirement(line).specifier}
    assert operators <= {">="}


def test_python_has_a_lower_bound_only() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
