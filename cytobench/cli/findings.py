"""Findings as ticks and crosses, for the terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from cytobench.findings import Finding

_MARKS = {"pass": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("-", "dim")}
_CASES = {"fail": 20}
_FEW = 5


def show_findings(title: str, findings: Sequence[Finding], *, every_case: bool = False) -> None:
    """Print `findings` below `title`, a tick or cross each, with what to do; then how many of each."""
    from rich.table import Table
    from rich.text import Text

    from cytobench.cli.console import output

    table = Table(box=None, show_header=False)
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")  # paths and commands are to be copied whole
    for finding in findings:
        mark, style = _MARKS[finding.mark]
        says = Text(finding.says)
        if finding.cure:
            says.append(f"\n{finding.cure}", style="cyan")
        shown = finding.cases if every_case else finding.cases[: _CASES.get(finding.mark, _FEW)]
        for case in shown:
            says.append(f"\n  {case}", style="dim")
        if len(finding.cases) > len(shown):
            says.append(f"\n  and {len(finding.cases) - len(shown)} more", style="dim")
        table.add_row(Text(mark, style=style), Text(finding.question), says)
    console = output()
    console.print(Text(title, style="bold"))  # no title of the table, whose narrow column would break paths
    console.print(table)
    counts = {mark: sum(finding.mark == mark for finding in findings) for mark in _MARKS}
    words = {"pass": "good", "warn": "to know", "fail": "to mend", "skip": "not looked at"}
    console.print(", ".join(f"{n} {words[mark]}" for mark, n in counts.items() if n), highlight=False)


def findings_json(findings: Sequence[Finding]) -> None:
    """Print `findings` as a JSON list, complete."""
    typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
