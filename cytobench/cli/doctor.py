"""`cytobench doctor`: what on this machine keeps CytoBench from working, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cytobench.findings import Finding
    from cytobench.progress import Reporter


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of ticks and crosses.")] = False,
    all_cases: Annotated[
        bool, typer.Option("--all-cases", help="Name every file or package concerned.")
    ] = False,
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Look at this machine: Python, torch and devices, faiss, packages, disk, memory, data, token, plugins.

    For each problem it says what to do. Contacts no network. Exit code 1 when something must be mended.

    [dim]Example:[/dim]  cytobench doctor --data DIR
    """
    from cytobench.checks.machine import check_machine
    from cytobench.cli.findings import findings_json
    from cytobench.findings import failed

    where = places(home, data)
    plugins = [folder.expanduser() for folder in plugin or []]
    found = check_machine(home=where.home, data_dirs=where.data, plugins=plugins, reporter=_reporter())
    if as_json:
        findings_json(found)
    else:
        _show(found, all_cases)
    if failed(found):
        raise typer.Exit(1)


def _reporter() -> Reporter | None:
    try:
        from cytobench.cli.console import ConsoleReporter
    except ImportError:  # even what draws tables may be missing
        return None
    return ConsoleReporter()


def _show(found: Sequence[Finding], all_cases: bool) -> None:
    from cytobench.cli.findings import show_findings

    try:
        show_findings("this machine", found, every_case=all_cases)
    except ImportError:
        for one in found:
            typer.echo(f"{one.mark:<5} {one.question}: {one.says} {one.cure}".rstrip())
